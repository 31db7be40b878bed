"""The claims of the programme, each put to the measurements that can speak to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.exponents import Exponents, fit
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.theories import along as theory_exponents
from interplay.analysis.verdict import BAND, Verdict, judge, undecided

MIN_OPTIMA = 3
"""Interior optima below which no exponent is concluded."""

NO_REPETITIONS = "no repetitions, so no intervals: a second seed is needed"

SGD = ("sgd", "sgdw", "sgds")
"""Optimisers of the SGD family."""

METHODS = {"SGD": (False, False), "SGD+WD": (False, True), "SGDM": (True, False), "SGDM+WD": (True, True)}
"""Methods by (momentum, decay); set 1 compares three of them."""


def ordering(table: Table) -> list[Verdict]:
    """Set 1: is η* of SGD above that of SGD+WD, and that above the one of SGDM+WD?

    Each inequality is a verdict on the difference of log η*. A censored optimum bounds the difference on one side and
    can refute the claim, never confirm it. The estimate is the difference of log10 η*; the reason gives η/(1-μ) too.
    """
    groups = method_groups(table)
    optima = {name: method_optimum(table, name, members) for name, members in groups.items()}

    def above(claim: str, first: str, second: str) -> Verdict:
        if first not in groups or second not in groups:
            return undecided(claim, "the learning rate was not varied for both methods")
        if not (table.repeated(groups[first]) and table.repeated(groups[second])):
            return undecided(claim, NO_REPETITIONS)
        verdict = _above(claim, optima[first], optima[second])
        shared = _common([*groups[first], *groups[second]])
        return replace(verdict, needed=tuple({**shared, **cell} for cell in verdict.needed))

    return [
        above("ordering.sgd>sgd_wd", "SGD", "SGD+WD"),
        above("ordering.sgd_wd>sgdm_wd", "SGD+WD", "SGDM+WD"),
    ]


def method_groups(table: Table) -> dict[str, list[Cell]]:
    """The runs of each method that differ in their learning rate only: the longest grid of rates of each.

    All methods have the same batch size, length, schedule, network and data: those for which there are most of them.
    """
    strata: dict[tuple[Any, ...], dict[tuple[float, float], list[Cell]]] = {}
    for s in table.all_cells():
        if s["optimizer"] not in SGD:
            continue  # the methods of set 1 are all of the SGD family
        place = strata.setdefault((s.batch_size, s.epochs, s.schedule, s.network), {})
        place.setdefault((s.momentum, s.weight_decay), []).append(s)
    found = [_methods(groups) for groups in strata.values()]
    return max(found, key=lambda each: (len(each), sum(map(len, each.values()))), default={})


def _methods(groups: Mapping[tuple[float, float], list[Cell]]) -> dict[str, list[Cell]]:
    """By method, of runs by (momentum, decay) that differ in their rate only."""
    found: dict[str, list[Cell]] = {}
    decays = _ordering_decays(groups)
    for name, (momentum, decay) in METHODS.items():
        fitting = [
            (key, members)
            for key, members in groups.items()
            if (key[0] > 0) == momentum and (key[1] in decays if decay else key[1] == 0) and len(members) >= 3
        ]
        if fitting:
            found[name] = max(fitting, key=lambda item: (len(item[1]), item[0][0]))[1]
    return found


def method_optimum(table: Table, name: str, members: Sequence[Cell]) -> Optimum:
    """The optimal learning rate of a method."""
    one = members[0]
    return table.optimum("lr", members, {"method": name, "momentum": one.momentum, "weight_decay": one.weight_decay})


def _ordering_decays(groups: Mapping[tuple[float, float], Sequence[Cell]]) -> set[float]:
    """The decay that SGD+WD and SGDM+WD share on the longest common grid of rates: set 1's."""
    longest: dict[bool, dict[float, int]] = {True: {}, False: {}}
    for (momentum, decay), members in groups.items():
        if decay > 0:
            lengths = longest[momentum > 0]
            lengths[decay] = max(lengths.get(decay, 0), len(members))
    shared = set(longest[True]) & set(longest[False])
    return {max(shared, key=lambda wd: longest[True][wd] + longest[False][wd])} if shared else set(longest[False])


def _above(claim: str, first: Optimum, second: Optimum) -> Verdict:
    scaled = _scaled_words(first, second)
    if first.status == second.status == "interior":
        return _interior(claim, first, second, scaled)
    words = f"{first.given['method']} {_words(first)}, {second.given['method']} {_words(second)}; {scaled}"
    if "unknown" in (first.status, second.status):
        return undecided(claim, f"too few learning rates: {words}")
    with np.errstate(invalid="ignore"):
        gap = first.draws - second.draws
    gap = np.where(np.isnan(gap), math.inf, gap)  # both beyond the same edge: nothing is known, which refutes nothing
    upper = float(np.quantile(gap, 0.975, method="inverted_cdf"))
    if upper < 0:
        p = 2 * float((gap >= 0).mean() + 1 / len(gap))
        reason = f"bounds of optima that are not all interior: {words}"
        return Verdict(
            claim, "refuted", None, (None, _log10(float(np.quantile(gap, 0.95, method="inverted_cdf")))), reason, (), p
        )
    needed = tuple({"lr": x, **_knobs(o.given)} for o in (first, second) for x in o.needed)
    return undecided(claim, f"an optimum that carries the sign is not interior: {words}", needed)


