"""One attempt at one run, from claim to committed record: where training, store and trackers meet."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from interplay.data import splits
from interplay.errors import DataError
from interplay.executors.job import Job as Job
from interplay.record import EpochMetrics, RunRecord, Status, best_epoch, shortened
from interplay.spec import RunSpec, knob_names
from interplay.store.leases import Claim, Claims, Heartbeat, LeaseLostError
from interplay.store.store import Store
from interplay.summary import setting
from interplay.trackers.base import TrackedRun, Tracker, batch_row, epoch_row
from interplay.trackers.choose import open_tracker
from interplay.trackers.guard import mark_of
from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError, Checkpoints
from interplay.train.environment import environment
from interplay.train.loop import BatchMetrics, Interrupted, train


class End(StrEnum):
    """How an attempt ended."""

    COMMITTED = "committed"
    """This attempt's record is the run's record."""
    DONE = "done"
    """The run had a record already, or another attempt was faster."""
    TAKEN = "taken"
    """Another worker has the run, or took it over."""
    INTERRUPTED = "interrupted"
    """Asked to stop; a checkpoint was left."""
    FAILED = "failed"
    """An error; it is noted in the store."""
    OUT_OF_MEMORY = "out_of_memory"
    """The GPU's memory did not suffice."""
    DEVICE = "device"
    """The GPU or its context is broken; this process can use it no more."""
    APART = "apart"
    """Something went wrong in the stack that the run was part of; it is to be tried by itself."""
    UNABLE = "unable"
    """Nothing is wrong with the run: the data are absent or the store cannot be written."""


@dataclass(frozen=True)
class Outcome:
    """The end of an attempt; with the record where there is one and the reason where there is none."""

    end: End
    record: RunRecord | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Hooks:
    """What an attempt tells while it goes on. ``on_epoch`` returns True to stop the run at that epoch."""

    on_start: Callable[[RunSpec], None] = lambda spec: None
    on_epoch: Callable[[RunSpec, EpochMetrics], bool | None] = lambda spec, metrics: None
    on_batch: Callable[[RunSpec, BatchMetrics], None] = lambda spec, progress: None
    on_note: Callable[[str], None] = lambda text: None


def attempt(
    spec: RunSpec,
    store: Store,
    claims: Claims,
    job: Job,
    hooks: Hooks | None = None,
    tracker: Tracker | None = None,
    facts: Mapping[str, Any] | None = None,
) -> Outcome:
    """Claim ``spec``, train it, commit its record.

    Nothing that goes wrong with the run is raised; the outcome says it, and the store has the traceback. Only
    ``KeyboardInterrupt`` and the like pass.

    ``tracker`` is one opened for all runs of a sitting, so that a broken one is given up once; by default the job's is
    opened for this run. ``facts`` are noted in the environment of the record.
    """
    hooks = hooks or Hooks()
    tracker = tracker or open_tracker(job.tracking, hooks.on_note)
    try:
        folder = store.open(spec)
        claim = None if store.is_done(spec.run_id) else claims.take(spec.run_id)
        if claim is None:
            return Outcome(End.DONE if store.is_done(spec.run_id) else End.TAKEN)
        with Heartbeat(claim, claims.lease) as heartbeat:
            if store.is_done(spec.run_id):  # committed between the look and the claim
                return Outcome(End.DONE)
            store.clean(spec.run_id, claim.attempt)
            try:
                return _claimed(spec, store, folder, job, hooks, heartbeat, tracker, facts)
            finally:
                tracker.close()
    except LeaseLostError as error:
        return Outcome(End.TAKEN, reason=str(error))
    except OSError as error:
        return Outcome(End.UNABLE, reason=f"cannot write or read: {error}")


