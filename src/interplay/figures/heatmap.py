"""Set 2: the metric over learning rate and weight decay, with lines of constant ηλ and the ridge of best decays."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping
from typing import Literal

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from interplay.analysis.pictures import Heatmap, at_batch
from interplay.figures.style import MAP, look, metric_label

POINTS, NATS = 15.0, 1.0
"""How far from the best cell the colours reach."""

CONSTANT = "ηλ = const"
RIDGE = "#D55E00"
OTHER = "another optimum of the same curve"
BESIDE = 0.24
"""How far a number moves from the centre of its cell, in cells, to make room for a marker of the ridge."""


def draw(picture: Heatmap) -> Figure:
    """Values are written into their cells; diverged cells are hatched, missing ones blank.

    The colour scale ends 15 points below the best cell, for losses one nat above it: beyond that everything is equally
    bad, and a scale that reaches chance would hide the ridge. An arrow of the colour bar says that there is more.
    """
    with look():
        figure = Figure(figsize=(6.4, 5.4))
        axis = figure.add_subplot()
        low, high, extend = limits(picture)
        sns.heatmap(
            np.array([[math.nan if v is None else v for v in row] for row in picture.values]),
            ax=axis,
            cmap=f"{MAP}_r" if "loss" in picture.metric else MAP,
            vmin=low,
            vmax=high,
            linewidths=0.5,
            xticklabels=[f"{lr:g}" for lr in picture.lrs],
            yticklabels=[f"{wd:g}" for wd in picture.decays],
            cbar_kws={"label": metric_label(picture.metric), "extend": extend},
        )
        mesh = axis.collections[0]
        axis.invert_yaxis()
        for i, j in picture.diverged:
            axis.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", edgecolor="0.5", lw=0))
        ridge = ridge_points(picture)
        numbers = number_places(picture, dict(ridge))
        _constant_product(axis, picture, numbers)
        _ridge(axis, ridge)
        _others(axis, other_points(picture))
        _numbers(axis, picture, mesh, numbers)
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="learning rate η (peak)", ylabel="weight decay λ")
        axis.set_title(f"Do good settings lie along ηλ = const?{at_batch(picture.batch_size, _runs(picture))}")
        handles, _ = axis.get_legend_handles_labels()
        if picture.diverged:
            handles.append(Patch(fill=False, hatch="///", edgecolor="0.5", lw=0, label="diverged"))
        axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=9)
        figure.supxlabel(textwrap.fill(source(picture), 96), fontsize=8, color="0.3")
    return figure


def limits(picture: Heatmap) -> tuple[float, float, Literal["neither", "min", "max"]]:
    """Lowest and highest value that have colours of their own, and on which side there are cells beyond them."""
    known = [v for row in picture.values for v in row if v is not None]
    if not known:
        return 0.0, 1.0, "neither"
    low, high = min(known), max(known)
    if "loss" in picture.metric and high > low + NATS:
        return low, low + NATS, "max"
    if "acc" in picture.metric and low < high - POINTS:
        return high - POINTS, high, "min"
    return low, high, "neither"


def source(picture: Heatmap) -> str:
    """What was trained, as far as the results tell, and how many cells the picture leaves out."""
    points = [point for row in picture.cells for point in row if point is not None]
    words = sorted({point.cell.network.words() for point in points if point.cell is not None and point.cell.network})
    if picture.left_out:
        words.append(f"{picture.left_out} cell{'s' if picture.left_out > 1 else ''} outside this grid not shown")
    return "; ".join(words)


def _runs(picture: Heatmap) -> str:
    """How many runs the cells are means of."""
    counts = {cell.runs for row in picture.cells for cell in row if cell is not None and cell.mean is not None}
    if not counts:
        return "means of runs"
    low, high = min(counts), max(counts)
    return f"{low} run{'s' if low > 1 else ''} a cell" if low == high else f"{low} to {high} runs a cell"


def place(value: float, grid: tuple[float, ...]) -> float:
    """Where a value belongs on an axis of categories: between their centres, by its logarithm."""
    logs = np.log(np.asarray(grid))
    return float(np.interp(math.log(value), logs, np.arange(len(grid)) + 0.5))


def constant_products(picture: Heatmap, count: int = 60) -> list[list[tuple[float, float]]]:
    """Five lines of constant ηλ, evenly spaced over the grid, each as its points (η, λ) inside it, of ``count``."""
    products = sorted({lr * wd for lr in picture.lrs for wd in picture.decays})
    lines = []
    for product in np.geomspace(products[0], products[-1], 7)[1:-1]:
        points = [(float(lr), float(product / lr)) for lr in np.geomspace(picture.lrs[0], picture.lrs[-1], count)]
        lines.append([(lr, wd) for lr, wd in points if picture.decays[0] <= wd <= picture.decays[-1]])
    return lines


def ridge_points(picture: Heatmap) -> list[tuple[int, float]]:
    """Column and place on the axis of decays of each optimum inside; outside the decays shown there is no place."""
    return [
        (j, place(o.estimate, picture.decays))
        for j, o in enumerate(picture.ridge)
        if o.estimate is not None and picture.decays[0] <= o.estimate <= picture.decays[-1]
    ]


def other_points(picture: Heatmap) -> list[tuple[int, float]]:
    """Column and place of each further maximum of a curve along the decay."""
    low, high = picture.decays[0], picture.decays[-1]
    return [
        (j, place(other, picture.decays))
        for j, o in enumerate(picture.ridge)
        for other in o.others
        if low <= other <= high
    ]


def number_places(picture: Heatmap, ridge: Mapping[int, float]) -> dict[tuple[int, int], tuple[float, float]]:
    """Where the number of each cell stands: in its centre, or beside it where a marker of the ridge is too near."""
    places = {}
    for i, row in enumerate(picture.values):
        for j, value in enumerate(row):
            if value is None:
                continue
            distance = ridge.get(j, math.inf) - (i + 0.5)
            shift = 0.0 if abs(distance) > 0.36 else -math.copysign(BESIDE, distance)
            places[i, j] = (j + 0.5, i + 0.5 + shift)
    return places


def text_colour(cell: str | tuple[float, float, float]) -> str:
    """Black or white, whichever has the higher contrast on a colour (relative luminance of WCAG 2.2, section 1.4.3)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(cell)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # (L + 0.05) / 0.05 is the contrast of black, 1.05 / (L + 0.05) that of white.
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def _numbers(
    axis: Axes, picture: Heatmap, mesh: Collection, places: Mapping[tuple[int, int], tuple[float, float]]
) -> None:
    for (i, j), (x, y) in places.items():
        value = picture.values[i][j]
        colour = to_rgb(tuple(mesh.to_rgba(np.asarray(value, dtype=float))))
        axis.text(
            x,
            y,
            f"{value:.1f}" if "acc" in picture.metric else f"{value:.3f}",
            ha="center",
            va="center",
            color=text_colour(colour),
            # In the cell's own colour it hides the lines beneath a number and is not seen elsewhere.
            path_effects=[withStroke(linewidth=3, foreground=colour)],
            zorder=5,
        )


