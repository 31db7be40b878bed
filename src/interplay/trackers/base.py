"""The protocol of all trackers, and the names under which they log."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.trackers.registry import TrackerSettings

Row = Mapping[str, float]
"""Finite numbers by name. A number that is missing or not finite is left out, never written as 0."""


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told when a run starts or goes on."""

    spec: RunSpec
    name: str
    model: Any
    """The network, a ``torch.nn.Module``, before its next step; ``None`` of a run that trains in a stack."""
    parameters: int
    """Number of trainable parameters."""
    output_dir: Path
    """Below which a tracker has a folder of its own."""
    folder: Path
    """Of the run, in the store."""
    history: tuple[EpochMetrics, ...] = ()
    """The epochs that lie behind a run that goes on."""


class Tracker(ABC):
    """Follows runs, one after the other: start, then batches and epochs, then finish or close.

    Runs that train at the same time have one each, see `beside`; all calls come from one thread at a time.

    Implementations may raise whatever they like; `guard.Guarded` stands between them and the training.
    """

    wants_weights: bool = False
    """Whether ``finish`` has a use for the best weights, so that they must be on disk."""

    survives_kills: bool = False
    """Whether all rows so far are on disk when ``epoch`` has returned, so that a kill loses none of them."""

    @classmethod
    def opened(cls, settings: TrackerSettings, say: Callable[[str], None]) -> Tracker:
        """The one that ``settings`` ask for; ``say`` takes single lines for people."""
        return cls()

    @staticmethod
    def destination(settings: TrackerSettings) -> str:
        """Where rows go: those that were sent elsewhere are sent again."""
        return settings.name

    @staticmethod
    def announcement(output_dir: Path) -> str | None:
        """One line on where its files will be, below the output folder; ``None`` where nothing needs to be said."""
        return None

    @abstractmethod
    def start(self, run: TrackedRun) -> None:
        """A run starts, or goes on after an interruption: then its earlier rows are continued."""

    @abstractmethod
    def batch(self, row: Row) -> None:
        """Every 50 batches and at the last one of each epoch; see `batch_row`."""

    @abstractmethod
    def epoch(self, row: Row) -> None:
        """An epoch has ended; see `epoch_row`."""

    @abstractmethod
    def finish(self, record: RunRecord, best: Path | None) -> None:
        """The run has finished or diverged and its record is safe; ``best`` is the file of its best weights."""

    @abstractmethod
    def close(self) -> None:
        """The run stops without a record: it was interrupted or failed."""

    def beside(self) -> Tracker:
        """A tracker of the same kind for a run that trains at the same time as others; it has followed none yet."""
        return copy.copy(self)

    def let_go(self) -> None:
        """Touch the network no more, at once and without waiting for anything: the tracker has been given up."""
        return


class NullTracker(Tracker):
    """Follows nothing."""

    def start(self, run: TrackedRun) -> None:
        """See `Tracker`."""

    def batch(self, row: Row) -> None:
        """See `Tracker`."""

    def epoch(self, row: Row) -> None:
        """See `Tracker`."""

    def finish(self, record: RunRecord, best: Path | None) -> None:
        """See `Tracker`."""

    def close(self) -> None:
        """See `Tracker`."""


def batch_row(
    *, epoch: int, batch: int, batches: int, loss: float | None, accuracy: float | None, lr: float
) -> dict[str, float]:
    """What is logged of one batch.

    Args:
        epoch: 1 for the first.
        batch: number of the batch in its epoch, from 1.
        batches: in an epoch; ``step`` counts them over the whole run, so that it rises over interruptions too.
        loss: mean cross-entropy of this batch alone, in nats.
        accuracy: of this batch alone, per cent.
        lr: the learning rate of the step that this batch made.
    """
    row = {
        "step": (epoch - 1) * batches + batch,
        "epoch": epoch,
        "batch_loss": loss,
        "batch_accuracy": accuracy,
        "batch_learning_rate": lr,
    }
    return _present(row)


def epoch_row(metrics: EpochMetrics) -> dict[str, float]:
    """What is logged of one epoch: the numbers of its `EpochMetrics`, instruments under their own names."""
    row = {
        "epoch": metrics.epoch,
        "train_loss": metrics.train_loss,
        "train_accuracy": metrics.train_acc,
        "test_loss": metrics.test_loss,
        "test_accuracy": metrics.test_acc,
        "val_loss": metrics.val_loss,
        "val_accuracy": metrics.val_acc,
        "learning_rate": metrics.lr,
        "epoch_seconds": metrics.seconds,
        "images_per_second": metrics.images_per_second,
        **metrics.instruments,
    }
    return _present(row)


def _present(row: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in row.items() if value is not None and math.isfinite(value)}
