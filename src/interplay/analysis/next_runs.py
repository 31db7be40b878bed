"""What to run next: the cheapest runs that are expected to decide a claim, and what interval to expect of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from interplay.analysis.cells import Cell
from interplay.analysis.joint import Exponent
from interplay.analysis.next_cells import (
    Knobs,
    between_cells,
    beyond_ends,
    by_value,
    counted,
    further_curves,
    tops_of,
)
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.verdict import Plan
from interplay.study.claims import PRIMARY, Claim

SEEDS = (1, 2, 4, 8)
"""Numbers of further seeds that are considered."""

OPEN_SHARE = 0.3
"""What a curve with an open end tells of an exponent, as a share of what one with its optimum inside tells."""

LIKELY = 0.5
"""Probability of a decision from which on runs are expected to decide; the cheapest such runs are proposed."""

HOPELESS = 0.5
"""Where a narrow interval lies across an edge and no runs decide with this probability, nothing would help."""

NARROW = 0.5
"""An interval is narrow that reaches no further than this share of the band to either side of the estimate."""

INTERPOLATION = 1 / 8
"""Variance of an optimum that is from interpolation and stays, however many the seeds: that of 8 of them."""

DENSER = 0.5
"""What is left of the variance of an optimum after cells between those around it, as a share."""

IDLE = 0.9
"""Runs that leave more than this share of an interval, and are not expected to decide, are not worth their time."""

TIMID = 0.8
"""Of several plans none of which is expected to decide, the cheapest with this share of the best one's probability."""


@dataclass(frozen=True, eq=False)
class _Option:
    words: str
    cells: tuple[dict[str, Any], ...]
    seeds: int
    runs: int
    sd: float


def for_noise(table: Table, claim: Claim, curves: Sequence[Sequence[Cell]]) -> Plan | None:
    """A second seed of the best cell of each curve and its neighbours: enough to tell the noise of all."""
    cells: dict[Cell, None] = {}
    for members in curves:
        known = [cell for cell in by_value(claim.optimum, members) if cell in table.cells]
        best = max(range(len(known)), key=lambda index: table.level(known[index]), default=0)
        first = min(max(best - 1, 0), max(len(known) - 3, 0))
        cells |= dict.fromkeys(known[first : first + 3])
    if not cells:
        return None
    knobs = Knobs(claim, curves)
    found = tuple(knobs.of(cell) for cell in cells)
    return Plan(f"a second seed of {counted(len(found), 'cell')} around the best", found, 1, len(found))


