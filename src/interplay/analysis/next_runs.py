"""What to run next: the cheapest runs that are expected to decide a claim, and what interval to expect of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import ndtr

from interplay.analysis.cells import VARIED, Cell
from interplay.analysis.joint import Exponent
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.verdict import Plan
from interplay.spec import DATASETS
from interplay.study.claims import PRIMARY, SUMS, Claim

SEEDS = (1, 2, 4, 8)
"""Numbers of further seeds that are considered."""

OPEN_SHARE = 0.3
"""What a curve with an open end tells of an exponent, as a share of what one with its optimum inside tells."""

LIKELY = 0.5
"""Probability of a decision from which on runs are expected to decide; the cheapest such runs are proposed."""

HOPELESS = 0.25
"""Where a narrow interval lies across an edge and no runs decide with this probability, nothing would help."""

NARROW = 0.5
"""An interval is narrow that reaches no further than this share of the band to either side of the estimate."""

WIDE = math.log(1.7)
"""Cells of a curve further apart than this, in nats, have room for one between them."""

INTERPOLATION = 1 / 8
"""Variance of an optimum that is from interpolation and stays, however many the seeds: that of 8 of them."""

CLOSE = math.log(1.3)
"""Cells of a curve nearer than this have no room for one between them."""

DENSER = 0.5
"""What is left of the variance of an optimum after cells between those around it, as a share."""

SURE = 4.0
"""Standard errors by which a cell is surely worse than another."""

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
        known = [cell for cell in _sorted(claim.optimum, members) if cell in table.cells]
        best = max(range(len(known)), key=lambda index: table.level(known[index]), default=0)
        first = min(max(best - 1, 0), max(len(known) - 3, 0))
        cells |= dict.fromkeys(known[first : first + 3])
    if not cells:
        return None
    found = tuple(_knobs(claim, cell, curves) for cell in cells)
    return Plan(f"a second seed of {_count(len(found), 'cell')} around the best", found, 1, len(found))


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
    beyond = _beyond(table, claim, curves, optima)
    middles = [_between(table, claim, cells, each, curves) for cells, each in zip(curves, optima, strict=True)]
    between = tuple(cell for found in middles for cell in found)
    if result is None:  # first of all some optima are to be found
        found, where = (beyond, "beyond open ends") if beyond else (between, "between those around the best")
        if not found:
            return None
        return Plan(f"{_count(len(found), 'cell')} {where}", found, 0, len(found) * seeds)
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
        options.append(_Option(f"{_count(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds, sd))
    if between:
        share = sum(map(bool, middles)) / len(curves)
        sd = math.sqrt((measured * (1 - share * (1 - DENSER)) + scatter) / spread)
        words = f"{_count(len(between), 'cell')} between those around the optima"
        options.append(_Option(words, between, 0, len(between) * seeds, sd))
    tops = tuple(
        _knobs(claim, cell, curves)
        for cells, each in zip(curves, optima, strict=True)
        for cell in _top(claim, cells, each)
    )
    had = _usual_seeds(
        table, [[cell for cells, each in zip(curves, optima, strict=True) for cell in _top(claim, cells, each)]]
    )
    for more in SEEDS:
        sd = math.sqrt((measured * _left(had, more) + scatter) / spread)
        words = f"{_count(more, 'further seed')} of the {len(tops)} cells around the optima"
        options.append(_Option(words, tops, more, len(tops) * more, sd))
    for further in _further(table, claim, curves, along, result, optima):
        z = np.log([value for value, _ in further])
        size = _spread(np.append(places, z), np.append(weight, np.ones(len(z))))
        count = len(places)
        scattered = scatter * (count + 1) / (count + len(z) + 1)
        cells = tuple(cell for _, found in further for cell in found)
        at = " and ".join(f"{value:g}" for value, _ in further)
        words = f"{_count(len(cells), 'cell')} at {claim.along} {at}"
        sd = math.sqrt((measured + scattered) / size)
        options.append(_Option(words, cells, 0, len(cells) * seeds, sd))
        for more in SEEDS[:3]:
            sd = math.sqrt((measured * _left(had, more) + scattered) / size)
            both = f"{words}, and {_count(more, 'further seed')} of the {len(tops)} cells around the optima"
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
    found = tuple(_knobs(claim, cell, [cells]) for cell in cells)
    sd = (high - low) / 3.29
    options = [
        _Option(
            f"{_count(more, 'further seed')} of the {len(found)} cells near the best",
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

    ``None`` where the 90 % interval reaches no further than ``narrow`` and is not expected to be decided.
    """
    chances = {each: chance(each.sd) for each in options if each.sd < sd}
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
    beyond = _beyond(table, claim, curves, [each for _, each in flat])
    if beyond:
        return Plan(f"{_count(len(beyond), 'cell')} beyond open ends", beyond, 0, len(beyond) * seeds)
    between = tuple(cell for cells, each in flat for cell in _between(table, claim, cells, each, curves))
    middle, sd = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 3.29
    if not math.isfinite(sd):  # an end is open although the cell there is surely worse: it is the cells that are few
        found = between or tuple(
            _knobs(claim, cells[0], curves, **{claim.optimum: value}) for cells, each in flat for value in each.needed
        )
        return Plan(f"{_count(len(found), 'cell')} around the optima", found, 0, len(found) * seeds) if found else None
    tops = tuple(_knobs(claim, cell, curves) for cells, each in flat for cell in _top(claim, cells, each))
    options = []
    if between:
        words = f"{_count(len(between), 'cell')} around the optima"
        options.append(_Option(words, between, 0, len(between) * seeds, sd * math.sqrt(DENSER)))
    had = _usual_seeds(table, [[cell for cells, each in flat for cell in _top(claim, cells, each)]])
    for more in SEEDS:
        words = f"{_count(more, 'further seed')} of the {len(tops)} cells around the optima"
        options.append(_Option(words, tops, more, len(tops) * more, sd * math.sqrt(_left(had, more))))
    margin, refuted = math.log1p(claim.margin), _refuted(claim)

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


