"""The tracker that settings ask for, and what can be said of it before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from interplay.trackers.base import NullTracker, Tracker
from interplay.trackers.guard import Guarded, Resent
from interplay.trackers.registry import TRACKERS, TrackerSettings

Say = Callable[[str], None]


def open_tracker(settings: TrackerSettings, say: Say) -> Tracker:
    """The tracker of all runs of this process; it never raises.

    Args:
        settings: which one.
        say: takes single lines for people: warnings, and where to find what could not be uploaded.
    """
    if settings.name == "none":
        return NullTracker()
    kind = _class(settings.name)
    return Guarded(Resent(kind.opened(settings, say), kind.destination(settings)), say)


def announcement(settings: TrackerSettings, output_dir: Path) -> str | None:
    """One line on where the tracker's files will be, or ``None`` where nothing needs to be said."""
    return None if settings.name == "none" else _class(settings.name).announcement(output_dir)


def _class(name: str) -> type[Tracker]:
    module, _, kind = TRACKERS[name].path.partition(":")
    found: type[Tracker] = getattr(import_module(module), kind)
    return found
