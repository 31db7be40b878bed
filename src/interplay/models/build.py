"""From a spec to an initialised network."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

import torch
from torch import nn

from interplay.by_path import BY_PATH
from interplay.models import plugins
from interplay.network_facts import NETWORKS
from interplay.spec import RunSpec


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
        module, _, name = NETWORKS[spec.model].builder.partition(":")
        make: Callable[[RunSpec, int, tuple[int, int, int]], nn.Module] = getattr(import_module(module), name)
        return make(spec, classes, shape)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
