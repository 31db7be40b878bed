"""Cells that may be run next: beyond open ends, around the tops, and further curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from interplay.analysis.cells import VARIED, Cell
from interplay.analysis.joint import Exponent
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.dataset_facts import DATASETS
from interplay.study.claims import SUMS, Claim

WIDE = math.log(1.7)
"""Cells of a curve further apart than this, in nats, have room for one between them."""

CLOSE = math.log(1.3)
"""Cells of a curve nearer than this have no room for one between them."""

SURE = 4.0
"""Standard errors by which a cell is surely worse than another."""


class Knobs:
    """The knobs that name a run beside those of its network: what claims vary, and what differs between the curves."""

    def __init__(self, claim: Claim, curves: Sequence[Sequence[Cell]]) -> None:
        values: dict[str, set[object]] = {}
        cells = [cell for members in curves for cell in members]
        for name in {name for cell in cells for name in cell if name not in ("dataset", "precision")}:
            values[name] = {cell.get(name) for cell in cells}
        differ = {name for name, found in values.items() if len(found) > 1}
        self.names = tuple(dict.fromkeys((*VARIED, "train_limit", *sorted(claim.named | differ))))

    def of(self, cell: Cell, **changes: Any) -> dict[str, Any]:
        """Those of a cell, with ``changes``; a knob that its table does not tell is left out."""
        names = (name for name in self.names if name not in cell.assumed)
        return {name: cell.get(name) for name in names if cell.get(name) is not None} | changes


def by_value(of: str, cells: Sequence[Cell]) -> list[Cell]:
    return sorted((cell for cell in cells if cell[of] > 0), key=lambda cell: float(cell[of]))


def beyond_ends(
    table: Table, claim: Claim, curves: Sequence[Sequence[Cell]], optima: Sequence[Optimum]
) -> tuple[dict[str, Any], ...]:
    """Cells beyond open ends; not where the outermost cell is surely worse than the best and far from it."""
    found, knobs = [], Knobs(claim, curves)
    for cells, each in zip(curves, optima, strict=True):
        known = [cell for cell in by_value(claim.optimum, cells) if cell in table.cells]
        if each.without >= 0.5 or not known:
            continue
        best = max(known, key=table.level)
        for value in each.needed:
            end = known[0] if value < known[0][claim.optimum] else known[-1]
            near = abs(known.index(end) - known.index(best)) <= 1
            worse = table.level(best) - table.level(end) > SURE * math.hypot(table.error(end), table.error(best))
            if (near or not worse) and _possible(claim.optimum, value, cells[0]):
                found.append(knobs.of(cells[0], **{claim.optimum: value}))
    return tuple(found)


def _possible(name: str, value: float, cell: Cell) -> bool:
    """Whether a run may have this value of a knob, as far as its cell tells."""
    if name in ("batch_size", "train_limit"):
        facts = DATASETS.get(str(cell.get("dataset")))
        images = math.inf if facts is None else facts.n_train - cell.get("val_split", 0)
        return 1 <= value <= (min(images, cell.get("train_limit") or images) if name == "batch_size" else images)
    if name in ("momentum", "beta2"):
        return 0 <= value < 1
    if name == "weight_decay":
        return value >= 0
    return value >= 1 if name == "epochs" else value > 0


def tops_of(claim: Claim, cells: Sequence[Cell], optimum: Optimum, count: int = 3) -> list[Cell]:
    """The cells nearest to the optimum, or to the best end that is known of it."""
    low, high = optimum.bounds()
    place = math.log(optimum.estimate) if optimum.estimate else low if math.isfinite(low) else high
    positive = [cell for cell in cells if cell[claim.optimum] > 0]
    if not math.isfinite(place):
        place = float(np.mean([math.log(cell[claim.optimum]) for cell in positive]))
    return sorted(positive, key=lambda cell: abs(math.log(cell[claim.optimum]) - place))[:count]


def _place(table: Table, claim: Claim, cells: Sequence[Cell], optimum: Optimum) -> float | None:
    """Log of the optimum, or of the best cell where others lie on both sides of it; else it is not known."""
    if optimum.estimate:
        return math.log(optimum.estimate)
    known = [cell for cell in by_value(claim.optimum, cells) if cell in table.cells]
    best = max(range(len(known)), key=lambda index: table.level(known[index]), default=0)
    return math.log(known[best][claim.optimum]) if 0 < best < len(known) - 1 else None


def between_cells(
    table: Table, claim: Claim, cells: Sequence[Cell], optimum: Optimum, knobs: Knobs
) -> list[dict[str, Any]]:
    """Middles between neighbours where the optimum may lie, never between equal cells.

    Those are the sides of the best cell, or of the cells that equal it, where neighbours are wide apart; and others
    where the interval holds most of what lies between them. A cell that diverged is a neighbour, too.
    """
    known = by_value(claim.optimum, cells)
    measured = [cell for cell in known if cell in table.cells]
    if not measured or optimum.without >= 0.5:
        return []
    best = max(measured, key=table.level)
    low, high = optimum.bounds()
    found = []
    for left, right in pairwise(known):
        if _equal(table, left, right):
            continue
        ends = math.log(left[claim.optimum]), math.log(right[claim.optimum])
        gap, held = ends[1] - ends[0], min(high, ends[1]) - max(low, ends[0])
        top = best in (left, right) or _equal(table, left, best) or _equal(table, right, best)
        if (top and gap > max(WIDE, 0.5 * optimum.width)) or (gap > CLOSE and held > 0.7 * gap):
            found.append(knobs.of(left, **{claim.optimum: float(f"{math.exp(sum(ends) / 2):.3g}")}))
    return found


def _equal(table: Table, one: Cell, other: Cell) -> bool:
    """Whether two cells are as good as each other within the noise; both of them diverged, too."""
    if one not in table.cells or other not in table.cells:
        return one not in table.cells and other not in table.cells
    return abs(table.level(one) - table.level(other)) < 1.645 * math.hypot(table.error(one), table.error(other))


def further_curves(
    table: Table,
    claim: Claim,
    curves: Sequence[Sequence[Cell]],
    along: Sequence[float],
    result: Exponent,
    optima: Sequence[Optimum],
) -> list[list[tuple[float, list[dict[str, Any]]]]]:
    """One curve more below, one above, and both: each as its value of the axis and five cells around the law."""
    if claim.along in SUMS:
        return []
    places = [_place(table, claim, cells, each) for cells, each in zip(curves, optima, strict=True)]
    inside = [(z, place) for z, place in zip(np.log(along), places, strict=True) if place is not None]
    known = sorted({value for value, place in zip(along, places, strict=True) if place is not None})
    if len(known) < 2:
        return []
    centre = np.mean(inside, axis=0)
    free = {claim.optimum, claim.along, *claim.tied}
    rest = {cell.without(*free) for members in curves for cell in members}
    asked = {float(cell[claim.along]) for cell in table.all_cells() if cell.without(*free) in rest}
    found, knobs = [], Knobs(claim, curves)
    for edge, ratio in ((known[0], known[0] / known[1]), (known[-1], known[-1] / known[-2])):
        value = edge * ratio
        value = round(value) if claim.along in WHOLE else float(f"{value:.3g}")
        # Where a curve beyond was measured and has no optimum inside, another one there would have none either; where
        # all of it diverged it is no curve, and the same holds.
        beyond = any((other > edge) == (ratio > 1) and other != edge for other in asked)
        like = curves[max(range(len(along)), key=lambda index: (along[index] == edge, len(curves[index])))]
        if beyond or not _possible(claim.along, value, like[0]):
            continue
        step = _step(claim, like)
        middle = centre[1] + result.estimate * (math.log(value) - centre[0])
        changes: dict[str, Any] = {claim.along: value}
        for name, power in claim.tied.items():
            tied = like[0][name] * (value / edge) ** power
            changes[name] = round(tied) if name in WHOLE else float(f"{tied:.7g}")
        if not all(_possible(name, changes[name], like[0]) for name in claim.tied):
            continue
        cells = [
            knobs.of(like[0], **changes, **{claim.optimum: float(f"{math.exp(middle + k * step):.3g}")})
            for k in (-2, -1, 0, 1, 2)
        ]
        found.append((value, [cell for cell in cells if _possible(claim.optimum, cell[claim.optimum], like[0])]))
    return [[each] for each in found] + ([found] if len(found) == 2 else [])


WHOLE = ("batch_size", "epochs", "train_limit")
"""Knobs that are whole numbers."""


def _step(claim: Claim, cells: Sequence[Cell]) -> float:
    """Between the cells of a further curve: as in the others, but no wider than a factor of 2.5."""
    values = sorted({math.log(cell[claim.optimum]) for cell in cells if cell[claim.optimum] > 0})
    return min(float(np.median(np.diff(values))) if len(values) > 1 else math.log(2), math.log(2.5))


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
