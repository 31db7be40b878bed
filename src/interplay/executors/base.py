"""The contract of all executors, and of those who follow what they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

from interplay.devices import Slot
from interplay.executors.job import Job
from interplay.executors.outcomes import Outcome
from interplay.executors.queue import Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics
from interplay.speed.plan import SpeedPlan
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.train.events import BatchSeen
from interplay.trial import Spec

if TYPE_CHECKING:
    from interplay.study.slurm import SlurmOptions


class Listener:
    """Follows the runs of a study. This one does nothing; subclasses show or log what happens."""

    def started(self, worker: str, spec: Spec) -> None:
        """A worker has begun to train a run."""

    def batch(self, worker: str, spec: Spec, progress: BatchSeen) -> None:
        """Progress inside an epoch, about once a second."""

    def epoch(self, worker: str, spec: Spec, metrics: EpochMetrics) -> None:
        """An epoch has ended."""

    def ended(self, worker: str, spec: Spec, outcome: Outcome) -> None:
        """An attempt has ended."""

    def note(self, text: str) -> None:
        """Something that people should know, such as a worker that died."""


class Asked(Protocol):
    """What executors read of `lab.Settings`."""

    @property
    def gpus(self) -> str | None:
        """``all``, ``0``, ``0,2-4``; ``None`` for the CPU."""

    @property
    def per_gpu(self) -> int:
        """Runs at a time on one GPU; 0 where that is not said."""

    @property
    def workers(self) -> int:
        """Runs at a time; 0 where that is not said."""

    @property
    def wait(self) -> bool:
        """Whether to stay until what was handed over has ended."""

    @property
    def address(self) -> str | None:
        """Of a cluster; ``None`` where that is not said."""

    @property
    def slurm(self) -> SlurmOptions:
        """What Slurm is asked for, the study's own table included."""


class Executor(ABC):
    """Runs what is missing and commits it.

    Whatever happens to workers, supervisors and disks, each run ends with exactly one committed record or a named
    failure, or stays missing and is found by whoever looks next. The store is the truth, never an executor's own state.

    An executor answers for itself: nobody asks which one it is. `registry` has its name and the options it takes.
    """

    is_here: ClassVar[bool] = False
    """Whether its workers are on this machine, with the GPUs of this machine."""

    in_this_process: ClassVar[bool] = False
    """Whether runs are carried out in the process that asks for them: then nothing need travel to another."""

    stacks: ClassVar[bool] = False
    """Whether ``speed`` means something to it."""

    speed: SpeedPlan = SpeedPlan()
    """Which runs are trained in stacks, and how many at once on a GPU; by default each by itself."""

    @classmethod
    @abstractmethod
    def slots(cls, asked: Asked) -> list[Slot]:
        """Where runs go at a time, one slot each, as far as that is known before anything is started.

        Raises:
            SpecError: a GPU that is not there, or several for one process.
        """

    @classmethod
    def submits(cls, asked: Asked) -> bool:
        """Whether a study is handed over, by `submit`, and goes on without this process."""
        return False

    @classmethod
    @abstractmethod
    def make(cls, asked: Asked, study: Manifest, slots: Sequence[Slot]) -> Self:
        """The executor for ``study`` on ``slots``.

        Raises:
            InterplayError: the engine is not installed, or not on this machine; says what to do.
        """

    @abstractmethod
    def run(self, specs: Sequence[Spec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """Run ``specs``, in that order as far as workers are free, until they are done or ``stop`` is requested."""

    def submit(self, store: Store, job: Job) -> str:
        """Hand the study over and return at once, with how to look and how to end it."""
        raise NotImplementedError(f"{type(self).__name__} does not submit")
