"""Set 2: the metric over learning rate and weight decay, with lines of constant ηλ and the ridge of best decays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from interplay.analysis.pictures import Heatmap, at_batch
from interplay.figures.colours import limits, map_of, text_colour
from interplay.figures.labels import OTHER, metric_label
from interplay.figures.places import constant_products
from interplay.figures.style import log_axis, look, narrow, panels, size, titled, wrapped

CONSTANT = "ηλ = const"
RIDGE = "#D55E00"
HALO = (withStroke(linewidth=3.4, foreground="white"),)
PRODUCTS = "0.45"
POINT_STEPS, NAT_STEPS = (0.5, 1.0, 2.0, 4.0), (0.02, 0.05, 0.1, 0.2, 0.4)
"""How far below the top of the fitted surface lines are drawn, in points of accuracy and in nats."""


def draw(picture: Heatmap) -> Figure:
    """Panel a: values in their cells; diverged cells are hatched, missing ones blank, the best of each rate is framed.

    Panel b: the same cells on true log axes, with lines on which the fitted surface is level, lines of constant ηλ, and
    the best decay at each rate with its interval. A triangle points to where an optimum may lie that is not bounded.

    The colour scale ends 15 points below the best cell, for losses one nat above it: beyond that everything is equally
    bad, and a scale that reaches chance would hide the ridge. An arrow of the colour bar says that there is more.
    """
    with look():
        figure = Figure(figsize=size(11.4, 5.4, panels=2))
        left, right = panels(figure, 2)
        titled(left, "a", "mean of each cell")
        titled(right, "b", "fitted surface and best decays" if levels(picture) else "best decays")
        low, high, extend = limits(picture)
        cmap = map_of(picture.metric)
        sns.heatmap(
            np.array([[math.nan if v is None else v for v in row] for row in picture.values]),
            ax=left,
            cmap=cmap,
            vmin=low,
            vmax=high,
            linewidths=0.5,
            xticklabels=[f"{lr:g}" for lr in picture.lrs],
            yticklabels=[f"{wd:g}" for wd in picture.decays],
            cbar=False,
        )
        mesh = left.collections[0]
        left.invert_yaxis()
        for i, j in picture.diverged:
            left.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", edgecolor="0.5", lw=0))
        for i, j in best_cells(picture):
            # White around it: on cells of a middle colour orange alone would not be seen.
            frame: Any = {"fill": False, "edgecolor": RIDGE, "lw": 1.6, "path_effects": HALO}
            left.add_patch(Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, **frame))
        _numbers(left, picture, mesh)
        left.tick_params(axis="y", rotation=0)
        left.tick_params(axis="x", rotation=45 if len(picture.lrs) > 6 else 0)
        left.set(xlabel="learning rate η (peak)", ylabel="weight decay λ")
        _plane(right, picture, cmap, (low, high))
        bar = figure.colorbar(mesh, ax=right, label=metric_label(picture.metric), extend=extend, aspect=30)
        bar.outline.set_visible(False)
        title = f"Do good settings lie along ηλ = const?{at_batch(picture.batch_size, _runs(picture))}"
        figure.suptitle(wrapped(title, 110, 11.4))
        handles, _ = right.get_legend_handles_labels()
        if best_cells(picture):
            handles.insert(0, Patch(fill=False, edgecolor=RIDGE, lw=1.6, label="best cell at each η"))
        if picture.diverged:
            handles.append(Patch(fill=False, hatch="///", edgecolor="0.5", lw=0, label="diverged"))
        about = wrapped("; ".join(filter(None, [source(picture), _steps(picture)])), 150, 11.4)
        columns = 2 if narrow() else 4
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=about)
    return figure


def best_cells(picture: Heatmap) -> list[tuple[int, int]]:
    """Row and column of the best cell at each rate at which two cells or more were measured."""
    sign = -1 if "loss" in picture.metric else 1
    found = []
    for j in range(len(picture.lrs)):
        known = [(sign * value, i) for i, row in enumerate(picture.values) if (value := row[j]) is not None]
        if len(known) > 1:
            found.append((max(known)[1], j))
    return found


def levels(picture: Heatmap) -> list[float]:
    """Levels of the fitted surface at which lines are drawn, rising: so far from its top as `STEPS` says."""
    if picture.surface is None:
        return []
    top, bottom = float(np.nanmax(picture.surface.level)), float(np.nanmin(picture.surface.level))
    steps = NAT_STEPS if "loss" in picture.metric else POINT_STEPS
    return [top - step for step in reversed(steps) if top - step > bottom]


def _steps(picture: Heatmap) -> str:
    """What the lines of the fitted surface are."""
    count = len(levels(picture))
    if not count:
        return ""
    steps, unit = (NAT_STEPS, "nats") if "loss" in picture.metric else (POINT_STEPS, "points")
    words = ", ".join(f"{step:g}" for step in steps[:count])
    return f"lines in b: a surface fitted to the cells near the best, {words} {unit} worse than its best"


def _plane(axis: Axes, picture: Heatmap, cmap: str, ends: tuple[float, float]) -> None:
    measured = [
        (lr, wd, value)
        for wd, row in zip(picture.decays, picture.values, strict=True)
        for lr, value in zip(picture.lrs, row, strict=True)
        if value is not None
    ]
    if measured:
        xs, ys, values = zip(*measured, strict=True)
        axis.scatter(xs, ys, c=values, cmap=cmap, vmin=ends[0], vmax=ends[1], marker="s", s=34, lw=0, zorder=1)
    lost = [(picture.lrs[j], picture.decays[i]) for i, j in picture.diverged]
    if lost:
        axis.plot(*zip(*lost, strict=True), ls="none", marker="x", color="0.5", ms=5, zorder=1)
    log_axis(axis, "x", list(picture.lrs), "learning rate η (peak)")
    log_axis(axis, "y", list(picture.decays), "weight decay λ")
    axis.tick_params(axis="x", rotation=60)
    room = [1.25 ** (len(values) > 0) for values in (picture.lrs, picture.decays)]
    axis.set_xlim(picture.lrs[0] / room[0], picture.lrs[-1] * room[0])
    axis.set_ylim(picture.decays[0] / room[1], picture.decays[-1] * room[1])
    for order, line in enumerate(constant_products(picture)):
        label = None if order else CONSTANT
        axis.plot(*zip(*line, strict=True), color=PRODUCTS, lw=0.9, ls=(0, (4, 3)), zorder=2, label=label)
    if lines := levels(picture):
        assert picture.surface is not None
        surface = picture.surface
        # Levels of a loss are negative here: matplotlib would dash them, as the lines of constant ηλ are.
        drawn: Any = {"levels": lines, "colors": "0.1", "linewidths": 1.1, "linestyles": "solid", "zorder": 3}
        axis.contour(surface.lrs, surface.decays, surface.level, **drawn)
        axis.plot([], [], color="0.1", lw=1.1, label="fitted surface level")
    _ridge(axis, picture)


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


def _numbers(axis: Axes, picture: Heatmap, mesh: Collection) -> None:
    for i, row in enumerate(picture.values):
        for j, value in enumerate(row):
            if value is None:
                continue
            colour = to_rgb(tuple(mesh.to_rgba(np.asarray(value, dtype=float))))
            words = f"{value:.1f}" if "acc" in picture.metric else f"{value:.2f}"
            style: Any = {"ha": "center", "va": "center", "color": text_colour(colour), "fontsize": "small"}
            axis.text(j + 0.5, i + 0.5, words, **style)


def _ridge(axis: Axes, picture: Heatmap) -> None:
    """The optimum at each rate: a circle with its interval; a triangle at a bound, on the side where it is open."""
    labelled: set[str] = set()

    def label(words: str) -> str | None:
        new = words not in labelled
        labelled.add(words)
        return words if new else None

    for lr, optimum in zip(picture.lrs, picture.ridge, strict=True):
        low, high = optimum.interval
        look_of: Any = {"color": RIDGE, "ls": "none", "ms": 6, "mfc": "white", "mew": 1.4, "zorder": 5}
        if optimum.estimate is not None and picture.decays[0] <= optimum.estimate <= picture.decays[-1]:
            ends = [low or picture.decays[0], high or picture.decays[-1]]
            axis.plot([lr, lr], ends, color=RIDGE, lw=1.6, zorder=4, solid_capstyle="butt")
            axis.plot(lr, optimum.estimate, marker="o", label=label("best λ, 90 % interval"), **look_of)
        elif (low is None) != (high is None):
            bound = high if low is None else low
            assert bound is not None
            at = min(max(bound, picture.decays[0]), picture.decays[-1])
            axis.plot(lr, at, marker="v" if low is None else "^", label=label("best λ not bounded"), **look_of)
        others = [other for other in optimum.others if picture.decays[0] <= other <= picture.decays[-1]]
        if others:
            axis.plot([lr] * len(others), others, marker="D", label=label(OTHER), **look_of)
