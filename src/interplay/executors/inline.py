"""Runs in this very process, one after the other: for debugging, for tests, and for a single run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

import torch

from interplay.devices import Slot, cpu_slots, inline_slot
from interplay.executors.attempt import Way, attempt
from interplay.executors.base import Asked, Executor, Listener
from interplay.executors.job import Job
from interplay.executors.outcomes import End
from interplay.executors.queue import Queue, Report
from interplay.executors.signals import StopRequest
from interplay.speed.plan import SpeedPlan
from interplay.store.leases import Claims
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.events import BatchSeen, EpochEnded, Event, ModelReady, Note, RunEnded
from interplay.trial import Spec

_NAME = "inline"


class InlineExecutor(Executor):
    """The contract of all executors without processes. A run that kills its process kills this one.

    Args:
        speed: which runs are trained in stacks, see `SpeedPlan`; by default none.
    """

    is_here = True
    in_this_process = True
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

    def run(self, specs: Sequence[Spec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if job.device == "cpu":
            torch.set_num_threads(1)  # as every other worker, so that a run may go on elsewhere with the same bits
        queue = Queue(specs, store, stacking=self.speed.limit)
        leases = Claims(store.runs, _NAME, job.lease)

        def emit(event: Event) -> None:
            match event:
                case ModelReady():
                    stop.armed = True
                    listener.started(_NAME, event.spec)
                case BatchSeen():
                    listener.batch(_NAME, event.spec, event)
                case EpochEnded():
                    listener.epoch(_NAME, event.spec, event.metrics)
                case Note():
                    listener.note(event.text)
                case RunEnded():
                    if stop.requested:
                        queue.stop()
                    queue.ended(event.spec, event.outcome)
                    if event.outcome.end is End.DEVICE:  # every further run of this process would end the same way
                        queue.stop(
                            f"{event.outcome.reason}; the same command goes on, in a process that has a GPU again"
                        )
                    listener.ended(_NAME, event.spec, event.outcome)

        tracker = open_tracker(job.tracking, listener.note)
        while not queue.finished:
            if stop.requested:
                queue.stop()
            given = queue.take()
            if given is None:
                time.sleep(0.05)
                continue
            first = given.specs[0]
            way: Way = self.speed.path(first) if given.stacked else "single"
            attempt(
                given.specs,
                store,
                leases,
                job,
                emit,
                lambda: stop.requested,
                tracker=tracker,
                facts=self.speed.facts(first),
                way=way,
                autotune="none" if given.again else self.speed.autotune(first),
            )
            stop.armed = False
        return queue.close()
