"""Which knob matters: the variance of a fitted surface, shared out over knobs and pairs of knobs.

The surface is a forest of extremely randomised trees over the cells of one network, and its variance is taken apart as
functional analysis of variance does: Hutter, Hoos, Leyton-Brown, An Efficient Approach for Assessing Hyperparameter
Importance, ICML 2014. All values of a knob that were measured count alike, and combinations that nobody ran are what
the forest says of them.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.tree import ExtraTreeRegressor

from interplay.analysis import ridge
from interplay.analysis.cells import VARIED, Cell
from interplay.analysis.table import Table

Array = NDArray[np.float64]

LEAST_CELLS = 12
"""Cells below which nothing is said."""

SURFACES = 30
"""Surfaces of which the interval is: each of cells drawn with replacement, at values drawn with their errors."""

TREES = 10
"""Trees of a surface."""

POINTS = 2048
"""Combinations of values at which a surface is looked at, of more than these a random sample."""

EXPLAINED = 0.5
"""R² of cells that a tree has not seen, below which the surface is no measure of what matters."""


@dataclass(frozen=True)
class Share:
    """The share of the variance that one knob has alone, or two together beyond both alone; from 0 to 1."""

    knobs: tuple[str, ...]
    share: float
    interval: tuple[float, float]
    """90 %, over `SURFACES`."""


@dataclass(frozen=True)
class Importance:
    """Shares of all knobs that were varied and of their pairs, the largest first."""

    network: Cell
    shares: tuple[Share, ...]
    explained: float
    """R² of the cells that trees did not see."""
    cells: int
    worst: float
    """What is worse than this counts as this; so does what diverged. In units of the metric."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        shares = [{"knobs": list(s.knobs), "share": s.share, "interval": list(s.interval)} for s in self.shares]
        return {"shares": shares, "explained": self.explained, "cells": self.cells, "worst": self.worst}


def importance(table: Table) -> Importance | None:
    """Of the network with the most runs; ``None`` with too few cells, one knob only, or a surface that tells nothing.

    What lies more than `ridge.within` below the best cell counts as that far: beyond, settings are equally bad, and how
    badly each fails would outweigh what is asked.
    """
    network = next(iter(table.kinds()), None)
    cells = [cell for cell in table.all_cells() if cell.scatter == network]
    known = [cell for cell in cells if cell in table.cells]
    if network is None or len(cells) < LEAST_CELLS or not known:
        return None
    names = _varied(cells)
    if len(names) < 2:
        return None
    best = max(table.level(cell) for cell in known)
    worst = best - ridge.within(table.metric)[0]
    levels = np.array([max(table.level(cell), worst) if cell in table.cells else worst for cell in cells])
    if float(np.ptp(levels)) <= 0:
        return None
    errors = np.array([table.error(cell) if cell in table.cells and table.repeated([cell]) else 0.0 for cell in cells])
    x = np.column_stack([_coded([cell.get(name) for cell in cells]) for name in names])
    rng = np.random.default_rng(zlib.crc32(b"importance"))
    explained = _explained(x, levels, rng)
    if explained < EXPLAINED:
        return None
    grid = _combinations(x, rng)
    terms = [(i,) for i in range(len(names))] + list(itertools.combinations(range(len(names)), 2))
    groups = [_group(grid[:, term]) for term in terms]
    draws = []
    for number in range(SURFACES):
        chosen = rng.integers(0, len(cells), len(cells))
        values = np.maximum(levels[chosen] + errors[chosen] * rng.standard_normal(len(cells)), worst)
        # Trees by themselves: a forest of the library takes longer to begin than these take to grow.
        seeds = range(TREES * number, TREES * (number + 1))
        surface = np.mean([_said(seed, x[chosen], values, grid) for seed in seeds], axis=0)
        draws.append(_shares(groups, surface, terms))
    found = np.array(draws)
    low, high = np.quantile(found, [0.05, 0.95], axis=0)
    shares = [
        Share(tuple(names[i] for i in term), float(found[:, n].mean()), (float(low[n]), float(high[n])))
        for n, term in enumerate(terms)
    ]
    ordered = tuple(sorted(shares, key=lambda each: -each.share))
    return Importance(network, ordered, explained, len(cells), table.sign * worst)


