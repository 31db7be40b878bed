"""What a worker is told: the part of the operational settings that it needs, and which device it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interplay import by_path
from interplay.executors.options import WorkerOptions
from interplay.options import from_plain, plain
from interplay.trackers.registry import TrackerSettings


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
