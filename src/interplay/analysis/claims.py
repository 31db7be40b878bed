"""The claims of the programme, each put to the measurements that can speak to it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interplay.analysis.exponents import Exponents, fit
from interplay.analysis.noise import Noise
from interplay.analysis.observations import Observations, Setting
from interplay.analysis.optimum import Optimum, curve_of, locate
from interplay.analysis.theories import along as theory_exponents
from interplay.analysis.verdict import BAND, Verdict, judge, undecided

MIN_OPTIMA = 3
"""Interior optima below which no exponent is concluded."""

METHODS = {"SGD": (False, False), "SGD+WD": (False, True), "SGDM": (True, False), "SGDM+WD": (True, True)}
"""Methods by (momentum, decay); set 1 compares three of them."""


class Table:
    """Cells of all runs with the noise model, and the optima that are asked of it."""

    def __init__(self, observations: Observations, noise: Noise | None, repetitions: int, seed: int = 0) -> None:
        self.runs = observations.runs
        self.metric = observations.metric
        self.cells = observations.cells()
        self.diverged = observations.diverged()
        self.sign, self.noise, self.repetitions = observations.sign, noise, repetitions
        self._seed = seed
        self.optima: list[Optimum] = []

    def settings(self) -> list[Setting]:
        """All settings, those that diverged included, in one order, so that ties are always broken the same way."""
        return sorted(set(self.cells) | self.diverged)

    def optimum(self, of: str, settings: Iterable[Setting], given: dict[str, Any], *, listed: bool = True) -> Optimum:
        """The optimum along knob ``of`` over ``settings`` that differ in nothing else; ``listed`` among the results.

        Raises:
            ValueError: they do differ in something else.
        """
        chosen = list(settings)
        if len({getattr(s, of) for s in chosen}) < len(set(chosen)):
            raise ValueError(f"settings with the same {of} differ in something else: their runs are no repetitions")
        values: dict[float, Sequence[float]] = {getattr(s, of): self.cells[s] for s in chosen if s in self.cells}
        lost = [getattr(s, of) for s in chosen if s not in self.cells]
        curve = curve_of(values, lost, self.sign)
        # A stream of its own for each question: one more optimum must not change the draws of the others.
        words = [self._seed, *(zlib.crc32(str(item).encode()) for item in sorted(given.items()))]
        found = locate(curve, self.noise, np.random.default_rng(words), of, given)
        if listed:
            self.optima.append(found)
        return found


def ordering(table: Table) -> list[Verdict]:
    """Set 1: is η* of SGD above that of SGD+WD, and that above the one of SGDM+WD?

    Each inequality is a verdict on the difference of log η*. A censored optimum bounds the difference on one side and
    can refute the claim, never confirm it. The estimate is the difference of log10 η*; the reason gives η/(1-μ) too.
    """
    optima = {name: method_optimum(table, name, members) for name, members in method_groups(table).items()}
    return [
        _above("ordering.sgd>sgd_wd", optima.get("SGD"), optima.get("SGD+WD"), table),
        _above("ordering.sgd_wd>sgdm_wd", optima.get("SGD+WD"), optima.get("SGDM+WD"), table),
    ]


def method_groups(table: Table) -> dict[str, list[Setting]]:
    """The runs of each method that differ in their learning rate only: the longest grid of rates of each."""
    groups: dict[tuple[Any, ...], list[Setting]] = {}
    for s in table.settings():
        if "optimizer=adam" in s.rest:
            continue  # the methods of set 1 are all of the SGD family
        groups.setdefault((s.momentum, s.weight_decay, s.batch_size, s.epochs, s.schedule, s.rest), []).append(s)
    found: dict[str, list[Setting]] = {}
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


def method_optimum(table: Table, name: str, members: Sequence[Setting]) -> Optimum:
    """The optimal learning rate of a method."""
    one = members[0]
    return table.optimum("lr", members, {"method": name, "momentum": one.momentum, "weight_decay": one.weight_decay})


def _ordering_decays(groups: dict[tuple[Any, ...], list[Setting]]) -> set[float]:
    """The decay that SGD+WD and SGDM+WD share on the longest common grid of rates: set 1's."""
    with_momentum = {key[1]: len(members) for key, members in groups.items() if key[0] > 0 and key[1] > 0}
    without = {key[1]: len(members) for key, members in groups.items() if key[0] == 0 and key[1] > 0}
    shared = set(with_momentum) & set(without)
    return {max(shared, key=lambda wd: with_momentum[wd] + without[wd])} if shared else set(without)


def _above(claim: str, first: Optimum | None, second: Optimum | None, table: Table) -> Verdict:
    if first is None or second is None:
        return undecided(claim, "the learning rate was not varied for both methods")
    if table.noise is None or table.repetitions < 2:
        return undecided(claim, "no repetitions, so no intervals: a second seed is needed")
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
    p = 2 * float(min((gap > 0).mean(), (gap < 0).mean()) + 1 / len(gap))
    # The band of an inequality is everything above zero; zero itself belongs to neither side.
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
    settings: Sequence[Setting],
    along: Callable[[Setting], float],
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
    groups: dict[tuple[float, str], list[Setting]] = {}
    for s in settings:
        groups.setdefault((along(s), s.schedule), []).append(s)
    groups = {key: members for key, members in groups.items() if len({s.weight_decay for s in members}) >= 3}
    if len({value for value, _ in groups}) < 2:
        return undecided(claim, f"weight decay was not varied at two or more values of {varies}")
    optima = {
        key: table.optimum("weight_decay", members, {name: key[0], **_common(members)})
        for key, members in sorted(groups.items())
    }
    if table.noise is None or table.repetitions < 2:
        return undecided(claim, "no repetitions, so no intervals: a second seed is needed")
    needed = tuple({"weight_decay": x, **_common(groups[key])} for key, o in optima.items() for x in o.needed)
    interior = [o for o in optima.values() if o.status == "interior"]
    if len(interior) < MIN_OPTIMA:
        states = ", ".join(f"{o.status} at {value:g}" for (value, _), o in optima.items())
        return undecided(claim, f"fewer than {MIN_OPTIMA} interior optima ({states})", needed)
    found = fit(list(optima.values()), [[math.log(value)] for value, _ in optima])
    if found is None:
        return undecided(claim, "the optima do not determine an exponent", needed)
    wide = _widest_plateau(optima.values())
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
    if verdict.verdict == "supported" and wide > shift:
        return replace(verdict, verdict="inconclusive", reason=f"{verdict.reason}; a plateau is wider than the shift")
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


def _widest_plateau(optima: Iterable[Optimum]) -> float:
    widths = [o.bounds()[1] - o.bounds()[0] for o in optima if o.status == "plateau"]
    return max((w for w in widths if math.isfinite(w)), default=0.0)


def _common(members: Sequence[Setting]) -> dict[str, Any]:
    """Knobs other than weight decay that all ``members`` share."""
    names = ("lr", "momentum", "batch_size", "epochs", "schedule")
    return {name: getattr(members[0], name) for name in names if len({getattr(s, name) for s in members}) == 1}
