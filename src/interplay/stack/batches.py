"""The batches of several runs side by side, each with its own images, order, crops and flips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from interplay.data.batches import EpochPlan, crop_flip, crop_padding, normalise, plan_epoch
from interplay.data.splits import Split, Splits
from interplay.spec import RunSpec


@dataclass(frozen=True)
class Choice:
    """Which images the K runs see in one batch, and how. b K entries: the K runs' first images, then their second."""

    index: Tensor
    """Into the pool of images, int64 [b K]."""
    offsets: Tensor
    """Corners of the crops, int64 [b K, 2]."""
    flips: Tensor
    """Whether to mirror, bool [b K]."""


class Pool:
    """The images of one split of several runs, those that are the same for several kept once."""

    def __init__(self, splits: Sequence[Split], padding: int = 0) -> None:
        distinct = list({id(split.images): split for split in splits}.values())
        places = {id(split.images): number for number, split in enumerate(distinct)}
        self.images = functional.pad(torch.cat([split.images for split in distinct]), [padding] * 4)
        labelled = list({id(split.labels): split for split in splits}.values())
        labels = {id(split.labels): number for number, split in enumerate(labelled)}
        self.labels = torch.cat([split.labels for split in labelled])
        self.count = len(splits[0])
        device = self.images.device
        first = [self.count * places[id(split.images)] for split in splits]
        shift = [self.count * labels[id(split.labels)] for split in splits]
        self.first = torch.tensor(first, device=device)
        """Where the images of each run begin, int64 [K]."""
        self._to_labels = torch.tensor(shift, device=device) - self.first

    def labels_of(self, index: Tensor) -> Tensor:
        """Labels int64 [K, b] of images that a `Choice` names."""
        return self.labels[index.view(-1, len(self.first)) + self._to_labels].t()


class StackedBatches:
    """The training images of K runs that agree in data, batch size and augmentation, but not in their seed.

    Args:
        specs: the runs.
        splits: the data of each; runs that train on the same images may share them.

    Raises:
        ValueError: the runs do not have the same number of images, or other statistics.
    """

    def __init__(self, specs: Sequence[RunSpec], splits: Sequence[Splits]) -> None:
        self.specs = list(specs)
        first = splits[0]
        for other in splits[1:]:
            same = torch.equal(other.mean, first.mean) and torch.equal(other.std, first.std)
            if len(other.train) != len(first.train) or other.shape != first.shape or not same:
                raise ValueError("the runs of a stack train on the same data, or on draws of one size from it")
        self.mean, self.std = first.mean, first.std
        _, self.height, self.width = first.shape
        self.padding = crop_padding(specs[0], self.height)
        self.augmented = specs[0].augment != "none"
        self.pool = Pool([each.train for each in splits], self.padding)

    @property
    def steps(self) -> int:
        """Steps per epoch, M = ceil(N / B)."""
        return -(-self.pool.count // self.specs[0].batch_size)

    def epoch(self, epochs: Sequence[int]) -> Iterator[Choice]:
        """The choices of one epoch of each run, which need not be the same one; the short last batch too."""
        plans: dict[tuple[int, int], EpochPlan] = {}
        for spec, epoch in zip(self.specs, epochs, strict=True):
            if (spec.seed, epoch) not in plans:  # runs of one seed draw the same numbers
                plans[spec.seed, epoch] = plan_epoch(spec, epoch, self.pool.count, self.padding)
        own = [plans[spec.seed, epoch] for spec, epoch in zip(self.specs, epochs, strict=True)]
        device = self.pool.images.device
        index = torch.stack([plan.order for plan in own], 1).to(device) + self.pool.first
        offsets = torch.stack([plan.offsets for plan in own], 1).to(device)
        flips = torch.stack([plan.flips for plan in own], 1).to(device)
        size = self.specs[0].batch_size
        for start in range(0, self.pool.count, size):
            part = slice(start, start + size)
            yield Choice(index[part].flatten(), offsets[part].flatten(0, 1), flips[part].flatten())

    def gather(self, choice: Choice) -> tuple[Tensor, Tensor]:
        """Normalised float32 images [b K, C, H, W] and labels int64 [K, b]."""
        if self.augmented:
            size = (self.height, self.width)
            images = crop_flip(self.pool.images, choice.index, choice.offsets, choice.flips, size)
        else:
            images = self.pool.images[choice.index]
        return normalise(images, self.mean, self.std), self.pool.labels_of(choice.index)
