"""Is the optimum higher with one method than with another?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interplay.analysis.cells import Cell
from interplay.analysis.next_runs import for_noise, for_ordering
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.verdict import UNLIKELY, Verdict, not_asked, undecided
from interplay.study.claims import Claim

Array = NDArray[np.float64]

METHODS = {"SGD": (False, False), "SGD+WD": (False, True), "SGDM": (True, False), "SGDM+WD": (True, True)}
"""Methods by (momentum, decay); set 1 compares three of them."""


@dataclass(frozen=True)
class Pair:
    """Curves of two methods that differ in the method only."""

    first: tuple[Cell, ...]
    second: tuple[Cell, ...]


def judged(claim: Claim, table: Table) -> Verdict:
    """The distribution of the difference of log optima, errors of interpolation included, against the margin.

    Supported: with 95 % the first is higher by more than the margin. Refuted: with 95 % it is lower by more than that,
    after Holm's correction where several claims were asked. A bound confirms as an interval does: "at least 0.32"
    against "0.07 to 0.10" is higher. The estimate is the difference of log10.
    """
    pairs = _pairs(claim, table)
    if not pairs:
        return not_asked(claim.id, f"{claim.optimum} varied (three values) with both methods, all else equal")
    members = [cell for pair in pairs for cell in (*pair.first, *pair.second)]
    if not table.repeated(members):
        verdict = undecided(claim.id, "too few runs to tell their noise: a second seed is needed")
        curves = [cells for pair in pairs for cells in (pair.first, pair.second)]
        return replace(verdict, plan=for_noise(table, claim, curves))
    optima = [
        (
            table.optimum(claim.optimum, pair.first, _given(claim.optimum, pair.first)),
            table.optimum(claim.optimum, pair.second, _given(claim.optimum, pair.second)),
        )
        for pair in pairs
    ]
    known = [index for index, pair in enumerate(optima) if all(each.status != "unknown" for each in pair)]
    pairs, optima = [pairs[index] for index in known], [optima[index] for index in known]
    if not optima:
        return undecided(claim.id, f"too few values of {claim.optimum} that did not diverge")
    gaps = _pooled([_gap(a, b) for a, b in optima])
    margin = math.log1p(claim.margin)
    low, high = (float(x) for x in np.quantile(gaps, [0.05, 0.95], method="inverted_cdf"))
    lowest, highest = (float(x) for x in np.quantile(gaps, [0.025, 0.975], method="inverted_cdf"))
    estimate = float(np.quantile(gaps, 0.5, method="inverted_cdf"))  # a mean of ±inf would be no number
    reason = "; ".join(_words(claim, a, b) for a, b in optima[:3])
    noise = table.noise_of(members[0])
    if noise is not None and noise.residual:
        reason += "; intervals from residuals, since nothing was repeated"
    p = min(1.0, float((gaps > -margin).mean()) + 1 / len(gaps))
    word: Any = "inconclusive"
    if low > margin:
        word = "supported"
    elif high < -margin:
        word = "refuted"
    elif -margin <= lowest and highest <= margin:
        reason = f"the same within {100 * claim.margin:.0f} %: more runs will not tell them apart; {reason}"
    plan = None
    # Also of what is refuted: it may not survive the correction for several claims.
    if word != "supported" and not (-margin <= lowest and highest <= margin):
        plan = for_ordering(table, claim, [(p.first, p.second) for p in pairs], optima, (low, high))
        if plan is None and word == "inconclusive" and math.isfinite(low) and math.isfinite(high):
            reason = f"{UNLIKELY}; {reason}"
    return Verdict(
        claim.id, word, _log10(estimate), (_log10(low), _log10(high)), reason, plan, p if estimate < 0 else 1.0
    )


def _gap(first: Optimum, second: Optimum) -> Array:
    """Draws of the difference; beyond a common edge nothing is known, which is half of either side."""
    a, b = first.draws, second.draws
    with np.errstate(invalid="ignore"):
        gap = a - b
    unknown = np.flatnonzero(np.isnan(gap))
    gap[unknown[::2]], gap[unknown[1::2]] = math.inf, -math.inf
    return np.asarray(gap)


def _pooled(gaps: Sequence[Array]) -> Array:
    """Draws of a common difference of several strata, weighted by what each knows; of one its own."""
    if len(gaps) == 1:
        return gaps[0]
    grid = np.linspace(-12, 12, 2401)
    log = np.zeros_like(grid)
    for gap in gaps:
        finite = np.clip(gap, -12, 12)
        # Strata scatter about a common difference: about 0.15 nats.
        density = np.histogram(finite, bins=np.append(grid - 0.005, grid[-1] + 0.005))[0] / len(gap)
        kernel = np.exp(-0.5 * (np.linspace(-1, 1, 201) / 0.15) ** 2)
        log += np.log(np.convolve(density, kernel / kernel.sum(), mode="same") + 1e-6)
    weight = np.exp(log - log.max())
    total = np.cumsum(weight) / weight.sum()
    return np.asarray(np.interp((np.arange(2000) + 0.5) / 2000, total, grid))


def _pairs(claim: Claim, table: Table) -> list[Pair]:
    """Pairs of curves that share all that neither method names, of the network with the most of them."""
    named = claim.named - {claim.optimum}
    groups: dict[Any, dict[Cell, tuple[list[list[Cell]], list[list[Cell]]]]] = {}
    for key, members in table.slices(claim.optimum).items():
        rest = key.without(*named)
        network = members[0].without(*named).network
        sides = groups.setdefault(network, {}).setdefault(rest, ([], []))
        for side, method in zip(sides, (claim.first, claim.second), strict=True):
            if _matches(members[0], method):
                side.append(members)
    found = [
        [pair for sides in strata.values() if (pair := _best_pair(claim, *sides)) is not None]
        for strata in groups.values()
    ]
    return max(found, key=lambda pairs: sum(len(p.first) + len(p.second) for p in pairs), default=[])


def _best_pair(claim: Claim, first: list[list[Cell]], second: list[list[Cell]]) -> Pair | None:
    """The longest pair of curves; where both methods leave a knob open ("positive"), they share its value."""
    open_knobs = [
        name for name in claim.first if claim.first[name] == "positive" and claim.second.get(name) == "positive"
    ]
    options = [(a, b) for a in first for b in second if all(a[0].get(name) == b[0].get(name) for name in open_knobs)]
    if not options:
        return None
    a, b = max(
        options, key=lambda pair: (len(pair[0]) + len(pair[1]), min(map(len, pair)), pair[1][0].get("momentum", 0.0))
    )
    return Pair(tuple(a), tuple(b))


def _matches(cell: Cell, method: Mapping[str, Any]) -> bool:
    if "optimizer" not in method and str(cell.get("optimizer")).startswith("adam"):
        return not ({"momentum"} & set(method))  # the methods of set 1 are all of the SGD family
    for name, wanted in method.items():
        value = cell.get(name)
        if wanted == "positive":
            if not (isinstance(value, int | float) and value > 0):
                return False
        elif isinstance(wanted, int | float) and isinstance(value, int | float):
            if not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=0.0):
                return False
        elif value != wanted:
            return False
    return True


def _given(optimum: str, cells: Sequence[Cell]) -> dict[str, Any]:
    one = cells[0]
    given: dict[str, Any] = {}
    if optimum == "lr" and str(one.get("optimizer")).startswith("sgd"):
        given["method"] = method_name(one)
    names = ("optimizer", "lr", "momentum", "weight_decay", "batch_size")
    known = {name: one.get(name) for name in names if name != optimum and one.get(name) is not None}
    if known.get("optimizer") == "sgd":
        known.pop("optimizer")
    return given | known | {name: value for name, value in one.own if name != optimum}


def method_name(cell: Cell) -> str:
    """The documented name of the method of a cell."""
    has = (cell.momentum > 0, cell.weight_decay > 0)
    return next(name for name, knobs in METHODS.items() if knobs == has)


def _words(claim: Claim, first: Optimum, second: Optimum) -> str:
    plain = f"{_name(first)} {_place(claim, first)} against {_name(second)} {_place(claim, second)}"
    m = [1 - float(each.given.get("momentum") or 0.0) for each in (first, second)]
    if claim.optimum != "lr" or m[0] == m[1]:
        return plain
    scaled = [_place(claim, each, 1 / factor) for each, factor in zip((first, second), m, strict=True)]
    return f"{plain}; in η/(1-μ) {scaled[0]} against {scaled[1]}"


def _name(optimum: Optimum) -> str:
    return str(optimum.given.get("method") or " ".join(f"{k} {v}" for k, v in optimum.given.items()))


def _place(claim: Claim, optimum: Optimum, factor: float = 1.0) -> str:
    low, high = optimum.interval
    if optimum.estimate is not None and low is not None and high is not None:
        return f"{optimum.estimate * factor:.3g} ({low * factor:.3g} to {high * factor:.3g})"
    if low is not None:
        return f"at least {low * factor:.3g}"
    return f"at most {high * factor:.3g}" if high is not None else "not bounded"


def _log10(value: float) -> float | None:
    return value / math.log(10) if math.isfinite(value) else None


# -- what figures show ------------------------------------------------------------------------------------------------


def method_groups(table: Table) -> dict[str, list[Cell]]:
    """The runs of each method of set 1 that differ in their learning rate only: the longest grid of rates of each.

    All methods have the same batch size, length, schedule, network and data: those for which there are most of them.
    """
    strata: dict[Cell, dict[tuple[float, float], list[Cell]]] = {}
    for members in table.slices("lr").values():
        one = members[0]
        if str(one.get("optimizer") or "sgd").startswith("adam"):
            continue
        strata.setdefault(one.without("lr", "momentum", "weight_decay"), {})[
            one.get("momentum", 0.0), one.get("weight_decay", 0.0)
        ] = members
    found = [_methods(groups) for groups in strata.values()]
    return max(found, key=lambda each: (len(each), sum(map(len, each.values()))), default={})


def _methods(groups: Mapping[tuple[float, float], list[Cell]]) -> dict[str, list[Cell]]:
    """By method, of runs by (momentum, decay) that differ in their rate only."""
    found: dict[str, list[Cell]] = {}
    decays = _shared_decay(groups)
    for name, (momentum, decay) in METHODS.items():
        fitting = [
            (key, members)
            for key, members in groups.items()
            if (key[0] > 0) == momentum and (key[1] in decays if decay else key[1] == 0)
        ]
        if fitting:
            found[name] = max(fitting, key=lambda item: (len(item[1]), item[0][0]))[1]
    return found


def _shared_decay(groups: Mapping[tuple[float, float], Sequence[Cell]]) -> set[float]:
    """The decay that SGD+WD and SGDM+WD share on the longest common grid of rates: set 1's."""
    longest: dict[bool, dict[float, int]] = {True: {}, False: {}}
    for (momentum, decay), members in groups.items():
        if decay > 0:
            lengths = longest[momentum > 0]
            lengths[decay] = max(lengths.get(decay, 0), len(members))
    shared = set(longest[True]) & set(longest[False])
    return {max(shared, key=lambda wd: longest[True][wd] + longest[False][wd])} if shared else set(longest[False])


def method_optimum(table: Table, members: Sequence[Cell]) -> Optimum:
    """The optimal learning rate of a method."""
    return table.optimum("lr", members, _given("lr", members), listed=False)
