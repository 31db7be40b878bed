"""Set 2: the metric over learning rate and weight decay, with lines of constant ηλ and the ridge of best decays."""

from __future__ import annotations

import math

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from interplay.analysis.pictures import Heatmap
from interplay.figures.style import MAP, look, metric_label


def draw(picture: Heatmap) -> Figure:
    """Values are written into their cells; diverged cells are hatched, missing ones blank.

    The colour scale ends 15 points below the best cell, for losses one nat above it: beyond that everything is equally
    bad, and a scale that reaches chance would hide the ridge.
    """
    with look():
        figure = Figure(figsize=(6.4, 5.2))
        axis = figure.add_subplot()
        values = np.array([[math.nan if v is None else v for v in row] for row in picture.values])
        lowest, highest = float(np.nanmin(values)), float(np.nanmax(values))
        floor = max(lowest, highest - 15.0) if "acc" in picture.metric else None
        high = min(highest, lowest + 1.0) if "loss" in picture.metric else None
        clipped = (floor is not None and floor > lowest, high is not None and high < highest)
        sns.heatmap(
            values,
            ax=axis,
            annot=True,
            annot_kws={"fontsize": 9, "zorder": 6},
            fmt=".1f" if "acc" in picture.metric else ".3f",
            cmap=MAP if "acc" in picture.metric else f"{MAP}_r",
            vmin=floor,
            vmax=high,
            linewidths=0.5,
            xticklabels=[f"{lr:g}" for lr in picture.lrs],
            yticklabels=[f"{wd:g}" for wd in picture.decays],
            cbar_kws={
                "label": metric_label(picture.metric),
                "extend": {(False, False): "neither", (True, False): "min", (False, True): "max"}.get(clipped, "both"),
            },
        )
        for text in axis.texts:  # a rim in the other shade: lines may pass below, and middling cells stay legible
            light = sum(to_rgb(text.get_color())) > 1.5
            text.set_path_effects([withStroke(linewidth=2, foreground="black" if light else "white", alpha=0.7)])
        axis.invert_yaxis()
        for i, j in picture.diverged:
            axis.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", edgecolor="0.5", lw=0))
        _constant_product(axis, picture)
        _ridge(axis, picture)
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="learning rate η (peak)", ylabel="weight decay λ")
        axis.set_title(f"Do good settings lie along ηλ = const? (batch {picture.batch_size}; {_runs(picture)})")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure


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


def constant_products(picture: Heatmap) -> list[list[tuple[float, float]]]:
    """Five lines of constant ηλ, evenly spaced over the grid, each as its points (η, λ) inside it."""
    products = sorted({lr * wd for lr in picture.lrs for wd in picture.decays})
    lines = []
    for product in np.geomspace(products[0], products[-1], 7)[1:-1]:
        points = [(float(lr), float(product / lr)) for lr in np.geomspace(picture.lrs[0], picture.lrs[-1], 60)]
        lines.append([(lr, wd) for lr, wd in points if picture.decays[0] <= wd <= picture.decays[-1]])
    return lines


def _constant_product(axis: Axes, picture: Heatmap) -> None:
    for number, inside in enumerate(constant_products(picture)):
        xs, ys = [place(lr, picture.lrs) for lr, _ in inside], [place(wd, picture.decays) for _, wd in inside]
        label = "ηλ = const" if number == 0 else None
        axis.plot(xs, ys, color="0.35", lw=1.0, ls="--", zorder=3, label=label)


def _ridge(axis: Axes, picture: Heatmap) -> None:
    points = [(lr, o.estimate) for lr, o in zip(picture.lrs, picture.ridge, strict=True) if o.estimate is not None]
    if points:
        xs = [place(lr, picture.lrs) for lr, _ in points]
        ys = [place(wd, picture.decays) for _, wd in points]
        # Rings and not dots, beneath the numbers: the best decay lies in the very cells that one wants to read.
        label = "best λ at each η (interior)"
        axis.plot(xs, ys, "-o", color="#D55E00", lw=1.5, ms=15, mfc="none", mew=2, zorder=4, label=label)
