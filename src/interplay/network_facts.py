"""The networks that have a name here, and what is known of them before torch is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network before it is built."""

    builder: str
    """``module:function``; takes a spec, the number of classes and the shape (C, H, W) of the images."""
    shrinks: int
    """How many times smaller, rounded up, its last map is than its images; 0 without batch normalisation."""
    work: float
    """Multiply-adds of one training image relative to resnet8 (12.5 million at 32x32; small networks at 8x8). Only the
    order of starts depends on it, never a number that is reported."""


NETWORKS = {
    "resnet18": NetworkFacts("interplay.models.resnet:build_resnet18", 8, 45.0),
    "resnet8": NetworkFacts("interplay.models.resnet:build_resnet8", 4, 1.0),
    "resnet8_s2": NetworkFacts("interplay.models.resnet:build_resnet8_s2", 8, 0.3),
    "resnet20": NetworkFacts("interplay.models.resnet:build_resnet20", 4, 3.3),
    "wide_resnet": NetworkFacts("interplay.models.resnet:build_wide_resnet", 4, 1.0),
    "hyper_resnet": NetworkFacts("interplay.models.hypernet:build_hyper_resnet", 4, 1.0),
    "cnn": NetworkFacts("interplay.models.small:build_cnn", 4, 0.05),
    "mlp": NetworkFacts("interplay.models.small:build_mlp", 0, 0.005),
}

if TYPE_CHECKING:
    ModelName = str
else:
    ModelName = Literal[tuple(NETWORKS)]
