"""Operational settings of the lab, and how it says that it did not come to an end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from interplay.errors import InterplayError, SpecError
from interplay.store.store import Store

if TYPE_CHECKING:
    from interplay.executors.worker import Job
    from interplay.store.claims import Lease


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
        gpus: of a study: ``all``, ``0``, ``0,2-4``; ``None`` for the CPU.
        per_gpu: runs at a time on one GPU; 0 chooses from free memory.
        workers: on a CPU, runs at a time; 0 for one a core.
        executor: ``local`` for worker processes, ``inline`` for this process.
        log: write a log of each study under ``logs/``.
        checkpoint_seconds: between two checkpoints to resume from, besides the one that a stop leaves.
        lapse_seconds: without a sign of life before another worker may take a run over.
        hang_seconds: without progress before a run is killed and tried again.
    """

    data_dir: str | Path = "data"
    output_dir: str | Path = "outputs"
    device: str = "auto"
    threads: int = 0
    save_checkpoints: bool = False
    allow_modified_data: bool = False
    instruments: tuple[str, ...] = ()
    gpus: str | None = None
    per_gpu: int = 0
    workers: int = 0
    executor: Literal["local", "inline"] = "local"
    log: bool = True
    checkpoint_seconds: float = 300.0
    lapse_seconds: float = 60.0
    hang_seconds: float = 1800.0

    def __post_init__(self) -> None:
        for name in ("threads", "per_gpu", "workers", "checkpoint_seconds", "lapse_seconds", "hang_seconds"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name} must be 0 or greater, not {getattr(self, name)}")
        for name in ("lapse_seconds", "hang_seconds"):
            if getattr(self, name) == 0:
                raise SpecError(f"{name} must be greater than 0")

    def store(self) -> Store:
        """The store under ``output_dir``."""
        return Store(Path(self.output_dir))

    def job(self, device: str, experiment: int | None = None) -> Job:
        """What workers are told."""
        from interplay.executors.worker import Job

        return Job(
            data_dir=str(self.data_dir),
            output_dir=str(self.output_dir),
            device=device,
            save_checkpoints=self.save_checkpoints,
            experiment=experiment,
            instruments=self.instruments,
            checkpoint_seconds=self.checkpoint_seconds,
            lease=self.lease(),
        )

    def lease(self) -> Lease:
        """How claims are kept alive: a sign of life several times before it would be missed."""
        from interplay.store.claims import Lease

        return Lease(beat=min(5.0, self.lapse_seconds / 6), lapse=self.lapse_seconds, hang=self.hang_seconds)
