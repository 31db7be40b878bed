"""Which trackers there are, and what they are asked. Importing this is cheap; a tracker comes when it is opened."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from interplay.errors import SpecError, nearest
from interplay.text import shown


@dataclass(frozen=True)
class Entry:
    """Where a tracker's class is, and how to install its package, which has the name of the tracker."""

    path: str
    install: str


TRACKERS = {
    "wandb": Entry("interplay.trackers.weights_biases:WandbTracker", "pip install 'interplay[wandb]'"),
    "tensorboard": Entry("interplay.trackers.tensorboard:TensorboardTracker", "pip install 'interplay[tensorboard]'"),
}
"""Every tracker but none; a new one is its class and an entry here."""

if TYPE_CHECKING:
    TrackerName = str
else:
    TrackerName = Literal[("none", *TRACKERS)]


@dataclass(frozen=True)
class TrackerSettings:
    """Which tracker, and under which names it files a run. Plain values, so that a job can carry them elsewhere.

    No key and no account stands here: trackers find them where their own tools keep them.

    Attributes:
        name: ``none``, or one of `TRACKERS`.
        project: of Weights & Biases.
        entity: of Weights & Biases; ``None`` leaves it to the environment and the account.
        group: the study that a run belongs to.
        run_name: of a single run; ``None`` for the label of its setting.
    """

    name: str = "none"
    project: str = "interplay"
    entity: str | None = None
    group: str | None = None
    run_name: str | None = None


def require(name: str) -> None:
    """Raise `SpecError` if there is no such tracker or its package is not installed. Imports neither."""
    if name == "none":
        return
    if name not in TRACKERS:
        raise SpecError(f"unknown tracker {shown(name)}; {nearest(str(name), ['none', *TRACKERS])}")
    found = find_spec(name)
    # A folder wandb/ of logs beside the script looks like a package, but has no file that would be it.
    if found is None or found.origin is None:
        raise SpecError(f"the tracker {name} needs its package: {TRACKERS[name].install}")