def _constant_product(axis: Axes, picture: Heatmap, numbers: Mapping[tuple[int, int], tuple[float, float]]) -> None:
    for order, line in enumerate(constant_products(picture, 600)):
        points = [(place(lr, picture.lrs), place(wd, picture.decays)) for lr, wd in line]
        drawn: list[tuple[float, float]] = []
        for free, group in itertools.groupby(points, lambda point: _free(picture, numbers, *point)):
            piece = list(group)
            # What is shorter than a quarter of a cell would look like a mark of its own.
            if free and math.dist(piece[0], piece[-1]) > 0.25:
                drawn += [*piece, (math.nan, math.nan)]
        xs, ys = [x for x, _ in drawn], [y for _, y in drawn]
        # Dark dashes on white are seen on the dark end of the map and on the bright one.
        axis.plot(xs, ys, color="white", lw=1.8, alpha=0.75, zorder=3)
        axis.plot(xs, ys, color="0.15", lw=0.9, ls=(0, (4, 3)), label=None if order else CONSTANT, zorder=3)


def _free(picture: Heatmap, numbers: Mapping[tuple[int, int], tuple[float, float]], x: float, y: float) -> bool:
    """Whether a line may be drawn here: in a cell that was measured, and not across its number."""
    i, j = min(int(y), len(picture.decays) - 1), min(int(x), len(picture.lrs) - 1)
    if (i, j) not in numbers:
        return (i, j) in picture.diverged
    centre, level = numbers[i, j]
    # A number is as wide on the page however narrow its cell.
    return abs(x - centre) > 0.28 * max(1.0, len(picture.lrs) / 5) or abs(y - level) > 0.2


def _ridge(axis: Axes, points: list[tuple[int, float]]) -> None:
    if points:
        axis.plot(
            [j + 0.5 for j, _ in points],
            [y for _, y in points],
            color=RIDGE,
            marker="o",
            ms=5,
            mfc="white",
            mew=1.2,
            lw=1,
            path_effects=[withStroke(linewidth=2.2, foreground="white")],
            label="best λ at each η, where inside",
            zorder=4,
        )


def _others(axis: Axes, points: list[tuple[int, float]]) -> None:
    if points:
        axis.plot(
            [j + 0.5 for j, _ in points],
            [y for _, y in points],
            ls="none",
            color=RIDGE,
            marker="D",
            ms=5,
            mfc="white",
            mew=1.2,
            label=OTHER,
            zorder=4,
        )
