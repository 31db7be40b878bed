"""From a spec to an initialised network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from interplay.models.resnet import cifar_resnet, resnet18
from interplay.models.small import MLP, SmallCNN
from interplay.spec import RunSpec

_BUILDERS: dict[str, Callable[[int, tuple[int, int, int]], nn.Module]] = {
    "resnet18": lambda classes, shape: resnet18(classes, shape[0]),
    "resnet8": lambda classes, shape: cifar_resnet(8, classes, shape[0]),
    "resnet20": lambda classes, shape: cifar_resnet(20, classes, shape[0]),
    "cnn": lambda classes, shape: SmallCNN(classes, shape[0]),
    "mlp": lambda classes, shape: MLP(classes, math.prod(shape)),
}


def build(spec: RunSpec, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network of ``spec`` for images of ``shape`` (C, H, W), on the CPU, in float32.

    Weights are drawn on the CPU from the seed's own stream, so they are the same on every device, and the global
    generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.stream("init"))
        return _BUILDERS[spec.model](classes, shape)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
