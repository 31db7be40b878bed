"""The same cells against several variables: on the right one they fall together."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from interplay.analysis.collapse import Collapse, Fall
from interplay.figures.style import MARKERS, log_axis, look, metric_label


def draw(picture: Collapse) -> Figure:
    """One panel a variable; colours are learning rates, markers batch sizes. The title of a panel has its scatter."""
    settings = [s for _, _, s in picture.falls[0].points]
    rates = sorted({s.lr for s in settings})
    batches = sorted({s.batch_size for s in settings})
    with look():
        figure = Figure(figsize=(9.6, 7.2))
        axes = figure.subplots(2, 2, sharey=True).flat
        known = [fall.spread for fall in picture.falls if fall.spread is not None]
        for axis, fall in zip(axes, picture.falls, strict=False):
            _panel(axis, picture, fall, rates, batches)
            least = " (least)" if fall.spread is not None and fall.spread == min(known) else ""
            words = [] if fall.spread is None else [f"optima within a factor of {fall.spread:.2f}{least}"]
            words += [] if fall.scatter is None else [f"scatter {fall.scatter:.1f} × noise"]
            axis.set_title("; ".join(words), fontsize=9)
        handles = [Line2D([], [], color=shade(lr, rates), label=f"η {lr:g}") for lr in rates]
        if len(batches) > 1:
            handles += [Line2D([], [], ls="", marker=_marker(b, batches), color="0.4", label=f"B {b}") for b in batches]
        figure.legend(handles=handles, loc="outside right center", fontsize=8)
    return figure


def shade(lr: float, rates: list[float]) -> str:
    """The colour of a rate. Rates have an order, so their colours have one, too; the palest end is left out."""
    return to_hex(mpl.colormaps["viridis"](0.92 * rates.index(lr) / max(1, len(rates) - 1)))


def _marker(batch: int, batches: list[int]) -> str:
    return MARKERS[batches.index(batch) % len(MARKERS)]


def _panel(axis: Axes, picture: Collapse, fall: Fall, rates: list[float], batches: list[int]) -> None:
    groups: dict[tuple[float, int, int], list[tuple[float, float]]] = {}
    for value, mean, s in fall.points:
        groups.setdefault((s.lr, s.batch_size, s.epochs), []).append((value, mean))
    for (lr, batch, _), points in groups.items():
        x, y = [p[0] for p in points], [p[1] for p in points]
        axis.plot(x, y, marker=_marker(batch, batches), ms=4, lw=1, color=shade(lr, rates), alpha=0.9)
    values = sorted({value for value, _, _ in fall.points})
    if len(values) <= 8:
        log_axis(axis, "x", values, fall.label)
        axis.tick_params(axis="x", rotation=45)  # decays of a grid need not be evenly spaced
    else:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(fall.label)
    axis.set_ylabel(metric_label(picture.metric))
    axis.grid(alpha=0.25)
    levels = [mean for _, mean, _ in fall.points]
    if "acc" in picture.metric:
        # The rest is a cliff; the question is whether the tops coincide.
        axis.set_ylim(max(min(levels), max(levels) - 15) - 0.5, max(levels) + 0.5)
