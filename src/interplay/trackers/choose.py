"""The tracker that settings ask for, and what can be said of it before anything starts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from interplay.errors import SpecError, nearest
from interplay.text import shown
from interplay.trackers.base import NullTracker, Tracker, TrackerSettings
from interplay.trackers.guard import Guarded, Resent
from interplay.trackers.tensorboard import TensorboardTracker
from interplay.trackers.weights_biases import WandbTracker, wandb_mode

Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """What is known of a tracker before it is opened."""

    make: Callable[[TrackerSettings, Say], Tracker]
    destination: Callable[[TrackerSettings], str]
    """Where rows go: those that were sent elsewhere are sent again."""
    install: str
    """How to install its package, which has the name of the tracker."""
    announce: Callable[[TrackerSettings, Path], str | None]
    """One line on where its files will be, below the output folder; ``None`` where nothing needs to be said."""


def _tensorboard(settings: TrackerSettings, output_dir: Path) -> str:
    return f"TensorBoard: tensorboard --logdir {shlex.quote(str(output_dir / 'tensorboard'))}"


def _wandb(settings: TrackerSettings, output_dir: Path) -> str | None:
    if wandb_mode() != "offline":
        return None
    runs = f"{shlex.quote(str(output_dir / 'wandb'))}/offline-run-*"
    return f"Weights & Biases: offline, since nobody is logged in; to upload: wandb sync {runs}"


TRACKERS = {
    "wandb": Entry(
        WandbTracker,
        lambda asked: f"wandb {asked.entity or ''}/{asked.project}",
        "pip install 'interplay[wandb]'",
        _wandb,
    ),
    "tensorboard": Entry(
        lambda asked, say: TensorboardTracker(),
        lambda asked: "tensorboard",
        "pip install 'interplay[tensorboard]'",
        _tensorboard,
    ),
}
"""Every tracker but none; a new one is its class and an entry here."""


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


def open_tracker(settings: TrackerSettings, say: Say) -> Tracker:
    """The tracker of all runs of this process; it never raises.

    Args:
        settings: which one.
        say: takes single lines for people: warnings, and where to find what could not be uploaded.
    """
    if settings.name == "none":
        return NullTracker()
    entry = TRACKERS[settings.name]
    return Guarded(Resent(entry.make(settings, say), entry.destination(settings)), say)


def announcement(settings: TrackerSettings, output_dir: Path) -> str | None:
    """One line on where the tracker's files will be, or ``None`` where nothing needs to be said."""
    return None if settings.name == "none" else TRACKERS[settings.name].announce(settings, output_dir)