def _claimed(
    spec: RunSpec,
    store: Store,
    folder: Path,
    job: Job,
    hooks: Hooks,
    heartbeat: Heartbeat,
    tracker: Tracker,
    facts: Mapping[str, Any] | None,
) -> Outcome:
    device = torch.device(job.device)
    began: list[int] = []
    pace: list[float] = []

    def on_model(model: nn.Module, history: Sequence[EpochMetrics]) -> None:
        name = job.tracking.run_name or setting(spec)
        tracker.start(TrackedRun(spec, name, model, Path(job.output_dir), folder, tuple(history)))

    def on_batch(progress: BatchMetrics) -> None:
        facts = {"epoch": progress.epoch, "epochs": spec.epochs, "loss": progress.loss, "accuracy": progress.accuracy}
        if pace:
            facts["eta"] = pace[-1] * (spec.epochs - progress.epoch + 1 - progress.batch / progress.batches)
        heartbeat.progress(**facts)
        if progress.is_logged:
            tracker.batch(tracked(progress))
        hooks.on_batch(spec, progress)

    def on_epoch(metrics: EpochMetrics) -> bool | None:
        heartbeat.claim.check()  # a worker that slept through its lease must not write into another's history
        store.add_epoch(spec.run_id, metrics, first=not began)
        began.append(metrics.epoch)
        pace.append(metrics.seconds)
        left = metrics.seconds * (spec.epochs - metrics.epoch)
        heartbeat.progress(
            epoch=metrics.epoch, epochs=spec.epochs, loss=metrics.train_loss, accuracy=metrics.test_acc, eta=left
        )
        tracker.epoch(epoch_row(metrics))
        return hooks.on_epoch(spec, metrics)

    try:
        data = load(spec, job.data_dir, job.device)
        hooks.on_start(spec)
        wanted = tracker.wants_weights
        checkpoints = Checkpoints(folder, job.save_checkpoints, wanted, job.checkpoint_seconds, say=hooks.on_note)
        record = train(
            spec,
            data,
            on_epoch=on_epoch,
            on_batch=on_batch,
            on_model=on_model,
            checkpoints=checkpoints,
            instruments=job.instruments,
            test_every=job.test_every,
            facts=facts,
        )
    except Interrupted as error:
        return Outcome(End.INTERRUPTED, reason=str(error))
    except (LeaseLostError, OSError):
        raise
    except DataError as error:
        return Outcome(End.UNABLE, reason=str(error))
    except Exception as error:
        if (end := device_trouble(error)) is not None:
            return Outcome(end, reason=first_line(error))
        failed = failure(spec, first_line(error), traceback.format_exc(), where(device, "single"))
        store.fail(failed)
        return Outcome(End.FAILED, failed, failed.reason)
    outcome = safe(record, store, checkpoints, heartbeat.claim)
    if outcome.record is None:
        return outcome
    with contextlib.suppress(OSError):
        mark_of(folder).unlink(missing_ok=True)
    committed = outcome.record
    tracker.finish(committed, _best_weights(committed, checkpoints) if wanted else None)
    if wanted and not job.save_checkpoints:
        with contextlib.suppress(OSError):
            checkpoints.best.unlink(missing_ok=True)
    return outcome


def safe(record: RunRecord, store: Store, checkpoints: Checkpoints, claim: Claim) -> Outcome:
    """Commit ``record``; once it is safe, remove what was there to go on from.

    A worker that slept through its lease must commit nothing, though its record may be right: it would take the files
    away from under the attempt that has the run now. Raises `LeaseLostError` in that case.
    """
    committed = store.commit(record, claim.check)
    if committed is None:
        return Outcome(End.DONE)
    store.clean(record.run_id, claim.attempt)  # the result is safe, whatever becomes of the file to resume from
    return Outcome(End.COMMITTED, committed)


def tracked(progress: BatchMetrics) -> dict[str, float]:
    """What trackers log of one batch."""
    return batch_row(
        epoch=progress.epoch,
        batch=progress.batch,
        batches=progress.batches,
        loss=progress.batch_loss,
        accuracy=progress.batch_accuracy,
        lr=progress.lr,
    )


def _best_weights(record: RunRecord, checkpoints: Checkpoints) -> Path | None:
    """The file of the best weights, if it holds those: an earlier sitting may have had no reason to keep them."""
    best = best_epoch(record.history)
    try:
        found = checkpoint.read(checkpoints.best).get("epoch")
    except CheckpointError:
        return None
    return checkpoints.best if best is not None and found == best.epoch else None


def device_trouble(error: Exception) -> End | None:
    """What an error says of the GPU: out of memory, broken, or nothing. Libraries report both in several ways."""
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text:
        return End.OUT_OF_MEMORY
    return End.DEVICE if isinstance(error, RuntimeError) and "CUDA error" in text else None


def where(device: torch.device, path: str) -> dict[str, Any]:
    """The environment of an attempt that failed."""
    try:
        return environment(device, path)
    except Exception:  # a GPU that cannot even be asked its name must not hide why the run failed
        return {"device": str(device)}


_LONGEST_TRACE = 20_000
"""Characters of a traceback that are kept: an error may print whole arrays."""


def failure(spec: RunSpec, reason: str, trace: str | None = None, where: Mapping[str, Any] | None = None) -> RunRecord:
    """The record of an attempt that failed for ``reason``."""
    if trace is not None and len(trace) > _LONGEST_TRACE:
        half = _LONGEST_TRACE // 2
        trace = f"{trace[:half]}\n[{len(trace) - 2 * half} characters left out]\n{trace[-half:]}"
    return RunRecord(spec, Status.FAILED, reason=shortened(reason), traceback=trace, environment=where or {})


def load(spec: RunSpec, data_dir: str | Path, device: str) -> splits.Splits:
    """The data of ``spec``; runs in a row that train on the same data share them in memory."""
    same = spec.replace(
        **{name: getattr(_PLAIN, name) for name in _NOT_OF_THE_DATA},
        # Only a draw makes the data depend on the seed.
        seed=spec.seed if spec.train_limit is not None or spec.val_split or spec.label_noise else _PLAIN.seed,
    )
    loaded = _load(same, data_dir, device)
    # Batch size and network were not part of the question.
    spec.replace(train_limit=None, val_split=0).check_data(len(loaded.train), loaded.shape)
    return loaded


@lru_cache(maxsize=2)
def _load(spec: RunSpec, data_dir: str, device: str) -> splits.Splits:
    return splits.load(spec, Path(data_dir), device)


_PLAIN = RunSpec(batch_size=1)
_OF_THE_DATA = {"dataset", "fingerprint", "train_limit", "val_split", "label_noise", "seed"}
_NOT_OF_THE_DATA = [name for name in knob_names() if name not in _OF_THE_DATA]


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
