"""Does only the product of two knobs matter? The direction of the ridge in their plane, and whether it is enough."""

from __future__ import annotations

import math
import zlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from interplay.analysis import ridge
from interplay.analysis.cells import Cell
from interplay.analysis.next_runs import for_noise, for_plane
from interplay.analysis.table import Table
from interplay.analysis.verdict import UNLIKELY, Verdict, judge, not_asked, undecided
from interplay.study.claims import Claim

SUFFICIENT = 0.1
"""Share of the variance that the product alone may leave to a surface in both knobs and still count as sufficient."""

PREDICTIVE = 0.5
"""R² that the surface must reach for the curve to be called sufficient beside it."""

ROUNDING = 0.1
"""How far an R² may lie beyond 1 because the noise that is taken off it is known as an average only."""

MIN_CELLS = 8
"""Cells of the grid below which neither its direction nor sufficiency is spoken of."""


def plane(table: Table, product: tuple[str, ...] = ("lr", "weight_decay")) -> list[Cell]:
    """The largest grid of two knobs: set 2. A value of the first with fewer than three of the second is not of it."""
    first, second = product
    groups: dict[Hashable, dict[float, list[Cell]]] = {}
    for key, members in table.slices(second).items():
        value = key.get(first)
        if isinstance(value, int | float) and value > 0:
            positive = [cell for cell in members if cell[second] > 0]
            groups.setdefault(key.without(first), {})[value] = positive
    found = [[cell for cells in rows.values() for cell in cells] for rows in groups.values() if len(rows) > 1]
    largest: list[Cell] = max(found, key=lambda cells: len(cells), default=[])
    return sorted(largest)


def direction(claim: Claim, table: Table) -> Verdict:
    """k of f(log first + k log second), which is 1 where only the product matters."""
    near = _near(claim, table)
    if isinstance(near, Verdict):
        return near
    found = ridge.direction(near)
    if found is None:
        return undecided(claim.id, f"only {len(near.mean)} cells near the best one")
    first, second = (_symbol(name) for name in claim.product)
    reason = (
        f"settings are as good as each other where {first}·{second}^k is the same; from {found.cells} cells near the "
        f"best one, which scatter about that by {found.scatter:.1f} times the noise"
    )
    if found.interval90[0] > 5:
        reason = f"does not depend on the product at all: k > {found.interval90[0]:.3g}; {reason}"
    band = (1 - claim.band, 1 + claim.band)
    verdict = judge(claim.id, found.estimate, found.interval90, found.interval95, band, reason)
    return _planned(claim, table, verdict, found.interval90, band)


def sufficiency(claim: Claim, table: Table) -> Verdict:
    """Cross-validated R² of a curve in the product against that of a surface in both knobs."""
    near = _near(claim, table)
    if isinstance(near, Verdict):
        return near
    found = ridge.sufficiency(near, np.random.default_rng(zlib.crc32(claim.id.encode())))
    if found is None:
        return undecided(claim.id, f"only {len(near.mean)} cells near the best one")
    name = "".join(_symbol(each) for each in claim.product)
    if found.least <= 0:
        return undecided(claim.id, "the cells near the best one differ by no more than the noise")
    if not 0 <= found.surface <= 1 + ROUNDING:
        r2 = f"once it is taken off, the R² of a surface in both would be {found.surface:.2f}"
        return undecided(claim.id, f"noise too large to tell: {r2}")
    both = (
        f"cross-validated R² of a curve in {name} {min(max(found.curve, 0.0), 1.0):.2f}, "
        f"of a surface {min(found.surface, 1.0):.2f}, noise taken off"
    )
    q = [float(x) for x in np.quantile(found.draws, [0.05, 0.95, 0.025, 0.975])]
    reason = f"{both}; sufficient if the curve leaves less than {SUFFICIENT:g}"
    verdict = judge(claim.id, found.loss, (q[0], q[1]), (q[2], q[3]), (-math.inf, SUFFICIENT), reason)
    if verdict.verdict == "supported" and found.surface < PREDICTIVE:
        reason = f"{reason}; a surface that predicts less than {PREDICTIVE:g} is no measure of it"
        return replace(verdict, verdict="inconclusive", reason=reason)
    return _planned(claim, table, verdict, (q[0], q[1]), (-math.inf, SUFFICIENT))


def _near(claim: Claim, table: Table) -> ridge.Plane | Verdict:
    members = plane(table, claim.product)
    cells = [cell for cell in members if cell in table.cells]
    first, second = claim.product
    if not cells:
        return not_asked(claim.id, f"a grid of {first} and {second}, three values of the latter at two of the former")
    if not table.repeated(cells):
        verdict = undecided(claim.id, "too few runs to tell their noise: a second seed is needed")
        return replace(verdict, plan=for_noise(table, Claim(second, first, 0.0), _rows(cells, first)))
    if len(cells) < MIN_CELLS:
        return undecided(claim.id, f"a grid of {len(cells)} cells; {MIN_CELLS} are needed")
    surface = ridge.Plane(
        np.log([cell[first] for cell in cells]),
        np.log([cell[second] for cell in cells]),
        np.array([table.level(cell) for cell in cells]),
        np.maximum(np.array([table.error(cell) for cell in cells]), 1e-9),
    )
    return ridge.chosen(surface, ridge.within(table.metric)[0])


def _planned(
    claim: Claim, table: Table, verdict: Verdict, interval: tuple[float, float], band: tuple[float, float]
) -> Verdict:
    """``verdict`` with further seeds of the cells near the best, where these are expected to decide it."""
    if verdict.verdict != "inconclusive":
        return verdict
    cells = [cell for cell in plane(table, claim.product) if cell in table.cells]
    least = max(table.level(cell) for cell in cells) - ridge.within(table.metric)[0]
    near = [cell for cell in cells if table.level(cell) >= least]
    plan = for_plane(table, claim, near, interval, band)
    if plan is None and all(map(math.isfinite, interval)):
        return replace(verdict, reason=f"{UNLIKELY}; {verdict.reason}")
    return replace(verdict, plan=plan)


def _rows(cells: Sequence[Cell], name: str) -> list[list[Cell]]:
    found: dict[float, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell[name], []).append(cell)
    return list(found.values())


def _symbol(name: str) -> str:
    return {"lr": "η", "weight_decay": "λ", "batch_size": "B", "epochs": "E"}.get(name, f"({name})")