def for_exponent(
    table: Table,
    claim: Claim,
    curves: Sequence[Sequence[Cell]],
    along: Sequence[float],
    optima: Sequence[Optimum],
    result: Exponent | None,
) -> Plan | None:
    """Cells beyond open ends or around the tops, further seeds there, or further curves; ``None`` where none would do.

    The variance of an exponent is (v + s) / Σ(z - z̄)², with v what measurement contributes to an optimum, falling with
    the number of seeds and of cells, and s the scatter of optima about the law, which only further curves average out.
    """
    seeds = _usual_seeds(table, curves)
    beyond, knobs = beyond_ends(table, claim, curves, optima), Knobs(claim, curves)
    middles = [between_cells(table, claim, cells, each, knobs) for cells, each in zip(curves, optima, strict=True)]
    between = tuple(cell for found in middles for cell in found)
    if result is None:  # first of all some optima are to be found
        found, where = (beyond, "beyond open ends") if beyond else (between, "between those around the best")
        if not found:
            return None
        return Plan(f"{counted(len(found), 'cell')} {where}", found, 0, len(found) * seeds)
    assert claim.exponent is not None
    places = np.log(np.asarray(along))
    weight = np.array([1.0 if each.inside else OPEN_SHARE for each in optima])
    spread = _spread(places, weight)
    measured, total = result.measured**2 * spread, max(result.sd**2, 1e-12) * spread
    scatter = max(total - measured, 0.0)
    options = []
    if beyond:
        closed = np.array([1.0 if each.inside or each.needed else OPEN_SHARE for each in optima])
        sd = math.sqrt((measured + scatter) / _spread(places, closed))
        options.append(_Option(f"{counted(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds, sd))
    if between:
        share = sum(map(bool, middles)) / len(curves)
        sd = math.sqrt((measured * (1 - share * (1 - DENSER)) + scatter) / spread)
        words = f"{counted(len(between), 'cell')} between those around the optima"
        options.append(_Option(words, between, 0, len(between) * seeds, sd))
    tops = tuple(
        knobs.of(cell) for cells, each in zip(curves, optima, strict=True) for cell in tops_of(claim, cells, each)
    )
    had = _usual_seeds(
        table, [[cell for cells, each in zip(curves, optima, strict=True) for cell in tops_of(claim, cells, each)]]
    )
    for more in SEEDS:
        sd = math.sqrt((measured * _left(had, more) + scatter) / spread)
        words = f"{counted(more, 'further seed')} of the {len(tops)} cells around the optima"
        options.append(_Option(words, tops, more, len(tops) * more, sd))
    for further in further_curves(table, claim, curves, along, result, optima):
        z = np.log([value for value, _ in further])
        size = _spread(np.append(places, z), np.append(weight, np.ones(len(z))))
        count = len(places)
        scattered = scatter * (count + 1) / (count + len(z) + 1)
        cells = tuple(cell for _, found in further for cell in found)
        at = " and ".join(f"{value:g}" for value, _ in further)
        words = f"{counted(len(cells), 'cell')} at {claim.along} {at}"
        sd = math.sqrt((measured + scattered) / size)
        options.append(_Option(words, cells, 0, len(cells) * seeds, sd))
        for more in SEEDS[:3]:
            sd = math.sqrt((measured * _left(had, more) + scattered) / size)
            both = f"{words}, and {counted(more, 'further seed')} of the {len(tops)} cells around the optima"
            runs = len(cells) * (seeds + more) + len(tops) * more
            options.append(_Option(both, (*cells, *tops), more, runs, sd))
    chance = _in_band(claim, result.estimate, result.sd, (claim.exponent - claim.band, claim.exponent + claim.band))
    return _chosen(options, result.estimate, result.sd, chance, NARROW * claim.band)


def for_plane(
    table: Table, claim: Claim, cells: Sequence[Cell], verdict: tuple[float, float], band: tuple[float, float]
) -> Plan | None:
    """Further seeds of the cells of a plane; ``verdict`` is the 90 % interval of what is asked of it."""
    low, high = verdict
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    seeds = _usual_seeds(table, [cells])
    knobs = Knobs(claim, [cells])
    found = tuple(knobs.of(cell) for cell in cells)
    sd = (high - low) / 3.29
    options = [
        _Option(
            f"{counted(more, 'further seed')} of the {len(found)} cells near the best",
            found,
            more,
            len(found) * more,
            sd * math.sqrt(seeds / (seeds + more)),
        )
        for more in SEEDS
    ]
    narrow = NARROW * (min(band[1] - band[0], 2 * claim.band) / 2)
    return _chosen(options, (low + high) / 2, sd, _in_band(claim, (low + high) / 2, sd, band), narrow)


Chance = Callable[[float], float]
"""Probability that an estimate decides once its SD is so small.

The estimate moves meanwhile: normally, with the variance that it loses.
"""


def _moved(estimate: float, sd: float, after: float, value: float) -> float:
    """Probability that the estimate is then below ``value``."""
    if not math.isfinite(value):
        return float(value > 0)
    return float(ndtr((value - estimate) / math.sqrt(max(sd**2 - after**2, 1e-12))))


def _in_band(claim: Claim, estimate: float, sd: float, band: tuple[float, float]) -> Chance:
    """That it is inside the band with 90 %, or outside it with 95 %."""
    refuted = _refuted(claim)

    def chance(after: float) -> float:
        low, high = band
        edges = (high - 1.645 * after, low + 1.645 * after, low - refuted * after, high + refuted * after)
        below = [_moved(estimate, sd, after, edge) for edge in edges]
        return max(below[0] - below[1], 0.0) + below[2] + 1 - below[3]

    return chance


def _refuted(claim: Claim) -> float:
    """Standard errors that a refutation takes; some more where Holm's correction runs over several claims."""
    return 2.4 if claim.id in PRIMARY else 1.96


def _chosen(options: Sequence[_Option], estimate: float, sd: float, chance: Chance, narrow: float) -> Plan | None:
    """The cheapest option that is expected to decide; of others the best, or one nearly as good that costs less.

    ``None`` where the 90 % interval reaches no further than ``narrow`` and is not expected to be decided, and where it
    would stay nearly as wide.
    """
    chances = {each: chance(each.sd) for each in options if each.sd < sd}
    chances = {each: found for each, found in chances.items() if found >= LIKELY or each.sd <= IDLE * sd}
    best = max(chances.values(), default=0.0)
    if not chances or (best < HOPELESS and 1.645 * sd <= narrow):
        return None
    chosen = min(
        (each for each, found in chances.items() if found >= min(LIKELY, TIMID * best)), key=lambda each: each.runs
    )
    half = 1.645 * chosen.sd
    return Plan(chosen.words, chosen.cells, chosen.seeds, chosen.runs, (estimate - half, estimate + half))


def for_ordering(
    table: Table,
    claim: Claim,
    pairs: Sequence[tuple[Sequence[Cell], Sequence[Cell]]],
    optima: Sequence[tuple[Optimum, Optimum]],
    interval: tuple[float, float],
) -> Plan | None:
    """Cells beyond open ends; or cells between unequal neighbours of a top; or further seeds at the tops."""
    curves = [cells for pair in pairs for cells in pair]
    flat = list(zip(curves, [each for both in optima for each in both], strict=True))
    seeds = _usual_seeds(table, curves)
    beyond = beyond_ends(table, claim, curves, [each for _, each in flat])
    if beyond:
        return Plan(f"{counted(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds)
    knobs = Knobs(claim, curves)
    between = tuple(cell for cells, each in flat for cell in between_cells(table, claim, cells, each, knobs))
    middle, sd = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 3.29
    if not math.isfinite(sd):  # an end is open although the cell there is surely worse: it is the cells that are few
        found = between or tuple(
            knobs.of(cells[0], **{claim.optimum: value}) for cells, each in flat for value in each.needed
        )
        return Plan(f"{counted(len(found), 'cell')} around the optima", found, 0, len(found) * seeds) if found else None
    tops = tuple(knobs.of(cell) for cells, each in flat for cell in tops_of(claim, cells, each))
    options = []
    if between:
        words = f"{counted(len(between), 'cell')} around the optima"
        options.append(_Option(words, between, 0, len(between) * seeds, sd * math.sqrt(DENSER)))
    had = _usual_seeds(table, [[cell for cells, each in flat for cell in tops_of(claim, cells, each)]])
    for more in SEEDS:
        words = f"{counted(more, 'further seed')} of the {len(tops)} cells around the optima"
        options.append(_Option(words, tops, more, len(tops) * more, sd * math.sqrt(_left(had, more))))
    # One side of 95 %, and of 97.5 % where Holm's correction runs over two orderings.
    margin, refuted = math.log1p(claim.margin), 1.96 if claim.id in PRIMARY else 1.645

    def chance(after: float) -> float:
        above = 1 - _moved(middle, sd, after, margin + 1.645 * after)
        return above + _moved(middle, sd, after, -margin - refuted * after)

    plan = _chosen(options, middle, sd, chance, 2 * margin)
    if plan is None or plan.interval is None:
        return None
    ends = (plan.interval[0] / math.log(10), plan.interval[1] / math.log(10))
    return replace(plan, interval=ends)


def _left(seeds: int, more: int) -> float:
    """Share of the variance of an optimum that ``more`` seeds leave."""
    return (INTERPOLATION + 1 / (seeds + more)) / (INTERPOLATION + 1 / seeds)


def _usual_seeds(table: Table, curves: Sequence[Sequence[Cell]]) -> int:
    counts = [len(table.cells[cell]) for cells in curves for cell in cells if cell in table.cells]
    return max(round(float(np.median(counts))), 1) if counts else 1


def _spread(z: Any, weight: Any) -> float:
    """Σ w (z - z̄)², at least a little."""
    mean = float((weight * z).sum() / weight.sum())
    return max(float((weight * (z - mean) ** 2).sum()), 1e-6)