def _interior(claim: str, first: Optimum, second: Optimum, scaled: str) -> Verdict:
    gap = (first.draws - second.draws)[np.isfinite(first.draws) & np.isfinite(second.draws)] / math.log(10)
    estimate = math.log10((first.estimate or 1.0) / (second.estimate or 1.0))
    q = [float(x) for x in np.quantile(gap, [0.05, 0.95, 0.025, 0.975])]
    # The band of an inequality is everything above zero; zero itself belongs to neither side.
    p = min(1.0, 2 * float((gap > 0).mean() + 1 / len(gap)))
    return judge(
        claim, estimate, (q[0], q[1]), (q[2], q[3]), (1e-9, math.inf), f"difference of log10 η*, {scaled}", p=p
    )


def _scaled_words(first: Optimum, second: Optimum) -> str:
    parts = []
    for o in (first, second):
        m = 1 - o.given["momentum"]
        parts.append(f"{o.given['method']} {_words(o)} (η/(1-μ) = {_words(o, 1 / m)})" if m < 1 else "")
    return " ".join(filter(None, parts)) or "η/(1-μ) is η here"


def _words(optimum: Optimum, factor: float = 1.0) -> str:
    if optimum.estimate is not None:
        return f"η* = {optimum.estimate * factor:.3g}"
    low, high = optimum.interval
    left = f"{low * factor:.3g}" if low else "below the grid"
    right = f"{high * factor:.3g}" if high else "above the grid"
    return f"{optimum.status} between {left} and {right}"


def _log10(value: float) -> float | None:
    return value / math.log(10) if math.isfinite(value) else None


def _knobs(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "method"}


def exponent_claim(
    claim: str,
    table: Table,
    settings: Sequence[Cell],
    along: Callable[[Cell], float],
    name: str,
    predicted: float,
    varies: str,
    direction: Mapping[str, float] | None = None,
) -> Verdict:
    """λ* as a power of one thing: the exponent against the band around its prediction.

    Args:
        claim: its identifier.
        table: cells and noise.
        settings: the runs that speak to it; they differ in weight decay and in what ``along`` gives.
        along: what λ* is to be a power of.
        name: the knob that ``along`` stands for, under which optima are reported.
        predicted: the exponent that the claim states.
        varies: for the reason.
        direction: the axes that change along it, to name the theories whose exponent lies in the 95 % interval.
    """
    # Two schedules may have the same sum of rates; their runs are no repetitions of each other.
    groups: dict[tuple[float, str], list[Cell]] = {}
    for s in settings:
        groups.setdefault((along(s), s.schedule), []).append(s)
    groups = {key: each for key, each in groups.items() if len({s.weight_decay for s in each if s.weight_decay}) >= 3}
    if len({value for value, _ in groups}) < 2:
        return undecided(claim, f"weight decay was not varied at two or more values of {varies}")
    optima = {
        key: table.optimum("weight_decay", members, {name: key[0], **_common(members)})
        for key, members in sorted(groups.items())
    }
    if not table.repeated(s for members in groups.values() for s in members):
        return undecided(claim, NO_REPETITIONS)
    needed = tuple({"weight_decay": x, **_common(groups[key])} for key, o in optima.items() for x in o.needed)
    interior = [o for o in optima.values() if o.status == "interior"]
    if len(interior) < MIN_OPTIMA:
        states = ", ".join(f"{o.status} at {value:g}" for (value, _), o in optima.items())
        return undecided(claim, f"fewer than {MIN_OPTIMA} interior optima ({states})", needed)
    found = fit(list(optima.values()), [[math.log(value)] for value, _ in optima])
    if found is None:
        return undecided(claim, "the optima do not determine an exponent", needed)
    wide = _widest_open(optima.values())
    values = [value for value, _ in optima]
    shift = abs(predicted) * (math.log(max(values)) - math.log(min(values)))
    verdict = judge(
        claim,
        float(found.estimate[0]),
        found.interval(0.90),
        found.interval(0.95),
        (predicted - BAND, predicted + BAND),
        _fit_words(found, varies, predicted) + _theory_words(found, direction),
        p=_p_outside(found, (predicted - BAND, predicted + BAND)),
        needed=needed,
    )
    if verdict.verdict != "inconclusive" and wide > shift:
        reason = f"{verdict.reason}; a plateau is wider than the shift that is claimed"
        return replace(verdict, verdict="inconclusive", reason=reason, needed=needed, p=1.0)
    return verdict


def _fit_words(found: Exponents, varies: str, predicted: float) -> str:
    sen = f", Theil-Sen {found.theil_sen:.2f}" if found.theil_sen is not None else ""
    value = f"exponent of {varies} {found.estimate[0]:.2f}"
    return f"{value} from {found.interior} interior optima{sen}, claimed {predicted:g}"


def _theory_words(found: Exponents, direction: Mapping[str, float] | None) -> str:
    if direction is None:
        return ""
    low, high = found.interval(0.95)
    held = [name for name, exponent in theory_exponents(direction).items() if low <= exponent <= high]
    return f"; theories within the 95 % interval: {', '.join(held) or 'none'}"


def _p_outside(found: Exponents, band: tuple[float, float]) -> float:
    from scipy import stats

    value, error = float(found.estimate[0]), float(found.error[0])
    gap = max(band[0] - value, value - band[1], 0.0)
    return 2 * float(stats.t.sf(gap / error, found.free)) if gap else 1.0


def _widest_open(optima: Iterable[Optimum]) -> float:
    # A plateau whose best cell happens to be on the edge of the grid is called censored.
    return max((o.width for o in optima if o.status in ("plateau", "censored")), default=0.0)


def _common(members: Sequence[Cell]) -> dict[str, Any]:
    """Knobs other than weight decay that all ``members`` share."""
    names = ("lr", "momentum", "batch_size", "epochs", "schedule")
    return {name: getattr(members[0], name) for name in names if len({getattr(s, name) for s in members}) == 1}
