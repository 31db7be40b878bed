"""Runs in this very process, one after the other: for debugging, for tests, and for a single run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

import torch

from interplay.devices import Slot, cpu_slots, inline_slot
from interplay.executors.attempt import Hooks, Job, Outcome, attempt
from interplay.executors.base import Asked, Executor, Listener
from interplay.executors.queue import Queue, Report
from interplay.executors.signals import StopRequest
from interplay.executors.stack import attempt_stack
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.speed.choose import SpeedPlan
from interplay.store.leases import Claims
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.loop import BatchMetrics

_NAME = "inline"


class InlineExecutor(Executor):
    """The contract of all executors without processes. A run that kills its process kills this one.

    Args:
        speed: which runs are trained in stacks, see `SpeedPlan`; by default none.
    """

    is_here = True
    stacks = True

    def __init__(self, speed: SpeedPlan | None = None) -> None:
        self.speed = speed or SpeedPlan()

    @classmethod
    def slots(cls, asked: Asked) -> list[Slot]:
        """See `Executor.slots`."""
        return cpu_slots(1) if asked.gpus is None else [inline_slot(asked.gpus)]

    @classmethod
    def make(cls, asked: Asked, study: Manifest, slots: Sequence[Slot]) -> Self:
        """See `Executor.make`."""
        return cls()

    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if job.device == "cpu":
            torch.set_num_threads(1)  # as every other worker, so that a run may go on elsewhere with the same bits
        queue = Queue(specs, store, stacking=self.speed.limit)
        leases = Claims(store.runs, _NAME, job.lease)

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
                queue.stop()
            queue.ended(spec, outcome)
            listener.ended(_NAME, spec, outcome)

        hooks = Hooks(on_start, on_epoch, on_batch, listener.note)
        tracker = open_tracker(job.tracking, listener.note)
        while not queue.finished:
            if stop.requested:
                queue.stop()
            given = queue.take()
            if given is None:
                time.sleep(0.05)
                continue
            facts, compiled = self.speed.facts(given.specs[0]), self.speed.is_compiled(given.specs[0])
            if given.stacked:
                attempt_stack(given.specs, store, leases, job, hooks, on_end, facts, compiled=compiled)
            else:
                for spec in given.specs:
                    on_end(spec, attempt(spec, store, leases, job, hooks, tracker, facts))
            stop.armed = False
        return queue.close()
