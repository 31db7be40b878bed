"""How all figures look: readable in a paper's column, in colours that the colour-blind can tell apart."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interplay.analysis.pictures import Point
from interplay.printing import TYPE, chosen

DPI = 300

# Okabe & Ito's palette (jfly.uni-koeln.de/color), told apart with any common colour vision; markers differ as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")


@contextmanager
def look() -> Iterator[None]:
    """Settings of matplotlib within which every figure is made."""
    base = TYPE[chosen().style]
    settings: Any = {
        "font.size": base,
        "axes.titlesize": "medium" if chosen().style == "paper" else "large",
        "axes.labelsize": "medium",
        "xtick.labelsize": "medium" if chosen().style == "screen" else "small",
        "ytick.labelsize": "medium" if chosen().style == "screen" else "small",
        "legend.fontsize": "small",
        "legend.title_fontsize": "small",
        "figure.titlesize": "medium" if chosen().style == "paper" else "large",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "figure.constrained_layout.use": True,
        "savefig.dpi": DPI,
        "pdf.fonttype": 42,  # letters stay letters: they can be searched, and edited for a journal
        "svg.fonttype": "none",
        "svg.hashsalt": "interplay",  # equal figures are equal files
    }
    with mpl.rc_context(settings):
        yield


def narrow() -> bool:
    """Whether a figure has one column, so that panels stand above each other."""
    width = chosen().width
    return width is not None and chosen().columns == 1


def size(width: float, height: float, panels: int = 1) -> tuple[float, float]:
    """Inches of a figure that has ``width`` and ``height`` on a screen, with so many panels side by side there."""
    wanted = chosen().width
    if wanted is None:
        return width, height
    if narrow() and panels > 1:
        return wanted, panels * wanted * height / (width / panels)
    # Type shrinks less than a figure does: what stands above and below needs a larger share of it.
    return wanted, height * (wanted / width) ** 0.75


def panels(figure: Figure, count: int, **how: Any) -> list[Axes]:
    """Axes side by side, or above each other in one column, for `titled`."""
    return list(figure.subplots(count, 1, **how) if narrow() else figure.subplots(1, count, **how))


def titled(axis: Axes, letter: str, words: str = "", size: str = "medium") -> None:
    """The title of a panel, with the letter before it by which a text refers to it."""
    axis.set_title(f"{letter}  {words}".rstrip(), loc="left", fontsize=size)


def wrapped(words: str, characters: int, width: float) -> str:
    """Words in lines of so many characters in a figure that is ``width`` inches wide on a screen, and fewer in less."""
    wanted = chosen().width
    share = 1.0 if wanted is None else wanted / width * TYPE["screen"] / TYPE[chosen().style]
    return textwrap.fill(words, max(20, int(characters * share)))


def log_axis(axis: Axes, which: str, values: Sequence[float], label: str) -> None:
    """A log axis with a tick at each value that was used, and no others."""
    getattr(axis, f"set_{which}scale")("log")
    ruler = getattr(axis, f"{which}axis")
    ruler.set_ticks(list(values), [f"{value:g}" for value in values])
    ruler.set_ticks([], minor=True)
    getattr(axis, f"set_{which}label")(label)


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


UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
"""What keeps the date out of a file: equal figures are equal files."""


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure in each format that was asked for, PNG at 300 DPI; returns the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.with_suffix(f".{name}") for name in chosen().formats]
    for file in files:
        undated: Any = UNDATED.get(file.suffix, {})
        with look():
            figure.savefig(file, dpi=DPI, metadata=undated)
    return files
