"""Set 3: the optimal weight decay against the batch size, with the slopes that theories predict."""

from __future__ import annotations

from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from interplay.analysis.pictures import Scaling
from interplay.figures.labels import LABELS, OTHER, Mark, mark, metric_label, metric_name
from interplay.figures.places import theory_lines
from interplay.figures.style import (
    COLOURS,
    MARKERS,
    draw_points,
    log_axis,
    look,
    panels,
    size,
    titled,
    wrapped,
)

MARKS: dict[Mark, str] = {"inside": "o", "plateau": "s", "open below": "v", "open above": "^"}
"""A marker for each kind of optimum, so that the legend tells them apart; triangles point beyond the grid."""

MIDDLES = "no optimum inside: slopes only,\nthrough the middle of the intervals"
NOTHING = "no optimum is bounded: no slope is drawn"

UPRIGHT = 6
"""Decays whose names stand side by side below an axis; more of them would overlap."""


def draw(picture: Scaling) -> Figure:
    """Left: λ* with its 90 % interval; open ends are arrows. Right: the curves it comes from."""
    with look():
        figure = Figure(figsize=size(9.6, 4.8, panels=2))
        left, right = panels(figure, 2)
        decays = sorted({p.x for curve in picture.curves for p in curve if p.x > 0})
        _optima(left, picture, decays)
        lines, title = theory_lines(picture.batches, picture.optima), None
        if not lines:
            lines = theory_lines(picture.batches, picture.optima, (decays[0], decays[-1]))
            title = MIDDLES if lines else NOTHING
        for (name, line), style in zip(lines.items(), ("-", "--", ":"), strict=False):
            left.plot(picture.batches, line, color="0.55", ls=style, lw=1, label=name)
        log_axis(left, "x", list(picture.batches), "batch size B")
        log_axis(left, "y", decays, f"best λ (by {metric_name(picture.metric)})")
        titled(left, "a", "Is λ* ∝ B under the linear rule?")
        entries = left.get_legend_handles_labels()
        left.legend(*entries, loc="best", fontsize="small", title=title, title_fontsize="small", alignment="left")
        few = len(picture.batches) <= len(COLOURS)
        shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(picture.batches)))
        colours = COLOURS if few else [to_hex(each) for each in shades]
        for batch, curve, colour, marker in zip(picture.batches, picture.curves, colours, cycle(MARKERS), strict=False):
            draw_points(right, [p for p in curve if p.x > 0], colour, marker, f"B = {batch}")
        log_axis(right, "x", decays, "weight decay λ")
        if len(decays) > UPRIGHT:
            right.tick_params(axis="x", rotation=45)
        right.set_ylabel(metric_label(picture.metric))
        right.legend(loc="best")
        titled(right, "b", "The curves these optima come from")
        right.grid(axis="y", alpha=0.25)
        figure.supxlabel(wrapped(_about(picture), 130, 9.6), fontsize="small", color="0.3")
    return figure


def _about(picture: Scaling) -> str:
    """Network, data and runs a point, and what bars are."""
    points = [point for curve in picture.curves for point in curve if point.mean is not None]
    words = sorted({point.cell.network.words() for point in points if point.cell is not None and point.cell.network})
    runs = sorted({point.runs for point in points})
    if runs:
        several = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else f"{runs[0]}"
        words.append(f"{several} run{'s' if runs[-1] > 1 else ''} a point")
    return "; ".join([*words, "bars of a: 90 % interval; of b: 1 standard error of the mean over seeds"])


def _optima(axis: Axes, picture: Scaling, decays: list[float]) -> None:
    labelled: set[str] = set()
    for batch, optimum in zip(picture.batches, picture.optima, strict=True):
        kind = mark(optimum)
        if kind is None:
            continue
        low, high = optimum.interval
        bottom, top = low or decays[0], high or decays[-1]
        # An arrow begins at the bound: on the side of a limit matplotlib draws nothing but its point.
        middle = optimum.estimate or (top if kind == "open below" else bottom)
        axis.errorbar(
            [batch],
            [middle],
            yerr=[[middle - bottom], [top - middle]] if low or high else None,
            lolims=[kind == "open above"],
            uplims=[kind == "open below"],
            color=COLOURS[0] if kind == "inside" else "0.4",
            marker=MARKS[kind],
            # Hollow, since it is no point to go by.
            markerfacecolor=COLOURS[0] if kind == "inside" else "white",
            capsize=3,
            label=None if kind in labelled else LABELS[kind],
        )
        labelled.add(kind)
    others = [(batch, o) for batch, each in zip(picture.batches, picture.optima, strict=True) for o in each.others]
    if others:
        xs, ys = zip(*others, strict=True)
        axis.plot(xs, ys, ls="none", marker="D", ms=6, color=COLOURS[0], mfc="white", label=OTHER)
