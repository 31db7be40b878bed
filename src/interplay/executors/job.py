"""What a worker is told: the part of the operational settings that it needs, and which device it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interplay import by_path
from interplay.options import check, from_plain, option, plain
from interplay.store.leases import Lease
from interplay.trackers.base import TrackerSettings
from interplay.trackers.choose import TRACKERS, require
from interplay.train.names import InstrumentName

if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[("none", *TRACKERS)]


@dataclass(frozen=True)
class WorkerOptions:
    """Operational options of a single run and of each run of a study. None of them enters a run's identity.

    A new one is a field here, and whatever reads it: the command line, the settings and the job have it by that.
    """

    data_dir: str | Path = option(
        "data",
        "where datasets lie or are downloaded to",
        group="folder",
        on=("run", "study", "status", "plan", "doctor"),
    )
    output_dir: str | Path = option(
        "outputs",
        "where runs, results, logs and checkpoints go",
        group="folder",
        on=("run", "study", "status", "plan", "cancel", "rebuild", "doctor"),
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:N", group="training", on=("run",))
    save_checkpoints: bool = option(False, "keep the best and the final weights of each run", group="training")
    instruments: tuple[InstrumentName, ...] = option(
        (), "extra measurements at each epoch, see docs/studies.md", group="training", on=("run",)
    )
    test_every: int = option(
        1, "epochs between two looks at the test set; the last has one", group="training", least=1, most=2**31
    )
    checkpoint_seconds: float = option(300.0, "between two checkpoints to resume from", group="timing", least=0)
    lapse_seconds: float = option(60.0, "a worker silent for so long loses its run", group="timing", least=1)
    hang_seconds: float = option(
        1800.0, "a run without progress for so long is killed and tried again", group="timing", on=("study",), least=1
    )
    tracker: TrackerName = option("none", "who follows, see docs/trackers.md", group="tracker")
    wandb_project: str = option("interplay", "Weights & Biases: project", group="tracker")
    wandb_entity: str | None = option(None, "Weights & Biases: entity (default: the environment's)", group="tracker")
    wandb_name: str | None = option(
        None, "Weights & Biases: name (default: from the setting)", group="tracker", on=("run",)
    )

    def __post_init__(self) -> None:
        require(self.tracker)
        check(self)

    @property
    def lease(self) -> Lease:
        """How a run is held: a sign of life several times before it would be missed."""
        return Lease(beat=min(5.0, self.lapse_seconds / 6), lapse=self.lapse_seconds, hang=self.hang_seconds)


@dataclass(frozen=True)
class Job(WorkerOptions):
    """The options that every run of a study shares, as a worker gets them: plain values, so that they can be handed to
    another process as they are.

    Attributes:
        device: the device of this worker, such as ``cpu`` or ``cuda:0``.
        experiment: number of the documented set, for the names of checkpoints.
        group: the study that the runs belong to, for the tracker.
        code_dirs: where networks by import path are looked for, besides what is installed.
    """

    device: str = "cpu"
    experiment: int | None = None
    group: str | None = None
    code_dirs: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: WorkerOptions, device: str, experiment: int | None = None, group: str | None = None) -> Job:
        """The job of ``options`` on ``device``."""
        told = {field.name: getattr(options, field.name) for field in dataclasses.fields(WorkerOptions)}
        told["code_dirs"] = by_path.folders()
        return cls(**{**told, "device": device, "experiment": experiment, "group": group})

    @property
    def tracking(self) -> TrackerSettings:
        """Who follows the runs."""
        return TrackerSettings(self.tracker, self.wandb_project, self.wandb_entity, self.group, self.wandb_name)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return plain(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        """The inverse of ``to_dict``."""
        job: Job = from_plain(cls, values)
        return job
