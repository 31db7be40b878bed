"""What training tells while it goes on: one stream, the same from a run that trains alone and from those of a stack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from interplay.record import EpochMetrics, RunRecord
from interplay.trial import Spec


@dataclass(frozen=True)
class ModelReady:
    """A run starts, or goes on after ``restored_epoch``."""

    spec: Spec
    parameters: int
    restored_epoch: int
    history: tuple[EpochMetrics, ...] = ()
    """The epochs that lie behind a run that goes on; not told to other processes."""
    model: Any = field(default=None, compare=False, repr=False)
    """The network, of a run that trains alone; not told to other processes."""


@dataclass(frozen=True)
class BatchSeen:
    """Progress inside an epoch, about once a second, and where a tracker logs."""

    spec: Spec
    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    lr: float
    batch_loss: float | None
    batch_accuracy: float | None
    is_logged: bool


@dataclass(frozen=True)
class Alive:
    """A training that tells of epochs alone, if of those, is at work."""

    spec: Spec


@dataclass(frozen=True)
class EpochEnded:
    """An epoch has ended."""

    spec: Spec
    metrics: EpochMetrics


@dataclass(frozen=True)
class RecordReady:
    """A run is through: this is its record, which is in no store yet."""

    record: RunRecord


@dataclass(frozen=True)
class RunEnded:
    """The attempt at a run has ended, once a run."""

    spec: Spec
    outcome: Any


@dataclass(frozen=True)
class Note:
    """Something that people should know."""

    text: str


Event = ModelReady | BatchSeen | Alive | EpochEnded | RecordReady | RunEnded | Note

Emit = Callable[[Event], None]
"""Takes every event, in the thread that trains: the time that it takes is time in which nothing is trained."""


def unheard(event: Event) -> None:
    """The `Emit` where nobody follows."""


def never() -> bool:
    """The ``should_stop`` of a run that nothing stops."""
    return False
