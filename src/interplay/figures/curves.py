"""Set 1: the metric against the learning rate, for each method, with the optimum and its interval."""

from __future__ import annotations

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from interplay.analysis.phrases import place
from interplay.analysis.pictures import MethodCurve, Ordering, at_batch
from interplay.figures.heatmap import OTHER
from interplay.figures.style import COLOURS, MARKERS, draw_points, log_axis, look, metric_label

BAND = "90 % interval of η*"
DIVERGED = ": diverged"


def draw(picture: Ordering) -> Figure:
    """One curve a method; bars are 1 standard error of the mean; the optimum is a vertical line in its interval.

    The axis of an accuracy does not go below 0. A further maximum of a curve is a dotted line. In the
    legend are the methods, then what bands and dots are, then what diverged.
    """
    with look():
        figure = Figure(figsize=(6.4, 5.0))
        axis = figure.add_subplot()
        rates = sorted({point.x for curve in picture.curves for point in curve.points})
        row = 0
        for curve, colour, marker in zip(picture.curves, COLOURS, MARKERS, strict=False):
            _curve(axis, curve, colour, marker, rates, row)
            row += any(point.mean is None for point in curve.points)
        log_axis(axis, "x", rates, "learning rate η (peak)")
        axis.tick_params(axis="x", rotation=45)
        axis.set_ylabel(metric_label(picture.metric))
        if "acc" in picture.metric and axis.get_ylim()[0] < 0:
            axis.set_ylim(bottom=0)  # the margin would reach below what an accuracy can be
        axis.set_title(f"Which learning rate for which method?{at_batch(picture.batch_size)}")
        handles, labels = axis.get_legend_handles_labels()
        methods = [(h, name) for h, name in zip(handles, labels, strict=True) if not name.endswith(DIVERGED)]
        lost = [(h, name) for h, name in zip(handles, labels, strict=True) if name.endswith(DIVERGED)]
        bands: list[tuple[Artist, str]] = (
            [(Patch(color="0.4", alpha=0.3, lw=0), BAND)] if any(map(_band, picture.curves)) else []
        )
        if any(curve.optimum.others for curve in picture.curves):
            bands.append((Line2D([], [], color="0.4", lw=1, ls=":"), OTHER))
        entries = [*methods, *bands, *lost]
        figure.legend(
            [handle for handle, _ in entries],
            [name for _, name in entries],
            loc="outside lower center",
            ncols=2,
            fontsize=9,
        )
        axis.grid(axis="y", alpha=0.25)
    return figure


def _curve(axis: Axes, curve: MethodCurve, colour: str, marker: str, rates: list[float], row: int) -> None:
    optimum = curve.optimum
    words = f"η* {'= ' if optimum.estimate is not None else ''}{place(optimum)}"
    draw_points(axis, curve.points, colour, marker, f"{curve.method}  ({words})")
    low, high = optimum.interval
    if _band(curve):
        # An open end reaches the edge of what was measured.
        axis.axvspan(low or rates[0], high or rates[-1], color=colour, alpha=0.12, lw=0)
        for end in filter(None, (low, high)):
            # Where bands overlap, their colours mix: a thin line shows whose end it is.
            axis.axvline(end, color=colour, lw=0.6, alpha=0.6)
    if optimum.estimate is not None:
        axis.axvline(optimum.estimate, color=colour, lw=1, ls="--")
    for other in optimum.others:
        axis.axvline(other, color=colour, lw=1, ls=":")
    lost = [p.x for p in curve.points if p.mean is None]
    if lost:
        # On the lower edge of the axis, whatever its scale: a diverged run has no value. A row for each method.
        foot = axis.get_xaxis_transform()
        axis.plot(
            lost,
            [0.02 + 0.035 * row] * len(lost),
            ls="none",
            marker="x",
            color=colour,
            label=f"{curve.method}{DIVERGED}",
            transform=foot,
        )


def _band(curve: MethodCurve) -> bool:
    """Whether the interval of an optimum is bounded on a side, so that it can be drawn."""
    return curve.optimum.status != "unknown" and curve.optimum.interval != (None, None)
