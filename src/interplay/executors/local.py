"""All GPUs or cores of this machine: a supervisor with one worker process a slot."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing import connection
from typing import Self

from interplay.devices import Slot, cpu_slots, gpu_slots
from interplay.executors.base import Asked, Executor, Listener
from interplay.executors.job import Job
from interplay.executors.pool import Gone, Member, Pool
from interplay.executors.process import WorkerProcess
from interplay.executors.queue import Patience, Queue, Report
from interplay.executors.signals import StopRequest
from interplay.speed.plan import SpeedPlan
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.trial import Spec


class LocalExecutor(Executor):
    """One process a slot, CUDA_VISIBLE_DEVICES set before it starts.

    A worker that dies is noticed at once; its run is tried again in a new process, and marked failed after
    ``max_attempts``. A worker without a sign of progress for the lease's ``hang`` is killed and counts as dead. After a
    GPU ran out of memory its slots become one fewer, down to one.

    Args:
        slots: where workers go.
        threads: CPU threads of each worker (0: torch's choice).
        max_attempts: how often a run may kill its worker.
        patience: with runs that workers of other supervisors have.
        speed: which runs are trained in stacks, see `SpeedPlan`; by default none.
    """

    is_here = True
    stacks = True

    def __init__(
        self,
        slots: Sequence[Slot],
        threads: int = 1,
        max_attempts: int = 3,
        patience: Patience | None = None,
        speed: SpeedPlan | None = None,
    ) -> None:
        self.places, self.threads, self.max_attempts, self.patience = list(slots), threads, max_attempts, patience
        self.speed = speed or SpeedPlan()

    @classmethod
    def slots(cls, asked: Asked) -> list[Slot]:
        """See `Executor.slots`."""
        return cpu_slots(asked.workers) if asked.gpus is None else gpu_slots(asked.gpus, asked.per_gpu)

    @classmethod
    def make(cls, asked: Asked, study: Manifest, slots: Sequence[Slot]) -> Self:
        """See `Executor.make`."""
        return cls(slots)

    def run(self, specs: Sequence[Spec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if not specs:
            return Report()
        queue = Queue(specs, store, self.max_attempts, self.patience, self.speed.limit)
        return Processes(self, queue, job, listener).run(stop)


class Processes(Pool[WorkerProcess]):
    """Worker processes of this machine."""

    def __init__(self, executor: LocalExecutor, queue: Queue, job: Job, listener: Listener) -> None:
        super().__init__(executor.places, queue, job, listener, executor.speed)
        self.threads = executor.threads

    def start_worker(self, slot: Slot) -> WorkerProcess:
        """See `Pool`."""
        return WorkerProcess(slot, self.threads)

    def messages(self, seconds: float) -> list[tuple[Member[WorkerProcess], object]]:
        """See `Pool`."""
        signs = {sign: member for member in self.members.values() for sign in member.handle.signs}
        found: list[tuple[Member[WorkerProcess], object]] = []
        for member in dict.fromkeys(signs[sign] for sign in connection.wait(list(signs), seconds)):
            try:
                found.append((member, member.handle.receive()))
            except EOFError:
                found.append((member, Gone(member.handle.close())))
        return found
