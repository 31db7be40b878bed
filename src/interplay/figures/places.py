"""Where lines, marks and numbers lie on the figures and on the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from interplay.analysis.optimum import Optimum
from interplay.analysis.pictures import Heatmap

THEORIES = {"λ ∝ B (the claim)": 1.0, "constant (horizon law, η ∝ B)": 0.0, "λ ∝ √B": 0.5}
"""λ* as a power of B."""

BESIDE = 0.24
"""How far a number moves from the centre of its cell, in cells, to make room for a marker of the ridge."""


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


def theory_lines(
    batches: Sequence[int], optima: Sequence[Optimum], ends: tuple[float, float] | None = None
) -> dict[str, list[float]]:
    """λ at each batch size by each theory, through the geometric mean of the optima inside; empty without any.

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
