"""The part of the operational settings that workers need. The command line shows it, so importing this is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interplay.options import check, option
from interplay.store.lease import Lease
from interplay.trackers.registry import TrackerName, require
from interplay.train.names import InstrumentName


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
