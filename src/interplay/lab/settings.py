"""Operational settings of the lab, and how it says that it did not come to an end."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from interplay.errors import InterplayError
from interplay.executors.job import Job
from interplay.executors.options import WorkerOptions
from interplay.executors.registry import OPTIONS, ExecutorName, check_options
from interplay.options import option
from interplay.study.slurm import SlurmOptions
from interplay.trackers.registry import TrackerSettings
from interplay.train.names import AutotuneName, PathName

if TYPE_CHECKING:
    from interplay.store.store import Store

MAX_WORKERS = 10_000
"""Runs at a time at most."""


class InterruptedRunError(InterplayError):
    """Stopped because it was asked to; the same command goes on."""

    exit_code = 130


class RunFailedError(InterplayError):
    """A run or study did not come to its end; the message names what failed."""


@dataclass(frozen=True)
class Budget:
    """What a study may cost: so many runs in all, or so many seconds from now; ``None`` for no bound."""

    runs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Settings(WorkerOptions):
    """Operational settings: where and how, never what. None of them enters a run's identity, but that ``cpu_bf16``
    settles the precision of runs on a CPU before they are named.

    They are the flags of the command line, with the same names and defaults; `interplay study --help` and
    `interplay run --help` describe each.

    Raises:
        SpecError: a value that is impossible, or an option that the executor has no use for.
    """

    threads: int = option(
        0,
        "CPU threads (0: torch's choice); workers of a study have one each",
        group="training",
        on=("run",),
        least=0,
        most=MAX_WORKERS,
    )
    processes: int = option(
        1,
        "processes that train this run together, one a GPU (0: as many as there are GPUs)",
        group="training",
        on=("run",),
        least=0,
        most=MAX_WORKERS,
    )
    cpu_bf16: bool = option(
        False,
        "bf16 on CPUs too, which have fp32 else: part of a run's name; faster where the processor has bf16",
        group="training",
        on=("run", "study", "plan"),
    )
    allow_modified_data: bool = option(
        False,
        "accept data files that are not the published ones",
        group="folder",
        on=("run", "study", "status", "plan"),
    )
    gpus: str | None = option(
        None,
        "all, 0, 0,1,2,3, 0-7 or 0,2-4,7 (default: the CPU)",
        group="machine",
        on=("study",),
    )
    per_gpu: int = option(
        0,
        "runs at a time on one GPU (0: by a probe, as memory allows)",
        group="machine",
        on=("study",),
        least=0,
        most=MAX_WORKERS,
    )
    workers: int = option(
        0,
        "on CPUs or a cluster, runs at a time (0: one a core, or what there is)",
        group="machine",
        on=("study",),
        least=0,
        most=MAX_WORKERS,
    )
    path: PathName = option(
        "auto",
        "one run at a time (single), stacks of runs (fused), the same through Inductor (compiled), several with a "
        "stream of a GPU each (streams, compiled_streams), or what a probe finds fastest",
        group="machine",
        on=("study",),
    )
    stack: int = option(
        0,
        "runs in a stack at most (0: by a probe and by memory)",
        group="machine",
        on=("study",),
        least=0,
        most=MAX_WORKERS,
    )
    autotune: AutotuneName = option(
        "auto",
        "which library searches longer for fast kernels on a GPU: cuDNN among all its algorithms (cudnn), Inductor by "
        "max-autotune (inductor), or whichever a probe finds worth its time",
        group="machine",
        on=("study",),
    )
    executor: ExecutorName = option(
        "local", "worker processes, this process, or a cluster", group="machine", on=("study",)
    )
    quiet: bool = option(
        False,
        "a line for each tenth of a study in place of one for each run; the log has them all",
        group="machine",
        on=("study",),
    )
    log: bool = option(True, "write a log under logs/; --no_log to leave it", group="machine", on=("study",))
    slurm: SlurmOptions = SlurmOptions()
    """What Slurm is asked for, over what the study file says."""
    wait: bool = option(
        False,
        "with Slurm, stay and follow until the jobs have ended",
        group="cluster",
        on=("study",),
    )
    address: str | None = option(
        None,
        "of a Ray cluster; auto for this machine's (default: a fresh one)",
        group="cluster",
        on=("study",),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        kinds = {field.name: field.default for field in dataclasses.fields(self)}
        said = [name for name in OPTIONS if name != "slurm" and getattr(self, name) != kinds[name]]
        check_options(self.executor, {name: name for name in said})

    def store(self) -> Store:
        """The store under ``output_dir``."""
        from interplay.store.store import Store  # filelock

        return Store(Path(self.output_dir))

    def job(self, device: str, experiment: int | None = None, group: str | None = None) -> Job:
        """What workers are told; ``group`` is the study that the runs belong to."""
        return Job.of(self, device, experiment, group)

    def tracking(self, group: str | None = None) -> TrackerSettings:
        """Who follows the runs; ``group`` is the study that they belong to."""
        return self.job(self.device, group=group).tracking
