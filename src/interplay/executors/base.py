"""The contract of all executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from interplay.executors.attempt import Job, Outcome
from interplay.executors.queue import Ledger, Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.train.loop import BatchMetrics


class Listener:
    """Follows a sitting. This one is deaf; subclasses show or log what they hear."""

    def started(self, worker: str, spec: RunSpec) -> None:
        """A worker has begun to train a run."""

    def batch(self, worker: str, spec: RunSpec, progress: BatchMetrics) -> None:
        """Progress inside an epoch, about once a second."""

    def epoch(self, worker: str, spec: RunSpec, metrics: EpochMetrics) -> None:
        """An epoch has ended."""

    def ended(self, worker: str, spec: RunSpec, outcome: Outcome) -> None:
        """An attempt has ended."""

    def note(self, text: str) -> None:
        """Something that people should know, such as a worker that died."""


class Sitting(ABC):
    """One call of ``run`` of an executor that supervises workers: its parts, and the order in which they are used."""

    ledger: Ledger

    def to_the_end(self, count: int, stop: StopRequest) -> Report:
        """Start workers for ``count`` runs and supervise them until the ledger is finished; they are gone after it."""
        stop.armed = True
        try:
            self.start(count)
            while not self.ledger.finished:
                if stop.requested:
                    self.stop()
                self.turn()
            return self.ledger.close()
        finally:
            stop.armed = False
            self.end()

    @abstractmethod
    def start(self, count: int) -> None:
        """Start workers, as many as ``count`` runs can use."""

    @abstractmethod
    def turn(self) -> None:
        """Give out work, hear what workers say, replace those that died; returns within a fraction of a second."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all workers to stop at the next epoch; may be called again."""

    @abstractmethod
    def end(self) -> None:
        """Leave no worker behind, whatever has happened."""


class Executor(ABC):
    """Runs what is missing and commits it.

    Whatever happens to workers, supervisors and disks, each run ends with exactly one committed record or a named
    failure, or stays missing and is found by the next sitting. The store is the truth, never an executor's own state.
    """

    @abstractmethod
    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """Run ``specs``, in that order as far as workers are free, until they are done or ``stop`` is requested."""
