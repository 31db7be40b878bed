"""What figures show, as small results: numbers only, so that tests check them without pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from interplay.analysis import ridge
from interplay.analysis.cells import Cell
from interplay.analysis.claims.exponent import linear_rule
from interplay.analysis.claims.ordering import method_groups, method_optimum
from interplay.analysis.claims.plane import plane
from interplay.analysis.optimum import Optimum
from interplay.analysis.ridge import Surface
from interplay.analysis.table import Table


@dataclass(frozen=True)
class Point:
    """One cell: mean over repetitions, standard error (``None`` without a noise model), number of runs."""

    x: float
    mean: float | None
    """``None`` where the runs diverged."""
    error: float | None
    runs: int
    cell: Cell | None = None
    """The knobs of the cell."""


@dataclass(frozen=True)
class MethodCurve:
    """Metric against learning rate for one method, with its optimum."""

    method: str
    points: tuple[Point, ...]
    optimum: Optimum


@dataclass(frozen=True)
class Ordering:
    """Set 1."""

    metric: str
    curves: tuple[MethodCurve, ...]
    batch_size: int | None
    """``None`` where it is not told, as in all pictures."""


@dataclass(frozen=True)
class Heatmap:
    """Set 2. ``values[i][j]`` belongs to ``decays[i]`` and ``lrs[j]``: a mean, ``None`` if missing.

    ``diverged`` names cells (i, j) whose runs diverged; ``ridge`` has the optimal decay at each learning rate.
    """

    metric: str
    lrs: tuple[float, ...]
    decays: tuple[float, ...]
    values: tuple[tuple[float | None, ...], ...]
    diverged: frozenset[tuple[int, int]]
    ridge: tuple[Optimum, ...]
    batch_size: int | None
    cells: tuple[tuple[Point | None, ...], ...] = ()
    """As ``values``, with standard error and number of runs; x is the learning rate, ``None`` is a missing cell."""
    left_out: int = 0
    """How many cells were measured at rates and decays that the picture has not, because they are nearly empty."""
    surface: Surface | None = None
    """Fitted to the cells near the best one, where it was asked for; larger is better, for losses too."""


@dataclass(frozen=True)
class Scaling:
    """Set 3: the optimal decay at each batch size, and the curves it comes from."""

    metric: str
    batches: tuple[int, ...]
    optima: tuple[Optimum, ...]
    curves: tuple[tuple[Point, ...], ...]


def at_batch(batch_size: int | None, more: str = "") -> str:
    """The words in parentheses behind a title: the batch size where it is told, and ``more``."""
    words = "; ".join(filter(None, ("" if batch_size is None else f"batch {batch_size:g}", more)))
    return f" ({words})" if words else ""


def ordering_picture(table: Table) -> Ordering | None:
    """Set 1 of the table, or ``None`` if it has no method with three learning rates."""
    groups = method_groups(table)
    if not groups:
        return None
    curves = tuple(
        MethodCurve(name, _points(table, members, "lr"), method_optimum(table, members))
        for name, members in groups.items()
    )
    return Ordering(table.metric, curves, next(iter(groups.values()))[0].get("batch_size"))


def _well_filled(values: Iterable[float]) -> tuple[float, ...]:
    """Those that occur at least half as often as the most frequent one and three times, in rising order.

    Three times only where one of them does: a grid of two rates has two values a row.
    """
    counts = Counter(values)
    most = max(counts.values(), default=0)
    least = max(most / 2, min(3, most))
    return tuple(sorted(value for value, count in counts.items() if count >= least))


def heatmap_picture(table: Table, *, surface: bool = True) -> Heatmap | None:
    """Set 2 of the table, or ``None`` if there is no grid of learning rates and decays.

    ``surface`` is for whoever draws it: a third of a second.
    """
    members = plane(table)
    if not members:
        return None
    # What was measured at few places only belongs to another set, and would be a column or a row of blanks.
    measured = len(members)
    lrs = _well_filled(s.lr for s in members)
    members = [s for s in members if s.lr in lrs]
    # The best decay is that of all that was measured at the rate, as the claims have it.
    optima = tuple(
        table.optimum("weight_decay", [s for s in members if s.lr == lr], {"lr": lr}, listed=False) for lr in lrs
    )
    decays = _well_filled(s.weight_decay for s in members)
    members = [s for s in members if s.weight_decay in decays]
    cells = {(s.weight_decay, s.lr): s for s in members}
    values, diverged, points = [], set(), []
    for i, wd in enumerate(decays):
        row: list[float | None] = []
        for j, lr in enumerate(lrs):
            cell = cells.get((wd, lr))
            row.append(float(np.mean(table.cells[cell])) if cell in table.cells else None)
            if cell in table.diverged:
                diverged.add((i, j))
        values.append(tuple(row))
        points.append(tuple(_point(table, cells[wd, lr], "lr") if (wd, lr) in cells else None for lr in lrs))
    batch = members[0].get("batch_size")
    left = measured - len(members)
    known = [cell for cell in members if cell in table.cells]
    fitted = None
    if surface and known and table.repeated(known):
        near = ridge.Plane(
            np.log([cell.lr for cell in known]),
            np.log([cell.weight_decay for cell in known]),
            np.array([table.level(cell) for cell in known]),
            np.maximum(np.array([table.error(cell) for cell in known]), 1e-9),
        )
        fitted = ridge.surface(ridge.chosen(near, ridge.within(table.metric)[0]))
    return Heatmap(
        table.metric, lrs, decays, tuple(values), frozenset(diverged), optima, batch, tuple(points), left, fitted
    )


def scaling_picture(table: Table) -> Scaling | None:
    """Set 3 of the table, or ``None`` if batch sizes were not varied under the linear rule."""
    members = linear_rule(table)
    batches = tuple(sorted({s.batch_size for s in members}))
    if not batches:
        return None
    groups = [[s for s in members if s.batch_size == b] for b in batches]
    optima = tuple(
        table.optimum("weight_decay", group, {"batch_size": b}, listed=False)
        for b, group in zip(batches, groups, strict=True)
    )
    return Scaling(table.metric, batches, optima, tuple(_points(table, group, "weight_decay") for group in groups))


def _points(table: Table, members: Sequence[Cell], of: str) -> tuple[Point, ...]:
    return tuple(_point(table, s, of) for s in sorted(members, key=lambda s: float(getattr(s, of))))


def _point(table: Table, cell: Cell, of: str) -> Point:
    values = table.cells.get(cell, [])
    mean = float(np.mean(values)) if values else None
    error = table.error(cell) if values and table.noise_of(cell) is not None else None
    return Point(getattr(cell, of), mean, error, len(values), cell)