def _knobs(claim: Claim, cell: Cell, curves: Sequence[Sequence[Cell]], **changes: Any) -> dict[str, Any]:
    """The knobs that name a run beside those of its network: what claims vary, and what differs between the curves."""
    told = {name for members in curves for each in members for name in each if name not in ("dataset", "precision")}
    differ = {name for name in told if len({each.get(name) for members in curves for each in members}) > 1}
    names = dict.fromkeys((*VARIED, "train_limit", *sorted(claim.named | differ)))
    found = {name: cell.get(name) for name in names if cell.get(name) is not None}
    return {**found, **changes}


def _sorted(of: str, cells: Sequence[Cell]) -> list[Cell]:
    return sorted((cell for cell in cells if cell[of] > 0), key=lambda cell: float(cell[of]))


def _beyond(
    table: Table, claim: Claim, curves: Sequence[Sequence[Cell]], optima: Sequence[Optimum]
) -> tuple[dict[str, Any], ...]:
    """Cells beyond open ends; not where the outermost cell is surely worse than the best and far from it."""
    found = []
    for cells, each in zip(curves, optima, strict=True):
        known = [cell for cell in _sorted(claim.optimum, cells) if cell in table.cells]
        if each.without >= 0.5 or not known:
            continue
        best = max(known, key=table.level)
        for value in each.needed:
            end = known[0] if value < known[0][claim.optimum] else known[-1]
            near = abs(known.index(end) - known.index(best)) <= 1
            worse = table.level(best) - table.level(end) > SURE * math.hypot(table.error(end), table.error(best))
            if (near or not worse) and _possible(claim.optimum, value, cells[0]):
                found.append(_knobs(claim, cells[0], curves, **{claim.optimum: value}))
    return tuple(found)


def _possible(name: str, value: float, cell: Cell) -> bool:
    """Whether a run may have this value of a knob, as far as its cell tells."""
    if name in ("batch_size", "train_limit"):
        facts = DATASETS.get(str(cell.get("dataset")))
        images = math.inf if facts is None else facts.n_train - cell.get("val_split", 0)
        return 1 <= value <= (min(images, cell.get("train_limit") or images) if name == "batch_size" else images)
    if name in ("momentum", "beta2"):
        return 0 <= value < 1
    return value >= 1 if name == "epochs" else value > 0


def _top(claim: Claim, cells: Sequence[Cell], optimum: Optimum, count: int = 3) -> list[Cell]:
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
    known = [cell for cell in _sorted(claim.optimum, cells) if cell in table.cells]
    best = max(range(len(known)), key=lambda index: table.level(known[index]), default=0)
    return math.log(known[best][claim.optimum]) if 0 < best < len(known) - 1 else None


def _between(
    table: Table, claim: Claim, cells: Sequence[Cell], optimum: Optimum, curves: Sequence[Sequence[Cell]]
) -> list[dict[str, Any]]:
    """Middles between neighbours where the optimum may lie, never between equal cells.

    Those are the neighbours of the best cell where they are wide apart, and others where the interval holds most of
    what lies between them.
    """
    known = [cell for cell in _sorted(claim.optimum, cells) if cell in table.cells]
    if not known or optimum.without >= 0.5:
        return []
    best = max(range(len(known)), key=lambda index: table.level(known[index]))
    low, high = optimum.bounds()
    found = []
    for index, (left, right) in enumerate(pairwise(known)):
        ends = math.log(left[claim.optimum]), math.log(right[claim.optimum])
        gap, held = ends[1] - ends[0], min(high, ends[1]) - max(low, ends[0])
        equal = abs(table.level(left) - table.level(right)) < 1.645 * math.hypot(table.error(left), table.error(right))
        wide = best in (index, index + 1) and gap > max(WIDE, 0.5 * optimum.width)
        if not equal and (wide or (gap > CLOSE and held > 0.7 * gap)):
            found.append(_knobs(claim, left, curves, **{claim.optimum: float(f"{math.exp(sum(ends) / 2):.3g}")}))
    return found


def _further(
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
    found = []
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
            _knobs(claim, like[0], curves, **changes, **{claim.optimum: float(f"{math.exp(middle + k * step):.3g}")})
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


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
