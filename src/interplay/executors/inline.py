"""Runs in this very process, one after the other: for debugging, for tests, and for a single run."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from interplay.executors.attempt import Hooks, Job, Outcome, attempt
from interplay.executors.base import Executor, Listener
from interplay.executors.queue import Ledger, Report
from interplay.executors.signals import StopRequest
from interplay.executors.stack import attempt_stack
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.speed.choose import Stacking
from interplay.store.leases import Claims
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.loop import BatchMetrics

_NAME = "inline"


class InlineExecutor(Executor):
    """The contract of all executors without processes. A run that kills its process kills this one.

    Args:
        stacking: which runs are trained in stacks, see `paths.Stacking`; by default none.
    """

    def __init__(self, stacking: Stacking | None = None) -> None:
        self.stacking = stacking or Stacking()

    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if job.device == "cpu":
            torch.set_num_threads(1)  # as every other worker, so that a run may go on elsewhere with the same bits
        ledger = Ledger(specs, store, stacking=self.stacking.limit)
        claims = Claims(store.runs, _NAME, job.lease)

        def on_start(spec: RunSpec) -> None:
            stop.armed = True
            listener.started(_NAME, spec)

        def on_epoch(spec: RunSpec, metrics: EpochMetrics) -> bool:
            listener.epoch(_NAME, spec, metrics)
            return stop.requested

        def on_batch(spec: RunSpec, progress: BatchMetrics) -> None:
            listener.batch(_NAME, spec, progress)

        def on_end(spec: RunSpec, outcome: Outcome) -> None:
            if stop.requested:
                ledger.stop()
            ledger.ended(spec, outcome)
            listener.ended(_NAME, spec, outcome)

        hooks = Hooks(on_start, on_epoch, on_batch, listener.note)
        tracker = open_tracker(job.tracking, listener.note)
        while not ledger.finished:
            if stop.requested:
                ledger.stop()
            given = ledger.take()
            if given is None:
                time.sleep(0.05)
                continue
            facts, compiled = self.stacking.facts(given.specs[0]), self.stacking.is_compiled(given.specs[0])
            if given.stacked:
                attempt_stack(given.specs, store, claims, job, hooks, on_end, facts, compiled=compiled)
            else:
                for spec in given.specs:
                    on_end(spec, attempt(spec, store, claims, job, hooks, tracker, facts))
            stop.armed = False
        return ledger.close()
