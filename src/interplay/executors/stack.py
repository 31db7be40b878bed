"""One attempt at several runs at once, from claims to committed records: `worker.attempt` for a stack."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from interplay.errors import DataError
from interplay.executors.attempt import End, Hooks, Job, Outcome, device_trouble, failure, first_line, load, safe, where
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.stack.train import LeaveStack, train_stack
from interplay.store.leases import Claims, Heartbeat, LeaseLostError
from interplay.store.store import Store
from interplay.train.checkpoint import Checkpoints
from interplay.train.loop import BatchMetrics, Interrupted

Tell = Callable[[RunSpec, Outcome], None]


def attempt_stack(
    specs: Sequence[RunSpec],
    store: Store,
    claims: Claims,
    job: Job,
    hooks: Hooks,
    tell: Tell,
    facts: Mapping[str, Any] | None = None,
    *,
    compiled: bool = False,
) -> None:
    """Claim ``specs``, train those that are free as one stack, and commit each record as its run ends.

    Every run has a claim and a heartbeat of its own, and one outcome, which ``tell`` hears as it is known. A run that
    another worker takes over leaves the stack and the others go on. An error cannot be blamed on one run of several:
    all of them end `End.APART`, to be tried again each by itself.

    Trackers and instruments follow runs that train alone; ``job`` names none. ``compiled`` as `train_stack` takes it.
    """
    with contextlib.ExitStack() as leases:
        attempt = _Attempt(store, claims, job, hooks, tell)
        try:
            for spec in specs:
                attempt.claim(spec, leases)
            if attempt.open:
                attempt.train(facts or {}, compiled)
        except OSError as error:
            attempt.end_all(Outcome(End.UNABLE, reason=f"cannot write or read: {error}"), specs)


class _Attempt:
    """The runs of one attempt that have no outcome yet."""

    def __init__(self, store: Store, claims: Claims, job: Job, hooks: Hooks, tell: Tell) -> None:
        self.store, self.claims, self.job, self.hooks = store, claims, job, hooks
        self._tell = tell
        self.open: dict[RunSpec, contextlib.ExitStack] = {}
        """Runs that are claimed, each with what ends its heartbeat and gives its claim back."""
        self._beats: dict[RunSpec, Heartbeat] = {}
        self._begun: set[RunSpec] = set()
        self._told: set[RunSpec] = set()

    def claim(self, spec: RunSpec, leases: contextlib.ExitStack) -> None:
        """Claim one run, or tell why that cannot be."""
        self.store.open(spec)
        done = self.store.is_done(spec.run_id)
        claim = None if done else self.claims.take(spec.run_id)
        if claim is None:
            self.end(spec, Outcome(End.DONE if self.store.is_done(spec.run_id) else End.TAKEN))
            return
        lease = leases.enter_context(contextlib.ExitStack())
        self._beats[spec] = lease.enter_context(Heartbeat(claim, self.claims.lease))
        self.open[spec] = lease
        if self.store.is_done(spec.run_id):  # committed between the look and the claim
            self.end(spec, Outcome(End.DONE))
        else:
            self.store.clean(spec.run_id, claim.attempt)

    def end(self, spec: RunSpec, outcome: Outcome) -> None:
        """Give the run back and tell its outcome, once."""
        if spec in self._told:
            return
        self._told.add(spec)
        lease = self.open.pop(spec, None)
        if lease is not None:
            lease.close()
        self._tell(spec, outcome)

    def end_all(self, outcome: Outcome, specs: Sequence[RunSpec] | None = None) -> None:
        """The same end for all runs that have none yet."""
        for spec in list(self.open if specs is None else specs):
            self.end(spec, outcome)

    # -- training -------------------------------------------------------------------------------------------------

    def train(self, facts: Mapping[str, Any], compiled: bool) -> None:
        """Train what is claimed."""
        specs = list(self.open)
        places = {spec: self._checkpoints(spec) for spec in specs}

        def on_record(record: RunRecord) -> None:
            if record.spec not in self.open:
                return  # it has been taken over, and its end is told
            try:
                outcome = safe(record, self.store, places[record.spec], self._beats[record.spec].claim)
            except LeaseLostError as error:
                outcome = Outcome(End.TAKEN, reason=str(error))
            self.end(record.spec, outcome)

        try:
            splits = [load(spec, self.job.data_dir, self.job.device) for spec in specs]
            for spec in specs:
                self.hooks.on_start(spec)
            train_stack(
                specs,
                splits,
                on_epoch=self._on_epoch,
                on_batch=self._on_batch,
                on_record=on_record,
                checkpoints=list(places.values()),
                facts=facts,
                test_every=self.job.test_every,
                compiled=compiled,
            )
        except Interrupted as error:
            self.end_all(Outcome(End.INTERRUPTED, reason=str(error)))
        except OSError:
            raise
        except DataError as error:
            self.end_all(Outcome(End.UNABLE, reason=str(error)))
        except Exception as error:
            self._went_wrong(error, alone=len(specs) == 1)

    def _checkpoints(self, spec: RunSpec) -> Checkpoints:
        folder: Path = self.store.folder(spec.run_id)
        every, say = self.job.checkpoint_seconds, self.hooks.on_note
        return Checkpoints(folder, self.job.save_checkpoints, every_seconds=every, say=say)

    def _went_wrong(self, error: Exception, *, alone: bool) -> None:
        reason = first_line(error)
        if (end := device_trouble(error)) is not None:
            self.end_all(Outcome(end, reason=reason))
        elif not alone:
            self.end_all(Outcome(End.APART, reason=reason))
        else:
            for spec in list(self.open):
                place = where(torch.device(self.job.device), "fused")
                failed = failure(spec, reason, traceback.format_exc(), place)
                self.store.fail(failed)
                self.end(spec, Outcome(End.FAILED, failed, reason))

    def _on_batch(self, spec: RunSpec, progress: BatchMetrics) -> None:
        # A lease that is lost is noticed at the end of the epoch: only there can a run leave its stack.
        with contextlib.suppress(LeaseLostError):
            self._beats[spec].progress(
                epoch=progress.epoch, epochs=spec.epochs, loss=progress.loss, accuracy=progress.accuracy
            )
        self.hooks.on_batch(spec, progress)

    def _on_epoch(self, spec: RunSpec, metrics: EpochMetrics) -> bool | None:
        beat = self._beats[spec]
        try:
            beat.claim.check()  # a worker that slept through its lease must not write into another's history
            beat.progress(
                epoch=metrics.epoch,
                epochs=spec.epochs,
                loss=metrics.train_loss,
                accuracy=metrics.test_acc,
                # The others of the stack take their time besides.
                eta=len(self.open) * metrics.seconds * (spec.epochs - metrics.epoch),
            )
        except LeaseLostError as error:
            self.end(spec, Outcome(End.TAKEN, reason=str(error)))
            raise LeaveStack from error
        self.store.add_epoch(spec.run_id, metrics, first=spec not in self._begun)
        self._begun.add(spec)
        return self.hooks.on_epoch(spec, metrics)