def _varied(cells: Sequence[Cell]) -> list[str]:
    """Knobs with more than one value that all cells have, the usual ones first."""
    names = dict.fromkeys((*VARIED, *sorted({name for cell in cells for name in cell})))
    return [
        name
        for name in names
        if all(cell.get(name) is not None for cell in cells) and len({cell.get(name) for cell in cells}) > 1
    ]


def _coded(values: Sequence[Any]) -> Array:
    """The rank of each value, as trees ask for the order only; words are ordered by their letters."""
    ordered = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    ranks = {value: float(rank) for rank, value in enumerate(ordered)}
    return np.array([ranks[value] for value in values])


def _said(seed: int, x: Array, levels: Array, asked: Array) -> Array:
    """What a tree that was grown on ``levels`` [n] at ``x`` [n, knobs] says of ``asked`` [m, knobs]."""
    tree = ExtraTreeRegressor(max_features=1.0, random_state=seed)
    # Trees work in single precision. That options and numbers are in order is known: to look takes as long as to grow.
    with config_context(skip_parameter_validation=True):
        tree.fit(x.astype(np.float32), levels, check_input=False)
    return np.asarray(tree.tree_.predict(asked.astype(np.float32))[:, 0])


def _explained(x: Array, levels: Array, rng: np.random.Generator, trees: int = 100) -> float:
    """R² of cells that trees have not seen, each predicted by those that were grown without it."""
    said, by = np.zeros(len(levels)), np.zeros(len(levels))
    for number in range(trees):
        chosen = rng.integers(0, len(levels), len(levels))
        left = np.setdiff1d(np.arange(len(levels)), chosen)
        if len(left):
            said[left] += _said(number, x[chosen], levels[chosen], x[left])
            by[left] += 1
    known = by > 0
    error = levels[known] - said[known] / by[known]
    return 1 - float((error**2).mean() / levels[known].var())


def _combinations(x: Array, rng: np.random.Generator) -> Array:
    """All combinations of the values of the columns, or a sample in which each value is as frequent as the others."""
    values = [np.unique(column) for column in x.T]
    if math.prod(map(len, values)) <= POINTS:
        return np.array(list(itertools.product(*values)))
    columns = [rng.permutation(np.resize(each, POINTS)) for each in values]
    return np.column_stack(columns)


def _group(columns: Array) -> NDArray[np.intp]:
    """For each row the number of its combination of values."""
    number = np.zeros(len(columns), dtype=np.intp)
    for column in columns.T:
        values, place = np.unique(column, return_inverse=True)
        number = number * len(values) + place
    return np.asarray(np.unique(number, return_inverse=True)[1])


def _shares(groups: Sequence[NDArray[np.intp]], surface: Array, terms: Sequence[tuple[int, ...]]) -> list[float]:
    """The variance of the means at each value of the knobs of a term, less what smaller terms have of it."""
    total = float(surface.var())
    found: dict[tuple[int, ...], float] = {}
    for term, group in zip(terms, groups, strict=True):
        counts = np.bincount(group)
        means = np.bincount(group, surface) / counts
        between = float(np.average((means - surface.mean()) ** 2, weights=counts))
        # A sample has few points of each combination: what these scatter within is taken off what lies between.
        within = float(np.average((surface - means[group]) ** 2))
        free = len(surface) - len(counts)
        if free > 0:
            between = max(0.0, between - within * (len(counts) - 1) / free)
        less = sum(found[(i,)] for i in term) if len(term) > 1 else 0.0
        found[term] = max(0.0, between - less)
    return [found[term] / total if total > 0 else 0.0 for term in terms]
