"""What a trainer is given, and what it raises; `carry_out` is one attempt at a trial, whichever trainer it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interplay.record import EpochMetrics, RunRecord, Status
from interplay.trainers.metrics import Curve
from interplay.trial import Trial

RUN_DIR = "trial"
"""Folder of the training itself, within that of the run: what it leaves there, it finds again when it goes on."""

POLL_SECONDS = 0.25
"""Between two looks at what a command has written."""


class TrialFailedError(Exception):
    """The training failed; ``trace`` is what it said last."""

    def __init__(self, reason: str, trace: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.trace = reason, trace


class TrialStoppedError(Exception):
    """The training was asked to stop, and has."""


class TrialKilledError(Exception):
    """The training was ended by a signal from outside, which says nothing of the run."""


class TrialBusyError(Exception):
    """The training of an earlier attempt is still at work in the same folder."""


@dataclass
class Running:
    """One attempt at a trial, as its trainer sees it.

    Attributes:
        trial: what to carry out.
        folder: of the run; the training has `run_dir` in it.
        curve: the epochs so far, those of earlier attempts included.
        on_epoch: takes each epoch as it is known; raises where the run is lost to another worker.
        alive: is told now and then that the training lives; raises likewise.
        note: takes what people should know.
        should_stop: whether the training is to stop.
    """

    trial: Trial
    folder: Path
    curve: Curve
    on_epoch: Callable[[EpochMetrics], None]
    alive: Callable[[], None]
    note: Callable[[str], None]
    should_stop: Callable[[], bool]
    started: float = field(default_factory=time.monotonic)

    @property
    def run_dir(self) -> Path:
        """The folder of the training itself."""
        return self.folder / RUN_DIR

    def take(self, *values: Mapping[str, Any]) -> None:
        """Note measurements, and tell of the epochs that they end."""
        for each in values:
            metrics = self.curve.add(each, time.monotonic())
            if metrics is not None:
                self.on_epoch(metrics)

    def record(self, environment: Mapping[str, Any]) -> RunRecord:
        """The record of what was measured.

        Raises:
            TrialFailedError: there is nothing by which the run could be judged.
        """
        diverged = self.curve.diverged
        history = self.curve.finished()
        if not history and diverged is None:
            raise TrialFailedError("it reported no metrics")
        if diverged is None and (missing := self.curve.missing()) is not None:
            raise TrialFailedError(missing)
        known = {"metric": self.curve.metric} if self.curve.metric else {}
        return RunRecord(
            spec=self.trial,
            status=Status.FINISHED if diverged is None else Status.DIVERGED,
            reason=diverged,
            history=history,
            environment={**environment, **known},
            wall_seconds=self.curve.seconds_before + time.monotonic() - self.started,
            started_at=(datetime.now(UTC)).isoformat(timespec="seconds"),
        )
