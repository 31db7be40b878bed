"""What to run next: the cheapest runs that are expected to decide a claim, and what interval to expect of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interplay.analysis.cells import VARIED, Cell
from interplay.analysis.joint import Exponent
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.verdict import Plan
from interplay.study.claims import SUMS, Claim

SEEDS = (1, 2, 4, 8)
"""Numbers of further seeds that are considered."""

OPEN_SHARE = 0.3
"""What a curve with an open end tells of an exponent, as a share of what one with its optimum inside tells."""

HOPELESS = 1.6
"""A plan is given up where the interval that it leaves is wider than so many times what would decide."""


@dataclass(frozen=True)
class _Option:
    words: str
    cells: tuple[dict[str, Any], ...]
    seeds: int
    runs: int
    sd: float


def for_exponent(
    table: Table,
    claim: Claim,
    curves: Sequence[Sequence[Cell]],
    along: Sequence[float],
    optima: Sequence[Optimum],
    result: Exponent | None,
) -> Plan | None:
    """Cells beyond open ends, further seeds at the tops, or a further curve; ``None`` where none of them would do.

    The variance of an exponent is (v + s) / Σ(z - z̄)², with v what measurement contributes to an optimum, falling with
    the number of seeds, and s the scatter of optima about the law, which only further curves average out.
    """
    seeds = _usual_seeds(table, curves)
    beyond = _beyond(claim, curves, optima)
    if result is None:
        if not beyond:
            return None
        return Plan(f"{_count(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds)
    assert claim.exponent is not None
    places = np.log(np.asarray(along))
    weight = np.array([1.0 if each.inside else OPEN_SHARE for each in optima])
    spread = _spread(places, weight)
    measured, total = result.measured**2 * spread, max(result.sd**2, 1e-12) * spread
    scatter = max(total - measured, 0.0)
    needed = _needed(claim, result)
    options = []
    if beyond:
        closed = np.array([1.0 if each.inside or each.needed else OPEN_SHARE for each in optima])
        sd = math.sqrt((measured + scatter) / _spread(places, closed))
        options.append(_Option(f"{_count(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds, sd))
    tops = tuple(_knobs(cell) for cells, each in zip(curves, optima, strict=True) for cell in _top(claim, cells, each))
    for more in SEEDS if claim.along not in SUMS else ():
        sd = math.sqrt((measured * seeds / (seeds + more) + scatter) / spread)
        words = f"{_count(more, 'further seed')} of the {len(tops)} cells around the optima"
        options.append(_Option(words, tops, more, len(tops) * more, sd))
    for further in _further(claim, curves, along, result, optima):
        z = np.log([value for value, _ in further])
        size = _spread(np.append(places, z), np.append(weight, np.ones(len(z))))
        count = len(places)
        sd = math.sqrt((measured + scatter * (count + 1) / (count + len(z) + 1)) / size)
        cells = tuple(cell for _, found in further for cell in found)
        at = " and ".join(f"{value:.3g}" for value, _ in further)
        for more in (0, *SEEDS[:3]):
            extra = tops if more else ()
            both = math.sqrt(max(sd**2 - measured / size + measured / size * seeds / (seeds + more), 0.0))
            words = f"{_count(len(cells), 'cell')} at {claim.along} {at}"
            if more:
                words += f", and {_count(more, 'further seed')} of the {len(tops)} cells around the optima"
                options.append(
                    _Option(words, (*cells, *extra), more, len(cells) * (seeds + more) + len(tops) * more, both)
                )
            else:
                options.append(_Option(words, cells, 0, len(cells) * seeds, both))
    return _chosen(options, needed, result.estimate)


def _needed(claim: Claim, result: Exponent) -> float:
    """The SD at which the estimate, if it stays, decides: inside the band with 90 %, outside it with 95 %."""
    assert claim.exponent is not None
    distance = abs(abs(result.estimate - claim.exponent) - claim.band)
    inside = abs(result.estimate - claim.exponent) < claim.band
    return distance / (1.645 if inside else 1.96)


def _chosen(options: Sequence[_Option], needed: float, estimate: float) -> Plan | None:
    if not options:
        return None
    enough = [each for each in options if each.sd <= 0.9 * needed]
    best = min(enough or options, key=lambda each: (0.0 if enough else each.sd, each.runs))
    if best.sd > HOPELESS * needed:
        return None
    half = 1.645 * best.sd
    return Plan(best.words, best.cells, best.seeds, best.runs, (estimate - half, estimate + half))


def for_ordering(
    table: Table,
    claim: Claim,
    pairs: Sequence[tuple[Sequence[Cell], Sequence[Cell]]],
    optima: Sequence[tuple[Optimum, Optimum]],
    interval: tuple[float, float],
) -> Plan | None:
    """Cells beyond open ends; or cells between unequal neighbours of a top; or further seeds at the tops."""
    flat = [
        (cells, each) for pair, both in zip(pairs, optima, strict=True) for cells, each in zip(pair, both, strict=True)
    ]
    seeds = _usual_seeds(table, [cells for cells, _ in flat])
    beyond = _beyond(claim, [cells for cells, _ in flat], [each for _, each in flat])
    if beyond:
        return Plan(f"{_count(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds)
    between = tuple(cell for cells, each in flat for cell in _between(table, claim, cells, each))
    if between:
        return Plan(f"{_count(len(between), 'cell')} around the optima", between, 0, len(between) * seeds)
    margin = math.log1p(claim.margin)
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    if not math.isfinite(half):
        return None
    distance = max(middle - margin, -margin - middle)
    tops = tuple(_knobs(cell) for cells, each in flat for cell in _top(claim, cells, each))
    for more in SEEDS:
        expected = half * math.sqrt(seeds / (seeds + more))
        if expected < distance:
            ends = ((middle - expected) / math.log(10), (middle + expected) / math.log(10))
            words = f"{_count(more, 'further seed')} of the {len(tops)} cells around the optima"
            return Plan(words, tops, more, len(tops) * more, ends)
    return None


def _usual_seeds(table: Table, curves: Sequence[Sequence[Cell]]) -> int:
    counts = [len(table.cells[cell]) for cells in curves for cell in cells if cell in table.cells]
    return max(round(float(np.median(counts))), 1) if counts else 1


def _spread(z: Any, weight: Any) -> float:
    """Σ w (z - z̄)², at least a little."""
    mean = float((weight * z).sum() / weight.sum())
    return max(float((weight * (z - mean) ** 2).sum()), 1e-6)


def _knobs(cell: Cell, **changes: Any) -> dict[str, Any]:
    """The knobs that claims vary, and the number of images: enough to name a run beside those of its network."""
    names = [*VARIED, *(name for name in ("train_limit",) if cell.get(name) is not None)]
    found = {name: cell.get(name) for name in names if cell.get(name) is not None}
    return {**found, **changes}


def _beyond(claim: Claim, curves: Sequence[Sequence[Cell]], optima: Sequence[Optimum]) -> tuple[dict[str, Any], ...]:
    return tuple(
        _knobs(cells[0], **{claim.optimum: value})
        for cells, each in zip(curves, optima, strict=True)
        for value in each.needed
        if each.without < 0.5
    )


def _top(claim: Claim, cells: Sequence[Cell], optimum: Optimum, count: int = 3) -> list[Cell]:
    """The cells nearest to the optimum, or to the best end that is known of it."""
    low, high = optimum.bounds()
    place = math.log(optimum.estimate) if optimum.estimate else low if math.isfinite(low) else high
    positive = [cell for cell in cells if cell[claim.optimum] > 0]
    if not math.isfinite(place):
        place = float(np.mean([math.log(cell[claim.optimum]) for cell in positive]))
    return sorted(positive, key=lambda cell: abs(math.log(cell[claim.optimum]) - place))[:count]


def _between(table: Table, claim: Claim, cells: Sequence[Cell], optimum: Optimum) -> list[dict[str, Any]]:
    """Middles between the best cell and its neighbours where they are wide apart, never between equal cells."""
    known = sorted(
        (cell for cell in cells if cell in table.cells and cell[claim.optimum] > 0), key=lambda c: c[claim.optimum]
    )
    best = max(range(len(known)), key=lambda index: table.level(known[index]))
    found = []
    for side in (best - 1, best + 1):
        if not 0 <= side < len(known):
            continue
        gap = abs(math.log(known[side][claim.optimum] / known[best][claim.optimum]))
        error = math.hypot(table.error(known[side]), table.error(known[best]))
        equal = table.level(known[best]) - table.level(known[side]) < 1.645 * error
        if gap > math.log(1.9) and not equal and gap > 0.5 * optimum.width:
            middle = math.sqrt(known[side][claim.optimum] * known[best][claim.optimum])
            found.append(_knobs(known[best], **{claim.optimum: float(f"{middle:.3g}")}))
    return found


def _further(
    claim: Claim,
    curves: Sequence[Sequence[Cell]],
    along: Sequence[float],
    result: Exponent,
    optima: Sequence[Optimum],
) -> list[list[tuple[float, list[dict[str, Any]]]]]:
    """One curve more below, one above, and both: each as its value of the axis and five cells around the law."""
    if claim.along in SUMS or claim.along in ("momentum", "train_limit"):
        return []
    inside = [(z, math.log(each.estimate)) for z, each in zip(np.log(along), optima, strict=True) if each.estimate]
    known = sorted({value for value, each in zip(along, optima, strict=True) if each.estimate})
    if len(known) < 2:
        return []
    centre = np.mean(inside, axis=0)
    found = []
    for edge, ratio in ((known[0], known[0] / known[1]), (known[-1], known[-1] / known[-2])):
        value = edge * ratio
        value = round(value) if claim.along in ("batch_size", "epochs") else float(f"{value:.3g}")
        # Where a curve beyond was measured and has no optimum inside, another one there would have none either.
        if not value > 0 or any((other > edge) == (ratio > 1) and other != edge for other in along):
            continue
        like = curves[max(range(len(along)), key=lambda index: (along[index] == edge, len(curves[index])))]
        step = _step(claim, like)
        middle = centre[1] + result.estimate * (math.log(value) - centre[0])
        changes: dict[str, Any] = {claim.along: value}
        for name, power in claim.tied.items():
            tied = like[0][name] * (value / edge) ** power
            changes[name] = round(tied) if name in ("epochs", "batch_size") else float(f"{tied:.7g}")
        cells = [
            _knobs(like[0], **changes, **{claim.optimum: float(f"{math.exp(middle + k * step):.3g}")})
            for k in (-2, -1, 0, 1, 2)
        ]
        found.append((value, cells))
    return [[each] for each in found] + ([found] if len(found) == 2 else [])


def _step(claim: Claim, cells: Sequence[Cell]) -> float:
    values = sorted({math.log(cell[claim.optimum]) for cell in cells if cell[claim.optimum] > 0})
    return float(np.median(np.diff(values))) if len(values) > 1 else math.log(2)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
