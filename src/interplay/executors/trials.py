"""An attempt at somebody else's training: what it measures goes the way of the lab's own."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from interplay.errors import DataError, SpecError
from interplay.executors.job import Job
from interplay.record import EpochMetrics, RunRecord
from interplay.store.leases import Heartbeat, LeaseLostError
from interplay.store.store import Store
from interplay.train.events import Alive, EpochEnded, Event, ModelReady, Note
from interplay.trainers.base import Running, TrialBusyError, TrialFailedError
from interplay.trainers.choose import carry_out
from interplay.trainers.metrics import Curve
from interplay.trial import Trial

_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where no more can be written."""

ALIVE_SECONDS = 1.0
"""Between two signs of life."""


def carried_out(
    trial: Trial,
    store: Store,
    heartbeat: Heartbeat,
    job: Job,
    facts: Mapping[str, Any],
    emit: Callable[[Event], None],
    should_stop: Callable[[], bool],
) -> RunRecord:
    """Train, and return the record. The run is claimed, and ``heartbeat`` beats for it.

    Raises:
        DataError: the command cannot be started or the function not be found, nor could those of other runs.
        LeaseLostError: another worker has the run, or its command is still at work.
        OSError: the training said that no space is left to write.
        TrialFailedError: the training failed.
        TrialKilledError: it was ended by a signal from outside.
        TrialStoppedError: it was asked to stop.
    """
    curve = Curve(trial.options.metric, trial.options.lower, store.history(trial.run_id))
    seen: dict[str, Any] = {"epoch": curve.last} if curve.last else {}
    told, noted = 0.0, 0

    def on_epoch(metrics: EpochMetrics) -> None:
        nonlocal noted
        heartbeat.claim.check()  # a worker that slept through its lease must not write into another's history
        known = {"epoch": metrics.epoch, "epochs": trial.epochs, "loss": metrics.train_loss}
        seen.update({**known, "accuracy": metrics.test_acc})
        heartbeat.progress(**seen)
        # A training may begin again from an earlier epoch.
        store.add_epoch(trial.run_id, metrics, first=metrics.epoch <= noted or not noted)
        noted = metrics.epoch
        emit(EpochEnded(trial, metrics))

    def alive() -> None:
        nonlocal told
        heartbeat.progress(**seen)
        if time.monotonic() - told > ALIVE_SECONDS:
            told = time.monotonic()
            emit(Alive(trial))

    emit(ModelReady(trial, 0, curve.last))
    folder = store.folder(trial.run_id)
    running = Running(trial, folder, curve, on_epoch, alive, lambda text: emit(Note(text)), should_stop)
    try:
        return carry_out(running, job.device, facts)
    except SpecError as error:
        raise DataError(str(error)) from error
    except TrialBusyError as error:
        raise LeaseLostError(str(error)) from error
    except TrialFailedError as error:
        said = f"{error.reason} {error.trace or ''}"
        full = next((number for number in _FULL if os.strerror(number) in said), None)
        if full is not None:  # nothing is wrong with the run, and all others would end the same way
            raise OSError(full, os.strerror(full)) from error
        raise
