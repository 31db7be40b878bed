"""The tracker that settings ask for, and what can be said of it before anything starts."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from interplay.errors import SpecError, nearest
from interplay.trackers.base import NullTracker, Tracker, TrackerName, TrackerSettings
from interplay.trackers.guard import Guarded, Resent
from interplay.trackers.tensorboard import TensorboardTracker
from interplay.trackers.weights_biases import WandbTracker, wandb_mode

_INSTALL = {"wandb": "pip install wandb", "tensorboard": "pip install 'interplay[tensorboard]'"}


def require(name: str) -> None:
    """Raise `SpecError` if there is no such tracker or its package is not installed. Imports neither."""
    if name not in get_args(TrackerName):
        raise SpecError(f"unknown tracker {name!r}; {nearest(name, get_args(TrackerName))}")
    if name in _INSTALL:
        found = find_spec(name)
        # A folder wandb/ of logs beside the script looks like a package, but has no file that would be it.
        if found is None or found.origin is None:
            raise SpecError(f"the tracker {name} needs its package: {_INSTALL[name]}")


def open_tracker(settings: TrackerSettings, say: Callable[[str], None]) -> Tracker:
    """The tracker of one sitting, for all its runs in this process; it never raises.

    Args:
        settings: which one.
        say: takes single lines for people: warnings, and where to find what could not be uploaded.
    """
    if settings.name == "none":
        return NullTracker()
    if settings.name == "tensorboard":
        return Guarded(Resent(TensorboardTracker(), "tensorboard"), say)
    destination = f"wandb {settings.entity or ''}/{settings.project}"
    return Guarded(Resent(WandbTracker(settings, say), destination), say)


def announcement(settings: TrackerSettings, output_dir: Path) -> str | None:
    """One line on where the tracker's files will be, or ``None`` where nothing needs to be said."""
    if settings.name == "tensorboard":
        return f"TensorBoard: tensorboard --logdir {shlex.quote(str(output_dir / 'tensorboard'))}"
    if settings.name == "wandb" and wandb_mode() == "offline":
        runs = f"{shlex.quote(str(output_dir / 'wandb'))}/offline-run-*"
        return f"Weights & Biases: offline, since nobody is logged in; to upload: wandb sync {runs}"
    return None
