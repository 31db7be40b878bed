"""The contract of all executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from interplay.executors.ledger import Report
from interplay.executors.stopping import StopRequest
from interplay.executors.worker import Job, Outcome
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.train.single import BatchMetrics


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


class Executor(ABC):
    """Runs what is missing and commits it.

    Whatever happens to workers, supervisors and disks, each run ends with exactly one committed record or a named
    failure, or stays missing and is found by the next sitting. The store is the truth, never an executor's own state.
    """

    @abstractmethod
    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """Run ``specs``, in that order as far as workers are free, until they are done or ``stop`` is requested."""
