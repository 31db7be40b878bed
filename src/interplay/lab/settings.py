"""Operational settings of the lab, and how it says that it did not come to an end."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from interplay.errors import InterplayError, SpecError
from interplay.executors.registry import OPTIONS, ExecutorName, check_options
from interplay.store.store import Store
from interplay.study.slurm import SlurmOptions
from interplay.text import given, shown
from interplay.trackers.base import TrackerName, TrackerSettings
from interplay.trackers.choose import require
from interplay.train.names import PathName

if TYPE_CHECKING:
    from interplay.executors.attempt import Job
    from interplay.store.leases import Lease


MAX_WORKERS = 10_000
"""Runs at a time at most."""

MAX_SECONDS = 10**8
"""Three years: as good as for ever, and within what the timers of all systems take."""


def _rule(least: int) -> str:
    return "greater than 0" if least else "0 or greater"


class InterruptedRunError(InterplayError):
    """Stopped because it was asked to; the same command goes on."""

    exit_code = 130


class RunFailedError(InterplayError):
    """A run or study did not come to its end; the message names what failed."""


@dataclass(frozen=True)
class Settings:
    """Operational settings: where and how, never what. None of them enters a run's identity.

    Attributes:
        data_dir: where datasets lie or are downloaded to.
        output_dir: where runs, results, logs and checkpoints go.
        device: of a single run: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads of a single run; 0 leaves torch's own choice. Workers of a study have one each.
        save_checkpoints: keep the best and the final weights.
        allow_modified_data: accept data files that are not the published ones, as different data.
        instruments: optional measurements, see `interplay.train.instruments`.
        test_every: epochs from one look at the test and validation images to the next; the last epoch always has one.
            The best epoch is the best of those looked at.
        gpus: of a study: ``all``, ``0``, ``0,2-4``; ``None`` for the CPU.
        per_gpu: runs at a time on one GPU; 0 leaves it to a probe of the GPU, within its free memory.
        workers: on a CPU, runs at a time; 0 for one a core.
        path: of a study: ``single`` trains one run at a time, ``fused`` stacks of runs that can share one (on a GPU
            with captured steps), ``compiled`` the same through Inductor, ``auto`` whichever a short probe of this
            machine finds faster. A single run always goes alone, and so do
            runs on a cluster.
        stack: most runs in a stack; 0 leaves it to the probe and to memory.
        executor: ``local`` for worker processes, ``inline`` for this process, ``slurm`` or ``ray`` for a cluster.
        slurm: what Slurm is asked for, over what the study file says.
        wait: with Slurm, stay until the jobs have ended.
        address: of the Ray cluster; ``auto`` for the one of this machine, ``None`` for a fresh one.
        log: write a log of each study under ``logs/``.
        checkpoint_seconds: between two checkpoints to resume from, besides the one that a stop leaves.
        lapse_seconds: without a sign of life before another worker may take a run over.
        hang_seconds: without progress before a run is killed and tried again.
        tracker: who follows the runs: ``none``, ``wandb`` or ``tensorboard``.
        wandb_project: of Weights & Biases.
        wandb_entity: of Weights & Biases; ``None`` leaves it to the environment and the account.
        wandb_name: of a single run; by default the label of its setting.
    """

    data_dir: str | Path = "data"
    output_dir: str | Path = "outputs"
    device: str = "auto"
    threads: int = 0
    save_checkpoints: bool = False
    allow_modified_data: bool = False
    instruments: tuple[str, ...] = ()
    test_every: int = 1
    gpus: str | None = None
    per_gpu: int = 0
    workers: int = 0
    path: PathName = "auto"
    stack: int = 0
    executor: ExecutorName = "local"
    slurm: SlurmOptions = SlurmOptions()
    wait: bool = False
    address: str | None = None
    log: bool = True
    checkpoint_seconds: float = 300.0
    lapse_seconds: float = 60.0
    hang_seconds: float = 1800.0
    tracker: TrackerName = "none"
    wandb_project: str = "interplay"
    wandb_entity: str | None = None
    wandb_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("data_dir", "output_dir"):
            given(name, getattr(self, name))
        for name, least, most in (
            ("threads", 0, MAX_WORKERS),
            ("per_gpu", 0, MAX_WORKERS),
            ("workers", 0, MAX_WORKERS),
            ("stack", 0, MAX_WORKERS),
            ("test_every", 1, 2**31),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not value <= most:
                raise SpecError(f"{name} must be a whole number, at most {most}, not {shown(value)}")
            if value < least:
                raise SpecError(f"{name} must be {_rule(least)}, not {shown(value)}")
        for name, least in (("checkpoint_seconds", 0), ("lapse_seconds", 1), ("hang_seconds", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not -inf < value <= MAX_SECONDS:
                raise SpecError(f"{name} must be a number of seconds, at most {MAX_SECONDS}, not {shown(value)}")
            if value < 0 or (least and value == 0):
                raise SpecError(f"{name} must be {_rule(least)}, not {shown(value)}")
        require(self.tracker)
        check_options(self.executor, {name: name for name in OPTIONS if name != "slurm" and self._is_said(name)})

    def _is_said(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)

    def store(self) -> Store:
        """The store under ``output_dir``."""
        return Store(Path(self.output_dir))

    def tracking(self, group: str | None = None) -> TrackerSettings:
        """Who follows the runs; ``group`` is the study that they belong to."""
        return TrackerSettings(self.tracker, self.wandb_project, self.wandb_entity, group, self.wandb_name)

    def job(self, device: str, experiment: int | None = None, group: str | None = None) -> Job:
        """What workers are told."""
        from interplay.executors.attempt import Job

        return Job(
            data_dir=str(self.data_dir),
            output_dir=str(self.output_dir),
            device=device,
            save_checkpoints=self.save_checkpoints,
            experiment=experiment,
            instruments=self.instruments,
            test_every=self.test_every,
            checkpoint_seconds=self.checkpoint_seconds,
            lease=self.lease(),
            tracker=self.tracking(group),
        )

    def lease(self) -> Lease:
        """How claims are kept alive: a sign of life several times before it would be missed."""
        from interplay.store.leases import Lease

        return Lease(beat=min(5.0, self.lapse_seconds / 6), lapse=self.lapse_seconds, hang=self.hang_seconds)
