"""What is known of the built-in datasets before any file is opened, and what guessing scores on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

AugmentName = Literal["crop_flip", "crop", "flip", "none"]


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a built-in dataset before any file is opened (image shape is C, H, W)."""

    n_train: int
    n_test: int
    classes: int
    shape: tuple[int, int, int]
    fingerprint: str
    augment: AugmentName
    reader: str
    """``module:function``; takes the name, the folder of the data and the fingerprint, and returns training images
    (uint8 [n, C, H, W]), their labels (int64 [n]), and those for testing."""


_CIFAR, _DIGITS = "interplay.data.cifar:read", "interplay.data.digits:read_named"

# The fingerprints are recomputed from the published checksums (CIFAR) and from the images (digits) in the tests.
DATASETS: dict[str, DatasetFacts] = {
    "cifar10": DatasetFacts(50_000, 10_000, 10, (3, 32, 32), "cifar10:9188a832b2668b09", "crop_flip", _CIFAR),
    "cifar100": DatasetFacts(50_000, 10_000, 100, (3, 32, 32), "cifar100:4981da126fbd7c54", "crop_flip", _CIFAR),
    "digits": DatasetFacts(1_000, 797, 10, (1, 8, 8), "digits:631cb83de3a2ab62", "none", _DIGITS),
}


def chance(classes: int, images: int) -> float:
    """Accuracy, per cent, that guessing exceeds once in a thousand times: three SD above one in ``classes``."""
    share = 1 / classes
    return 100 * (share + 3 * math.sqrt(share * (1 - share) / images))
