"""The optimum of one knob as a power of another: which runs speak to it, the joint fit, and the words."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from interplay.analysis.cells import Cell
from interplay.analysis.joint import Exponent, exponent
from interplay.analysis.next_runs import for_exponent, for_noise
from interplay.analysis.optimum import Optimum
from interplay.analysis.phrases import count, listed
from interplay.analysis.shape import probability_topless
from interplay.analysis.table import Table
from interplay.analysis.theories import SYMBOLS
from interplay.analysis.theories import along as theory_exponents
from interplay.analysis.verdict import UNLIKELY, Verdict, judge, not_asked, undecided
from interplay.study.claims import PROGRAMME, SUMS, Claim

POINTS = (-1.0, 0.0, 1.0)
"""Exponents that are tested beside the band, as points."""

OFF = 0.7
"""Share of the SD of an exponent below which what was measured is less than half of its variance."""

TOLD = 20.0
"""Nats by which one curve can tell that there are tops: it may be of cells that nothing can outweigh."""

SCHEDULE = ("schedule", "warmup_epochs")
"""Knobs that are free where the optimum is a power of what follows from the schedule."""


@dataclass(frozen=True)
class Curves:
    """The curves that speak to a power law: of each the cells, the place along the axis, and its stratum.

    Curves of one stratum differ in the axis, and in knobs that are tied to it, only.
    """

    members: tuple[tuple[Cell, ...], ...]
    along: tuple[float, ...]
    strata: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.members)


def curves(table: Table, claim: Claim) -> Curves | None:
    """All curves of one network in which ``claim.along`` varies; of several networks the one with the most curves.

    Strata (several η for an exponent of B, for instance) are pooled, none is picked. ``None`` where there are none.
    """
    derived = _derived(table, claim.along)
    free = set(SCHEDULE) if claim.along in SUMS else {claim.along, *claim.tied}
    groups: dict[Hashable, dict[Hashable, dict[Cell, list[Cell]]]] = {}
    for key, members in table.slices(claim.optimum).items():
        value = derived.get(members[0]) if claim.along in SUMS else members[0].get(claim.along)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            continue
        tied = []
        for name, power in claim.tied.items():
            other = members[0].get(name)
            if not isinstance(other, int | float) or not other > 0:
                break
            # Whole epochs are not quite proportional to the batch size: 5 %.
            digits = 6 if name == "lr" else 1.3
            tied.append(round((math.log(other) - power * math.log(value)) * (10**digits if digits > 2 else 20)))
        if len(tied) < len(claim.tied):
            continue
        # What the claim varies names no network, nor does the number of training images: it is a stratum.
        network = key.without(*free, "train_limit").network
        groups.setdefault(network, {}).setdefault((key.without(*free), tuple(tied)), {})[key] = members
    found = {network: _varied(table, claim, strata) for network, strata in groups.items()}
    with_curves = [each for each in found.values() if len(each)]
    return max(with_curves, key=_size, default=None)


def _size(found: Curves) -> tuple[int, int]:
    return len(found), sum(len(cells) for cells in found.members)


def linear_rule(table: Table) -> list[Cell]:
    """The largest grid of batch sizes and decays in which η ∝ B: set 3."""
    found = curves(table, next(claim for claim in PROGRAMME if claim.id == "batch.linear_rule"))
    if found is None:
        return []
    strata: dict[int, list[Cell]] = {}
    for cells, stratum in zip(found.members, found.strata, strict=True):
        strata.setdefault(stratum, []).extend(cell for cell in cells if cell.weight_decay > 0)
    return sorted(max(strata.values(), key=lambda cells: len(list(cells))))


def _varied(table: Table, claim: Claim, strata: Mapping[Hashable, Mapping[Cell, list[Cell]]]) -> Curves:
    derived = _derived(table, claim.along)
    members, along, numbers = [], [], []
    for number, slices in enumerate(strata.values()):
        values = {
            key: float(derived[cells[0]] if claim.along in SUMS else cells[0][claim.along])
            for key, cells in slices.items()
        }
        if len({round(math.log(value), 9) for value in values.values()}) < 2:
            continue
        for key, cells in slices.items():
            members.append(tuple(cells))
            along.append(values[key])
            numbers.append(number)
    return Curves(tuple(members), tuple(along), tuple(numbers))


def _derived(table: Table, name: str) -> dict[Cell, float]:
    if name not in SUMS:
        return {}
    values = ((run.cell, getattr(run, name)) for run in table.runs)
    return {cell: float(f"{value:.6g}") for cell, value in values if value}


def fitted(table: Table, optimum: str, found: Curves) -> tuple[list[Optimum], Exponent | None, list[int]]:
    """The optimum of each curve, the joint exponent, and the numbers of the curves that it rests on.

    Curves whose optimum may be at 0 follow no power law and are left out.
    """
    optima = [table.optimum(optimum, cells, given(cells, optimum)) for cells in found.members]
    used = [i for i, each in enumerate(optima) if each.top is not None and each.without < 0.05]
    tops = [top for i in used if (top := optima[i].top) is not None]
    if len(tops) < 2:
        return optima, None, used
    return (
        optima,
        exponent(tops, [math.log(found.along[i]) for i in used], [found.strata[i] for i in used]),
        used,
    )


def inside_of(optima: Sequence[Optimum]) -> int:
    """How many curves have their optimum inside, taken together; 0 where together they may have none.

    Either all curves have a top or none has: less of the knob is then never worse, and where each falls is no law of
    an optimum. Of single curves this is seldom clear (`Optimum.topless`), of several it is.
    """
    together = sum(max(each.topless, -TOLD) for each in optima)
    return sum(each.inside_if_any for each in optima) if probability_topless(together) < 0.05 else 0


def judged(claim: Claim, table: Table) -> Verdict:
    """The exponent of the joint fit against the band around the stated one."""
    assert claim.exponent is not None
    found = curves(table, claim)
    if found is None:
        return not_asked(claim.id, _wanted(claim))
    if not table.repeated(cell for cells in found.members for cell in cells):
        verdict = undecided(claim.id, "too few runs to tell their noise: a second seed is needed")
        return replace(verdict, plan=for_noise(table, claim, found.members))
    optima, result, used = fitted(table, claim.optimum, found)
    inside, alone = inside_of([optima[i] for i in used]), sum(optima[i].inside for i in used)
    symbol, axis = _symbol(claim.optimum), _symbol(claim.along)
    if result is None or inside == 0:
        without = sum(each.without >= 0.05 for each in optima)
        none = f"; with {symbol} = 0 as good as any at {without} of them" if without else ""
        verdict = undecided(claim.id, f"no curve has its optimum inside ({_states(optima, found, axis)}){none}")
        return replace(verdict, plan=for_exponent(table, claim, found.members, found.along, optima, None))
    band = (claim.exponent - claim.band, claim.exponent + claim.band)
    interval90, interval95 = result.interval(0.90), result.interval(0.95)
    reason = f"from {count(len(used), 'curve')} along {axis}, {inside} with the optimum inside"
    if alone < inside:
        reason += f" ({alone} of them taken singly)"
    strata = len({found.strata[i] for i in used})
    if strata > 1:
        reason += f", in {strata} groups that differ in nothing else"
    if len(used) < len(found):
        reason += f"; {len(found) - len(used)} more are as good without any"
    noise = table.noise_of(found.members[0][0])
    if noise is not None and noise.residual:
        reason += "; intervals from residuals, since nothing was repeated"
    reason += _points(claim, interval95)
    if claim.optimum == "weight_decay" and claim.along not in SUMS:
        low, high = interval95
        direction = {claim.along: 1.0, **claim.tied}
        theories = theory_exponents(direction) if set(direction) <= {"lr", "batch_size", "epochs"} else {}
        held = [name for name, value in theories.items() if low <= value <= high]
        if theories:
            reason += f"; theories within it: {listed(held)}"
    verdict = judge(claim.id, result.estimate, interval90, interval95, band, reason, p=_p(result, band))
    if verdict.verdict == "supported":
        return verdict
    # Also of what is refuted: it may not survive the correction for several claims.
    plan = for_exponent(table, claim, found.members, found.along, optima, result)
    edge = next((edge for edge in band if interval95[0] <= edge <= interval95[1]), None)
    half = (interval90[1] - interval90[0]) / 2
    if plan is None and edge is not None and verdict.verdict == "inconclusive" and half < claim.band:
        verdict = replace(
            verdict,
            reason=f"known to be {result.estimate:.2f} ± {half:.2f}, which is the edge of the band: more runs are "
            f"unlikely to decide; {reason}",
        )
    elif plan is None and verdict.verdict == "inconclusive":
        why = UNLIKELY
        if result.measured < OFF * result.sd:
            why = f"the optima lie off the law by {result.scatter:.2f} nats (SD): more seeds would not narrow the "
            why += f"interval, other values of {axis} may"
        verdict = replace(verdict, reason=f"{why}; {reason}")
    return replace(verdict, plan=plan)


def _states(optima: Sequence[Optimum], found: Curves, axis: str) -> str:
    """Where along the axis the optima are open, each value once."""
    places: dict[str, set[float]] = {}
    for each, value in zip(optima, found.along, strict=True):
        places.setdefault(each.status, set()).add(value)
    return "; ".join(f"{word} at {axis} {', '.join(f'{v:g}' for v in sorted(at))}" for word, at in places.items())


def _p(result: Exponent, band: tuple[float, float]) -> float:
    """Twice the probability of the band and what lies beyond it, seen from the estimate; 1 within the band."""
    if band[0] <= result.estimate <= band[1]:
        return 1.0
    below = result.estimate < band[0]
    return min(1.0, 2 * result.within(band[0], math.inf) if below else 2 * result.within(-math.inf, band[1]))


def _points(claim: Claim, interval: tuple[float, float]) -> str:
    assert claim.exponent is not None
    low, high = interval
    points = [p for p in dict.fromkeys((claim.exponent, *POINTS)) if abs(p - claim.exponent) <= 1]
    inside = [f"{point:g}" for point in points if low <= point <= high]
    outside = [f"{point:g}" for point in points if not low <= point <= high]
    if not outside:
        return f"; the 95 % interval holds {' and '.join(inside)}"
    holds = f" and holds {' and '.join(inside)}" if inside else ""
    return f"; the 95 % interval leaves out {' and '.join(outside)}{holds}"


def _wanted(claim: Claim) -> str:
    tied = f" with {', '.join(claim.tied)} moving along" if claim.tied else ""
    return f"{claim.optimum} varied (three values) at two values of {claim.along}{tied}"


def given(cells: Sequence[Cell], optimum: str) -> dict[str, Any]:
    """The knobs that the cells of a curve share and that a reader knows it by."""
    names = ("optimizer", "lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule")
    one = cells[0]
    told = [name for name in names if name not in one.assumed]
    shown = {name: one.get(name) for name in told if name != optimum and one.get(name) is not None}
    if shown.get("optimizer") == "sgd":
        shown.pop("optimizer")
    if one.get("warmup_epochs"):
        shown["warmup_epochs"] = one["warmup_epochs"]
    shown |= {name: value for name, value in one.own if name != optimum}
    return shown if one.get("train_limit") is None else {**shown, "train_limit": one.get("train_limit")}


def _symbol(name: str) -> str:
    return SYMBOLS.get(name, name)
