"""How all figures look: readable in a paper's column, in colours that the colour-blind can tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interplay.analysis.pictures import Point

DPI = 300

# Okabe & Ito's palette (jfly.uni-koeln.de/color), told apart with any common colour vision; markers differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
MAP = "cividis"
"""Perceptually even and the same for the common colour blindnesses."""


@contextmanager
def look() -> Iterator[None]:
    """Settings of matplotlib within which every figure is made."""
    settings: Any = {
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": DPI,
    }
    with mpl.rc_context(settings):
        yield


def log_axis(axis: Axes, which: str, values: Sequence[float], label: str) -> None:
    """A log axis with a tick at each value that was used, and no others."""
    getattr(axis, f"set_{which}scale")("log")
    ruler = getattr(axis, f"{which}axis")
    ruler.set_ticks(list(values), [f"{value:g}" for value in values])
    ruler.set_ticks([], minor=True)
    getattr(axis, f"set_{which}label")(label)


def metric_name(metric: str) -> str:
    """Words for a column name."""
    return metric.replace("_", " ").replace("acc", "accuracy")


def metric_label(metric: str) -> str:
    """Words for a column name, with the unit."""
    return f"{metric_name(metric)} (%)" if "acc" in metric else f"{metric_name(metric)} (nats)"


def draw_points(
    axis: Axes,
    points: Sequence[Point],
    colour: str,
    marker: str,
    label: str,
    *,
    size: float = 5,
    clip: bool = False,
) -> None:
    """Means of the cells that have one, with bars of one standard error, joined by a line.

    A bar stops at 0: an accuracy or a loss below it does not exist. ``size`` of the markers is in points; ``clip``
    is for an axis that does not show all points.
    """
    there = [p for p in points if p.mean is not None]
    axis.errorbar(
        [p.x for p in there],
        [p.mean or 0.0 for p in there],
        yerr=[
            [max(0.0, min(p.error or 0.0, p.mean or 0.0)) for p in there],
            [p.error or 0.0 for p in there],
        ],
        color=colour,
        marker=marker,
        markersize=size,
        capsize=2,
        label=label,
        clip_on=clip,  # a mean near 0 lies on the edge of the picture
    )


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG at 300 DPI; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    return path
