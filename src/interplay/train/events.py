"""What training tells while it goes on: one stream, the same from a run that trains alone and from those of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interplay.record import EpochMetrics
from interplay.trial import Spec


@dataclass(frozen=True)
class ModelReady:
    """A run starts, or goes on after ``restored_epoch``."""

    spec: Spec
    parameters: int
    restored_epoch: int


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
class RunEnded:
    """The attempt at a run has ended, once a run."""

    spec: Spec
    outcome: Any


@dataclass(frozen=True)
class Note:
    """Something that people should know."""

    text: str


Event = ModelReady | BatchSeen | Alive | EpochEnded | RunEnded | Note
