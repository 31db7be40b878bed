"""Set 2: the metric over learning rate and weight decay, with lines of constant ηλ and the ridge of best decays."""

from __future__ import annotations

import math

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from interplay.analysis.pictures import Heatmap
from interplay.figures.style import MAP, look, metric_label


def draw(picture: Heatmap) -> Figure:
    """Values are written into their cells; diverged cells are hatched, missing ones blank.

    The colour scale begins 15 points below the best cell (for accuracies): below that everything is equally bad, and a
    scale that reaches chance would hide the ridge.
    """
    with look():
        figure = Figure(figsize=(6.4, 5.2))
        axis = figure.add_subplot()
        values = np.array([[math.nan if v is None else v for v in row] for row in picture.values])
        best = np.nanmax(values)
        floor = max(float(np.nanmin(values)), float(best) - 15.0) if "acc" in picture.metric else None
        sns.heatmap(
            values,
            ax=axis,
            annot=True,
            fmt=".1f" if "acc" in picture.metric else ".3f",
            cmap=MAP if "acc" in picture.metric else f"{MAP}_r",
            vmin=floor,
            linewidths=0.5,
            xticklabels=[f"{lr:g}" for lr in picture.lrs],
            yticklabels=[f"{wd:g}" for wd in picture.decays],
            cbar_kws={"label": metric_label(picture.metric)},
        )
        axis.invert_yaxis()
        for i, j in picture.diverged:
            axis.add_patch(Rectangle((j, i), 1, 1, fill=False, hatch="///", edgecolor="0.5", lw=0))
        _constant_product(axis, picture)
        _ridge(axis, picture)
        axis.tick_params(axis="y", rotation=0)
        axis.set(xlabel="learning rate η (peak)", ylabel="weight decay λ")
        axis.set_title(f"Do good settings lie along ηλ = const? (batch {picture.batch_size})")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    return figure


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
        axis.plot(xs, ys, color="0.75", lw=1.2, ls=":", label=label)


def _ridge(axis: Axes, picture: Heatmap) -> None:
    points = [(lr, o.estimate) for lr, o in zip(picture.lrs, picture.ridge, strict=True) if o.estimate is not None]
    if points:
        xs = [place(lr, picture.lrs) for lr, _ in points]
        ys = [place(wd, picture.decays) for _, wd in points]
        axis.plot(xs, ys, color="#D55E00", marker="o", lw=2, label="best λ at each η (interior)")
