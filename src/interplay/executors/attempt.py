"""An attempt at one run or at a stack of several, from claim to committed record: training, store and trackers meet."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from interplay import by_path
from interplay.data import splits
from interplay.errors import DataError
from interplay.executors.errors import chain, device_trouble, where
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome, failure, first_line
from interplay.executors.trials import carried_out
from interplay.record import RunRecord, best_epoch
from interplay.spec import RunSpec, knob_names
from interplay.stack.grouping import kind
from interplay.stack.memory import make_room
from interplay.stack.train import LeaveStack, train_stack
from interplay.store.leases import Claim, Claims, Heartbeat, LeaseLostError
from interplay.store.store import Store
from interplay.summary import setting
from interplay.trackers.base import NullTracker, TrackedRun, Tracker, batch_row, epoch_row
from interplay.trackers.choose import open_tracker
from interplay.trackers.guard import mark_of
from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError, Checkpoints
from interplay.train.events import BatchSeen, EpochEnded, Event, ModelReady, Note, RecordReady, RunEnded
from interplay.train.loop import Interrupted, train
from interplay.train.names import Autotune, StackPath
from interplay.trainers import code
from interplay.trainers.base import TrialFailedError, TrialKilledError, TrialStoppedError
from interplay.trial import Spec, Trial, trials

Way = Literal["single"] | StackPath
"""Each run by itself; all as one stack; the same through Inductor."""


def attempt(
    specs: Sequence[Spec],
    store: Store,
    leases: Claims,
    job: Job,
    emit: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    tracker: Tracker | None = None,
    facts: Mapping[str, Any] | None = None,
    way: Way = "single",
    autotune: Autotune = "none",
    trains: Callable[..., object] = train,
) -> None:
    """Claim ``specs``, train those that are free, and commit each record as its run ends.

    Every run has a lease and a heartbeat of its own, and one outcome, the `RunEnded` that ``emit`` takes as it is
    known. Nothing that goes wrong with a run is raised; the outcome says it, and the store has the traceback. Only
    ``KeyboardInterrupt`` and the like pass.

    In a stack, a run that another worker takes over leaves and the others go on. An error there cannot be blamed on one
    run of several: all of them end `End.APART`, to be tried again each by itself, and without a longer search.

    Args:
        specs: what to compute; for a stack, runs with one `grouping.stack_key`.
        store: where records go.
        leases: of this worker.
        job: settings that all runs share.
        emit: takes every event.
        should_stop: asked after each epoch; True ends the attempt there, with checkpoints.
        tracker: one opened for all runs of this process, so that a broken one is given up once; by default the job's is
            opened for this attempt. Runs of a stack have one each beside it.
        facts: noted in the environment of the records.
        way: how to train.
        autotune: which libraries search longer for fast kernels.
        trains: what trains a run that trains by itself; called as `train` is.
    """
    tracker = tracker or open_tracker(job.tracking, lambda text: emit(Note(text)))
    if way != "single":
        _Attempt(store, leases, job, emit, should_stop, tracker, facts, way, autotune).carry_out(specs)
        return
    for spec in specs:
        # Those of somebody else follow his own training.
        followed = NullTracker() if isinstance(spec, Trial) else tracker
        _Attempt(store, leases, job, emit, should_stop, followed, facts, way, autotune, trains).carry_out([spec])


@dataclass
class _Open:
    """A run that is claimed and has no outcome yet."""

    heartbeat: Heartbeat
    checkpoints: Checkpoints
    tracker: Tracker
    lease: contextlib.ExitStack
    """What ends its heartbeat and gives its claim back."""
    seconds: float | None = None
    """Of its last epoch in this attempt."""


class _Attempt:
    """The runs of one attempt, all of which train alone (then it is one) or as one stack."""

    def __init__(
        self,
        store: Store,
        leases: Claims,
        job: Job,
        emit: Callable[[Event], None],
        should_stop: Callable[[], bool],
        tracker: Tracker,
        facts: Mapping[str, Any] | None,
        way: Way,
        autotune: Autotune,
        trains: Callable[..., object] = train,
    ) -> None:
        self._store, self._leases, self._job = store, leases, job
        self._emit, self._should_stop = emit, should_stop
        self._tracker, self._facts, self._way, self._trains = tracker, facts or {}, way, trains
        self._autotune = autotune
        self._open: dict[Spec, _Open] = {}
        self._ended: set[Spec] = set()

    def carry_out(self, specs: Sequence[Spec]) -> None:
        """Claim ``specs``, train what could be claimed, and end all."""
        with contextlib.ExitStack() as leases:
            try:
                for spec in specs:
                    self._claim(spec, leases)
                if self._open:
                    self._train(list(self._open))
            except LeaseLostError as error:
                self._end_all(Outcome(End.TAKEN, reason=str(error)), specs)
            except OSError as error:
                self._end_all(Outcome(End.UNABLE, reason=f"cannot write or read: {error}"), specs)

    def _claim(self, spec: Spec, leases: contextlib.ExitStack) -> None:
        """Claim one run, or emit why that cannot be."""
        folder = self._store.open(spec)
        claim = None if self._store.is_done(spec.run_id) else self._leases.take(spec.run_id)
        if claim is None:
            self._end(spec, Outcome(End.DONE if self._store.is_done(spec.run_id) else End.TAKEN))
            return
        lease = leases.enter_context(contextlib.ExitStack())
        heartbeat = lease.enter_context(Heartbeat(claim, self._leases.lease))
        job = self._job
        tracker = self._tracker if self._way == "single" else self._tracker.beside()
        keep_best = tracker.wants_weights
        checkpoints = Checkpoints(folder, job.save_checkpoints, keep_best, job.checkpoint_seconds, say=self._note)
        self._open[spec] = _Open(heartbeat, checkpoints, tracker, lease)
        if self._store.is_done(spec.run_id):  # committed between the look and the claim
            self._end(spec, Outcome(End.DONE))
            return
        self._store.clean(spec.run_id, claim.attempt)
        lease.callback(tracker.close)

    def _note(self, text: str) -> None:
        self._emit(Note(text))

    def _end(self, spec: Spec, outcome: Outcome) -> None:
        """Give the run back and emit its outcome, once."""
        if spec in self._ended:
            return
        self._ended.add(spec)
        run = self._open.pop(spec, None)
        if run is not None:
            run.lease.close()
        self._emit(RunEnded(spec, outcome))

    def _end_all(self, outcome: Outcome, specs: Sequence[Spec] | None = None) -> None:
        """The same end for all runs that have none yet."""
        for spec in list(self._open if specs is None else specs):
            self._end(spec, outcome)

    # -- training -------------------------------------------------------------------------------------------------

    def _train(self, specs: Sequence[Spec]) -> None:
        by_path.use(*self._job.code_dirs)
        own = [spec for spec in specs if not isinstance(spec, Trial)]
        try:
            for trial in trials(specs):
                self._carry_out(trial)
            if own:
                make_room(kind(own[0]), self._job.device)
            data = [load(spec, self._job.data_dir, self._job.device) for spec in own]
            if own:
                self._train_own(own, data)
        except (Interrupted, TrialStoppedError) as error:
            self._end_all(Outcome(End.INTERRUPTED, reason=str(error)))
        except (OSError, LeaseLostError):
            raise
        except DataError as error:
            self._end_all(Outcome(End.UNABLE, reason=str(error)))
        except TrialKilledError as error:
            self._end_all(Outcome(End.KILLED, reason=str(error)))
        except TrialFailedError as error:
            self._has_failed(error)
        except Exception as error:
            # What closes something on the way out of Ctrl-C may fail in turn, and hides it.
            for each in chain(error):
                if isinstance(each, KeyboardInterrupt):
                    raise each from None
            self._went_wrong(error, one=len(specs) == 1)

    def _train_own(self, specs: Sequence[RunSpec], data: Sequence[splits.Splits]) -> None:
        words: dict[str, Any] = {
            "emit": self._on_event,
            "should_stop": self._should_stop,
            "instruments": self._job.instruments,
            "test_every": self._job.test_every,
            "facts": self._facts,
            "autotune": self._autotune,
        }
        places = [self._open[spec].checkpoints for spec in specs]
        if self._way == "single":
            self._trains(specs[0], data[0], checkpoints=places[0], **words)
        else:
            logged = self._job.tracking.name != "none"
            train_stack(specs, data, checkpoints=places, logged=logged, path=self._way, **words)

    def _on_event(self, event: Event) -> None:
        match event:
            case ModelReady():
                self._on_model(event)
            case BatchSeen():
                self._on_batch(event)
            case EpochEnded():
                self._on_epoch(event)
            case RecordReady():
                self._commit(event.record)

    def _on_model(self, event: ModelReady) -> None:
        spec = event.spec
        assert isinstance(spec, RunSpec), "somebody else's training shows no network"
        name, folder = self._job.tracking.run_name or setting(spec), self._store.folder(spec.run_id)
        root = Path(self._job.output_dir)
        run = TrackedRun(spec, name, event.model, event.parameters, root, folder, event.history)
        self._emit(replace(event, history=(), model=None))
        self._open[spec].tracker.start(run)

    def _carry_out(self, trial: Trial) -> None:
        record = carried_out(
            trial, self._store, self._open[trial].heartbeat, self._job, self._facts, self._emit, self._should_stop
        )
        self._commit(record)

    def _has_failed(self, error: TrialFailedError) -> None:
        for trial in trials(self._open):
            if self._job.device != "cpu" and "out of memory" in f"{error.reason} {error.trace}":
                self._end(trial, Outcome(End.OUT_OF_MEMORY, reason=error.reason))
                continue
            failed = failure(trial, error.reason, error.trace, code.environment(trial, self._job.device))
            self._store.fail(failed)
            self._end(trial, Outcome(End.FAILED, failed, failed.reason))

    def _on_batch(self, event: BatchSeen) -> None:
        spec, run = event.spec, self._open[event.spec]
        seen = {"epoch": event.epoch, "epochs": spec.epochs, "loss": event.loss, "accuracy": event.accuracy}
        if run.seconds is not None:
            left = spec.epochs - event.epoch + 1 - event.batch / event.batches
            seen["eta"] = len(self._open) * run.seconds * left
        # A stack can be left at the end of an epoch only: there a lost lease is noticed again.
        with contextlib.suppress(*([] if self._way == "single" else [LeaseLostError])):
            run.heartbeat.progress(**seen)
        if event.is_logged:
            run.tracker.batch(tracked(event))
        self._emit(event)

    def _on_epoch(self, event: EpochEnded) -> None:
        spec, metrics, run = event.spec, event.metrics, self._open[event.spec]
        try:
            run.heartbeat.claim.check()  # a worker that slept through its lease must not write into another's history
            run.heartbeat.progress(
                epoch=metrics.epoch,
                epochs=spec.epochs,
                loss=metrics.train_loss,
                accuracy=metrics.test_acc,
                # The others of a stack take their time besides.
                eta=len(self._open) * metrics.seconds * (spec.epochs - metrics.epoch),
            )
        except LeaseLostError as error:
            if self._way == "single":
                raise
            self._end(spec, Outcome(End.TAKEN, reason=str(error)))
            raise LeaveStack from error
        self._store.add_epoch(spec.run_id, metrics, first=run.seconds is None)
        run.seconds = metrics.seconds
        run.tracker.epoch(epoch_row(metrics))
        self._emit(event)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _commit(self, record: RunRecord) -> None:
        run = self._open.get(record.spec)
        if run is None:
            return  # it has been taken over, and its end is told
        try:
            outcome = safe(record, self._store, run.checkpoints, run.heartbeat.claim)
        except LeaseLostError as error:
            outcome = Outcome(End.TAKEN, reason=str(error))
        if outcome.record is not None:
            self._finish_tracking(outcome.record, run)
        self._end(record.spec, outcome)

    def _finish_tracking(self, record: RunRecord, run: _Open) -> None:
        checkpoints = run.checkpoints
        with contextlib.suppress(OSError):
            mark_of(self._store.folder(record.run_id)).unlink(missing_ok=True)
        run.tracker.finish(record, _best_weights(record, checkpoints) if checkpoints.keep_best else None)
        if checkpoints.keep_best and not checkpoints.keep:
            with contextlib.suppress(OSError):
                checkpoints.best.unlink(missing_ok=True)

    def _went_wrong(self, error: Exception, *, one: bool) -> None:
        reason, end = first_line(error), device_trouble(error)
        # Of one run too, where a library searched longer: that may be what failed, and it is tried without.
        apart = not one or self._autotune != "none"
        if end is not None and not (one and apart and end is End.OUT_OF_MEMORY):
            self._end_all(Outcome(end, reason=reason))
        elif apart:
            self._end_all(Outcome(End.APART, reason=reason))
        else:
            for spec in list(self._open):
                place = where(torch.device(self._job.device), "single" if self._way == "single" else "fused")
                failed = failure(spec, reason, traceback.format_exc(), place)
                self._store.fail(failed)
                self._end(spec, Outcome(End.FAILED, failed, failed.reason))


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


def tracked(progress: BatchSeen) -> dict[str, float]:
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
    """The file of the best weights, if it holds those: an earlier start may have had no reason to keep them."""
    best = best_epoch(record.history)
    try:
        found = checkpoint.read(checkpoints.best).get("epoch")
    except CheckpointError:
        return None
    return checkpoints.best if best is not None and found == best.epoch else None


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
