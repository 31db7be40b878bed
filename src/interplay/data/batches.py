"""Training batches from images that already live on the device.

The semantics are those of ``RandomCrop(size, padding)`` on raw zeros, then ``RandomHorizontalFlip()``, then
normalisation, drawn independently for every image; the work is one indexing operation for the whole batch.

All random numbers of an epoch are drawn at its start, on the CPU, from generators seeded by (seed, stream, epoch).
So every device sees the same batches, an epoch can be replayed without its predecessors (which makes a resumed run
equal to an uninterrupted one), and no step waits for the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from interplay.data.splits import Split, Splits
from interplay.spec import RunSpec


@dataclass(frozen=True)
class EpochPlan:
    """The draws of one epoch, on the device. All are in the order in which images are visited."""

    order: Tensor
    """Index of the image, int64 [n]: a permutation."""
    offsets: Tensor
    """Top and left corner of the crop in the padded image, int64 [n, 2]; ``padding`` is the centre."""
    flips: Tensor
    """Whether the image is mirrored, bool [n]."""


def crop_padding(spec: RunSpec, height: int) -> int:
    """Pixels of zero padding on each side: 4 at 32x32 as in the recipe, an eighth of the height in general."""
    return height // 8 if spec.augment in ("crop", "crop_flip") else 0


def plan_epoch(spec: RunSpec, epoch: int, n: int, padding: int, device: torch.device | str = "cpu") -> EpochPlan:
    """Draw order, crops and flips of ``epoch`` (counted from 1) for ``n`` images."""
    ordering = torch.Generator().manual_seed(spec.stream("order", epoch))
    augmenting = torch.Generator().manual_seed(spec.stream("augment", epoch))
    order = torch.randperm(n, generator=ordering)
    offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=augmenting)
    flips = torch.rand(n, generator=augmenting) < 0.5
    if spec.augment not in ("flip", "crop_flip"):
        flips = torch.zeros_like(flips)
    return EpochPlan(order.to(device), offsets.to(device), flips.to(device))


def crop_flip(padded: Tensor, index: Tensor, offsets: Tensor, flips: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop and mirror a batch by indexing.

    Args:
        padded: uint8 [n, C, H + 2p, W + 2p].
        index: which images, int64 [b].
        offsets: top and left corner of each crop, int64 [b, 2].
        flips: which of them to mirror, bool [b].
        size: (H, W) of the crop.

    Returns:
        uint8 [b, C, H, W].
    """
    height, width = size
    # windows[i, :, top, left] is the crop itself: a view, so only the chosen pixels are copied.
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    crops = windows[index, :, offsets[:, 0], offsets[:, 1]]
    # On a GPU, to count those that are mirrored would make the host wait.
    return mirror_counted(crops, flips) if crops.device.type == "cpu" else mirror(crops, flips)


def mirror(crops: Tensor, flips: Tensor) -> Tensor:
    """``crops`` [b, C, H, W] with those mirrored that ``flips`` [b] says."""
    return torch.where(flips[:, None, None, None], crops.flip(-1), crops)


def mirror_counted(crops: Tensor, flips: Tensor) -> Tensor:
    """The same in place, with half the copies: only those that are mirrored."""
    mirrored = flips.nonzero()[:, 0]
    return crops.index_copy_(0, mirrored, crops.index_select(0, mirrored).flip(-1))


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Raw uint8 [b, C, H, W] to float32 with the statistics [C] of pixels in [0, 1]: (x/255 - mean) / std."""
    # In place: three times fresh memory for a batch of floats costs more than the arithmetic.
    return images.float().div_(255).sub_(mean[:, None, None]).div_(std[:, None, None])


class TrainingBatches:
    """The training images of one run, padded once, handed out an epoch at a time."""

    def __init__(self, spec: RunSpec, splits: Splits) -> None:
        self.spec = spec
        self.train = splits.train
        self.mean, self.std = splits.mean, splits.std
        _, self.height, self.width = splits.shape
        self.padding = crop_padding(spec, self.height)
        self.padded = functional.pad(splits.train.images, [self.padding] * 4)

    @property
    def steps(self) -> int:
        """Steps per epoch, M = ceil(N / B)."""
        return -(-len(self.train) // self.spec.batch_size)

    def epoch(self, epoch: int, share: slice = slice(None)) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of ``epoch`` (from 1): normalised float32 [b, C, H, W], labels int64 [b]; the short last one too.

        ``share`` is what to take of each batch, for a process that trains with others.
        """
        plan = plan_epoch(self.spec, epoch, len(self.train), self.padding, self.train.images.device)
        for start in range(0, len(self.train), self.spec.batch_size):
            part = slice(start, start + self.spec.batch_size)
            index = plan.order[part][share]
            if self.spec.augment == "none":
                images = self.padded[index]
            else:
                offsets, flips = plan.offsets[part][share], plan.flips[part][share]
                images = crop_flip(self.padded, index, offsets, flips, (self.height, self.width))
            yield normalise(images, self.mean, self.std), self.train.labels[index]


def evaluation_batches(split: Split, mean: Tensor, std: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised images and labels of ``split`` in order, in large batches without augmentation."""
    for start in range(0, len(split), size):
        part = slice(start, start + size)
        yield normalise(split.images[part], mean, std), split.labels[part]
