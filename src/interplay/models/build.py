"""From a spec to an initialised network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from interplay.by_path import BY_PATH
from interplay.models import plugins
from interplay.models.hypernet import HyperNetwork, hypernetize
from interplay.models.resnet import ResNet, cifar_resnet, is_block_kernel, resnet18, wide_resnet
from interplay.models.small import MLP, SmallCNN
from interplay.spec import RunSpec


def _wide(spec: RunSpec, classes: int, channels: int) -> ResNet:
    return wide_resnet(classes, channels, spec.widening, spec.blocks_per_stage)


def _hyper(spec: RunSpec, classes: int, channels: int) -> HyperNetwork:
    """The wide network of the same spec with all 3x3 kernels of its blocks generated."""
    return hypernetize(
        _wide(spec, classes, channels),
        is_block_kernel,
        init=spec.hyper_init,
        kernel_decay=spec.kernel_decay,
        normalize_embeddings=spec.normalize_embeddings,
    )


_BUILDERS: dict[str, Callable[[RunSpec, int, tuple[int, int, int]], nn.Module]] = {
    "resnet18": lambda spec, classes, shape: resnet18(classes, shape[0]),
    "resnet8": lambda spec, classes, shape: cifar_resnet(8, classes, shape[0]),
    "resnet8_s2": lambda spec, classes, shape: cifar_resnet(8, classes, shape[0], stem_stride=2),
    "resnet20": lambda spec, classes, shape: cifar_resnet(20, classes, shape[0]),
    "wide_resnet": lambda spec, classes, shape: _wide(spec, classes, shape[0]),
    "hyper_resnet": lambda spec, classes, shape: _hyper(spec, classes, shape[0]),
    "cnn": lambda spec, classes, shape: SmallCNN(classes, shape[0]),
    "mlp": lambda spec, classes, shape: MLP(classes, math.prod(shape)),
}


def build(spec: RunSpec, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network of ``spec`` for images of ``shape`` (C, H, W), on the CPU, in float32.

    Weights are drawn on the CPU from the seed's own stream, so they are the same on every device, and the global
    generator is left as it was.

    Raises:
        SpecError: a network by import path that cannot be made, or does not fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.stream("init"))
        if spec.model in BY_PATH:
            return plugins.build(spec, shape, classes)
        return _BUILDERS[spec.model](spec, classes, shape)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
