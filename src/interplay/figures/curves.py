"""Set 1: the metric against the learning rate, for each method, with the optimum and its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from interplay.analysis.phrases import place
from interplay.analysis.pictures import MethodCurve, Ordering, at_batch
from interplay.figures.labels import OTHER, metric_label
from interplay.figures.style import COLOURS, MARKERS, draw_points, log_axis, look, narrow, size, wrapped

BAND = "90 % interval of η*"
DIVERGED = ": diverged"

TOP = 3
"""Points of each curve that the panel of the best points shows at least."""
WORTH = 0.5
"""The best points get a panel of their own where they span less than this share of the whole range."""
BARS = "points: means over seeds; bars: 1 standard error"


def draw(picture: Ordering) -> Figure:
    """One curve a method; below the axis, diverged runs in one strip and optima with their intervals in another.

    Where the best points of all curves would be pressed together by the worst, panel a shows them and panel b the
    whole range. The axis of an accuracy does not go below 0. A filled marker is the optimum, a hollow one a further
    optimum of the same curve, an arrow an end of the interval that was not bounded.
    """
    rates = sorted({point.x for curve in picture.curves for point in curve.points})
    near = zoomed(picture)
    styles = list(zip(picture.curves, COLOURS, MARKERS, strict=False))
    lost = [each for each in styles if any(point.mean is None for point in each[0].points)]
    found = [each for each in styles if _band(each[0]) or each[0].optimum.estimate is not None]
    strips = [len(rows) for rows in (lost, found) if rows]
    with look():
        below_it = near is not None and narrow()  # one column has no room for the whole range beside the best points
        beside = near is not None and not below_it
        across = 7.0 if near else 6.4
        width, height = size(across, 5.0 + 0.18 * sum(strips))
        figure = Figure(figsize=(width, height * (2.2 if below_it else 1.4 if narrow() else 1)))
        grid = figure.add_gridspec(
            1 + len(strips) + below_it,
            2 if beside else 1,
            width_ratios=(2.2, 1) if beside else (1,),
            height_ratios=(12, *(0.5 + rows for rows in strips), *((9,) if below_it else ())),
            hspace=0.02,
        )
        axis = figure.add_subplot(grid[0, 0])
        for curve, colour, marker in styles:
            draw_points(axis, curve.points, colour, marker, _name(curve), clip=near is not None)
        axis.set_ylabel(metric_label(picture.metric))
        axis.grid(axis="y", alpha=0.25)
        if near:
            axis.set_ylim(*near)
            axis.set_title("a  the best points", loc="left", fontsize="medium")
            whole = figure.add_subplot(grid[-1, 0] if below_it else grid[:, 1])
            for curve, colour, marker in styles:
                draw_points(whole, curve.points, colour, marker, "", size=3)
            whole.axhspan(*near, color="0.9", lw=0, zorder=0)
            whole.set_xscale("log")
            whole.set_xlabel("η")
            whole.set_title("b  whole range", loc="left", fontsize="medium")
            _from_zero(whole, picture)
        else:
            _from_zero(axis, picture)
        below = [figure.add_subplot(grid[row, 0], sharex=axis) for row in range(1, 1 + len(strips))]
        for strip, rows, words in zip(
            below, [each for each in (lost, found) if each], _headings(lost, found), strict=True
        ):
            strip.set_ylim(len(rows) - 0.4, -0.6)
            strip.set_yticks([])
            strip.set_ylabel(words, rotation=0, ha="right", va="center", fontsize="small")
            strip.spines["left"].set_visible(False)
        if lost:
            for row, (curve, colour, _) in enumerate(lost):
                gone = [point.x for point in curve.points if point.mean is None]
                name = curve.method + DIVERGED
                below[0].plot(gone, [row] * len(gone), ls="none", marker="x", color=colour, label=name)
        if found:
            for row, (curve, colour, marker) in enumerate(found):
                _optimum(below[-1], curve, colour, marker, rates, row)
        lowest = below[-1] if below else axis
        for upper in (axis, *below):
            upper.tick_params(axis="x", labelbottom=upper is lowest, length=3 if upper is lowest else 0)
            if upper is not lowest:
                upper.spines["bottom"].set_alpha(0.3)
        # Shared by the strips below: the ticks are set once.
        log_axis(lowest, "x", rates, "learning rate η (peak)")
        lowest.tick_params(axis="x", rotation=60, labelsize="small")
        figure.suptitle(wrapped(f"Which learning rate for which method?{at_batch(picture.batch_size)}", 70, across))
        handles, labels = axis.get_legend_handles_labels()
        bands: list[tuple[Artist, str]] = (
            [(Line2D([], [], color="0.4", lw=3), BAND)] if any(map(_band, picture.curves)) else []
        )
        if any(curve.optimum.others for curve in picture.curves):
            bands.append((Line2D([], [], color="0.4", ls="none", marker="o", mfc="white"), OTHER))
        crosses = list(zip(*below[0].get_legend_handles_labels(), strict=True)) if lost else []
        entries = [*zip(handles, labels, strict=True), *bands, *crosses]
        about = wrapped("; ".join([*_network(picture), BARS]), 84, across)
        figure.legend(
            *zip(*entries, strict=True),
            loc="outside lower center",
            ncols=1 if narrow() else 2,
            fontsize="small",
            title=about,
            title_fontsize="small",
        )
    return figure


def zoomed(picture: Ordering) -> tuple[float, float] | None:
    """Ends of an axis with the best points of each curve; ``None`` where the whole range shows them as well."""
    sign = 1 if "acc" in picture.metric else -1
    ends, best, every = [], [], []
    for curve in picture.curves:
        there = sorted((p for p in curve.points if p.mean is not None), key=lambda p: -sign * (p.mean or 0.0))
        best += [(p.mean or 0.0, p.error or 0.0) for p in there[:TOP]]
        every += [p.mean or 0.0 for p in there]
    if not best:
        return None
    ends = [mean + way * error for mean, error in best for way in (-1, 1)]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low)
    near = (max(low - room, 0.0), high + room)
    return near if 0 < near[1] - near[0] < WORTH * (max(every) - min(every)) else None


def _from_zero(axis: Axes, picture: Ordering) -> None:
    if "acc" in picture.metric and axis.get_ylim()[0] < 0:
        axis.set_ylim(bottom=0)  # the margin would reach below what an accuracy can be


def _headings(lost: Sequence[object], found: Sequence[object]) -> list[str]:
    return [words for words, rows in (("diverged", lost), ("η*", found)) if rows]


def _name(curve: MethodCurve) -> str:
    return f"{curve.method}  (η* {'= ' if curve.optimum.estimate is not None else ''}{place(curve.optimum)})"


def _optimum(axis: Axes, curve: MethodCurve, colour: str, marker: str, rates: Sequence[float], row: int) -> None:
    """The interval as a bar; an end that is open reaches the edge of what was measured, and has an arrow there."""
    optimum = curve.optimum
    low, high = optimum.interval
    if _band(curve):
        axis.plot([low or rates[0], high or rates[-1]], [row, row], color=colour, lw=3, alpha=0.45)
        for end, edge, arrow in ((low, rates[0], "<"), (high, rates[-1], ">")):
            if end is None:
                axis.plot(edge, row, marker=arrow, color=colour, ms=6, clip_on=False)
    if optimum.estimate is not None:
        axis.plot(optimum.estimate, row, marker=marker, color=colour, ms=6)
    for other in optimum.others:
        axis.plot(other, row, marker=marker, color=colour, ms=6, mfc="white")


def _network(picture: Ordering) -> list[str]:
    """The network, its data and the number of runs a point, where they are known."""
    points = [point for curve in picture.curves for point in curve.points if point.mean is not None]
    cell = next((point.cell for point in points if point.cell is not None), None)
    runs = sorted({point.runs for point in points})
    words = [cell.network.words()] if cell is not None and cell.network.words() else []
    if runs:
        several = f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else f"{runs[0]}"
        words.append(f"{several} run{'s' if runs[-1] > 1 else ''} a point")
    return words


def _band(curve: MethodCurve) -> bool:
    """Whether the interval of an optimum is bounded on a side, so that it can be drawn."""
    return curve.optimum.status != "unknown" and curve.optimum.interval != (None, None)
