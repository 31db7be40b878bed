"""Set 3: the optimal weight decay against the batch size, with the slopes that theories predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from interplay.analysis.optimum import Optimum
from interplay.analysis.pictures import Scaling
from interplay.figures.style import COLOURS, MARKERS, draw_points, log_axis, look, metric_label, metric_name

THEORIES = {"λ ∝ B (the claim)": 1.0, "constant (horizon law, η ∝ B)": 0.0, "λ ∝ √B": 0.5}

LABELS = {
    "interior": "measured λ*, 90 % interval",
    "plateau": "plateau: λ* is somewhere in it",
    "censored": "beyond the grid (censored)",
}
MIDDLES = "no interior optimum: slopes only,\nthrough the middle of the intervals"
NOTHING = "no optimum is bounded: no slope is drawn"


def draw(picture: Scaling) -> Figure:
    """Left: λ* with its 90 % interval; open ends are arrows. Right: the curves it comes from."""
    with look():
        figure = Figure(figsize=(9.6, 4.4))
        left, right = figure.subplots(1, 2)
        decays = sorted({p.x for curve in picture.curves for p in curve if p.x > 0})
        _optima(left, picture, decays)
        lines, title = theory_lines(picture.batches, picture.optima), None
        if not lines:
            lines = theory_lines(picture.batches, picture.optima, (decays[0], decays[-1]))
            title = MIDDLES if lines else NOTHING
        for (name, line), style in zip(lines.items(), ("-", "--", ":"), strict=False):
            left.plot(picture.batches, line, color="0.55", ls=style, lw=1, label=name)
        log_axis(left, "x", list(picture.batches), "batch size B")
        log_axis(left, "y", decays, f"optimal weight decay λ* (of {metric_name(picture.metric)})")
        left.set_title("Is λ* ∝ B under the linear rule?")
        entries = left.get_legend_handles_labels()
        left.legend(*entries, loc="best", fontsize=8, title=title, title_fontsize=8, alignment="left")
        few = len(picture.batches) <= len(COLOURS)
        shades = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(picture.batches)))
        colours = COLOURS if few else [to_hex(each) for each in shades]
        for batch, curve, colour, marker in zip(picture.batches, picture.curves, colours, cycle(MARKERS), strict=False):
            draw_points(right, [p for p in curve if p.x > 0], colour, marker, f"B = {batch}")
        log_axis(right, "x", decays, "weight decay λ")
        right.set_ylabel(metric_label(picture.metric))
        right.legend(loc="best")
        right.grid(axis="y", alpha=0.25)
    return figure


def theory_lines(
    batches: Sequence[int], optima: Sequence[Optimum], ends: tuple[float, float] | None = None
) -> dict[str, list[float]]:
    """λ at each batch size by each theory, through the geometric mean of the interior optima; empty without any.

    With ``ends``, lowest and highest decay of the grid, the lines go through the middles of the intervals instead, an
    open side of which reaches that end.
    """
    known = [(batch, o.estimate) for batch, o in zip(batches, optima, strict=True) if o.estimate is not None]
    if ends is not None:
        bounded = [(batch, o.interval) for batch, o in zip(batches, optima, strict=True) if o.interval != (None, None)]
        known = [(batch, math.sqrt((low or ends[0]) * (high or ends[1]))) for batch, (low, high) in bounded]
    if not known:
        return {}
    middle, centre = np.exp(np.mean(np.log(known), axis=0))
    return {name: [float(centre * (batch / middle) ** slope) for batch in batches] for name, slope in THEORIES.items()}


def _optima(axis: Axes, picture: Scaling, decays: list[float]) -> None:
    labelled: set[str] = set()
    for batch, optimum in zip(picture.batches, picture.optima, strict=True):
        low, high = optimum.interval
        if optimum.estimate is None and low is None and high is None:
            continue  # nothing is known of it
        bottom, top = low or decays[0], high or decays[-1]
        # An arrow begins at the bound: on the side of a limit matplotlib draws nothing but its point.
        bound = top if low is None and high is not None else bottom if high is None and low is not None else None
        middle = optimum.estimate if optimum.estimate is not None else bound or math.sqrt(bottom * top)
        label = LABELS.get(optimum.status)
        solid = optimum.estimate is not None
        axis.errorbar(
            [batch],
            [middle],
            yerr=[[middle - bottom], [top - middle]] if low or high else None,
            lolims=[high is None and low is not None],
            uplims=[low is None and high is not None],
            color=COLOURS[0] if solid else "0.4",
            marker=_marker(optimum),
            # Hollow, since it is no estimate.
            markerfacecolor=COLOURS[0] if solid else "white",
            capsize=3,
            label=None if label in labelled else label,
        )
        labelled.add(label or "")


def _marker(optimum: Optimum) -> str:
    """A marker for each kind of optimum, so that the legend tells them apart; triangles point beyond the grid."""
    if optimum.estimate is not None:
        return "o"
    if optimum.status == "censored":
        return "v" if optimum.interval[0] is None else "^"
    return "s"
