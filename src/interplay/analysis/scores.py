"""How well each rule predicts a setting that it has not seen: leave-one-setting-out errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interplay.analysis.laws import Measured
from interplay.analysis.rules import CURVED, FITTED, Optima, Place, Rule, fitted, vector


@dataclass(frozen=True)
class Score:
    """Leave-one-setting-out error of a rule.

    ``factor`` is the root mean square of the predicted over the measured optimum as a factor (1 is perfect; ``None``
    for a rule that says zero); ``loss`` the mean of what the metric loses against the best cell of the setting left
    out, in the metric's unit; ``worst`` the largest. ``at_least``: no decay was not measured everywhere, and its loss
    is taken from the least decay that was.
    """

    rule: str
    baseline: bool
    factor: float | None
    loss: float
    worst: float
    at_least: bool = False
    says: float | None = None
    """What the rule says of the setting asked for; ``None`` where it is silent on an axis that was never varied."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "rule": self.rule,
            "baseline": self.baseline,
            "factor": self.factor,
            "mean_loss": self.loss,
            "worst_loss": self.worst,
            "at_least": self.at_least,
            "says": self.says,
        }


@dataclass(frozen=True)
class Check:
    """One setting that was left out: its measured optimum, and what each rule said without having seen it."""

    at: Mapping[str, float]
    estimate: float | None
    interval: tuple[float | None, float | None]
    said: Mapping[str, float]


Said = list[float | None]
"""The logarithm that a rule gives for each setting, without having seen it; minus infinity for zero."""


def alone(
    rules: Sequence[Rule], optima: Optima, found: Sequence[Measured], places: Sequence[Place]
) -> dict[Rule, Said]:
    """What each rule says of each setting when that setting is left out.

    An optimum with an open end is not among those that are fitted, so the fit to all others is that to all.
    """
    said: dict[Rule, Said] = {}
    same: dict[object, Rule] = {}
    for rule in rules:
        # Theories that differ only in what was not varied say the same.
        if (twin := same.setdefault(vector(rule, optima), rule)) is not rule:
            said[rule] = said[twin]
        elif rule.zero:
            said[rule] = [-math.inf] * len(found)
        elif (law := fitted(rule, optima)) is None:
            said[rule] = [None] * len(found)
        else:
            inside = iter(law.left_out())
            values = [
                next(inside)
                if m.optimum.inside
                else law.value(at)
                if not optima.beside(at) or rule.constant
                else math.nan
                for m, at in zip(found, places, strict=True)
            ]
            said[rule] = [value if math.isfinite(value) else None for value in values]
    return said


def choice(said: Mapping[Rule, Said], optima: Optima, found: Sequence[Measured], straight: bool = False) -> Rule | None:
    """The rule that predicts best of those that are fitted; ``None`` where the optima determine none.

    A curved law is chosen only where the optima are likelier under it than under the straight one.
    """
    known = [m.optimum.inside for m in found]
    eligible = {
        rule: values
        for rule, values in said.items()
        if rule.eligible and all(v is not None for v, inside in zip(values, known, strict=True) if inside)
    }
    if CURVED in eligible and (straight or not bends(optima)):
        del eligible[CURVED]
    return min(eligible, key=lambda rule: _error(found, eligible[rule]), default=None)


def bends(optima: Optima) -> bool:
    """Whether the optima are likelier under a law with squares than under one without."""
    curved, straight = fitted(CURVED, optima), fitted(FITTED, optima)
    if curved is None or straight is None or curved.fit is None or straight.fit is None:
        return False
    return curved.fit.evidence > straight.fit.evidence


NESTED = 80
"""Settings that are left out, at most, to check the choice of a rule: each time all rules are fitted again."""


def nested(rules: Sequence[Rule], optima: Optima, found: Sequence[Measured], places: Sequence[Place]) -> Said:
    """As `alone`, with the choice of the rule made without the setting, too: choosing has not flattered this error.

    Of more than `NESTED` settings every second one, third one and so on is left out.
    """
    eligible = [rule for rule in rules if rule.eligible]
    said: Said = []
    number = 0
    every = math.ceil(len(found) / NESTED)
    for index, (one, place) in enumerate(zip(found, places, strict=True)):
        if index % every:
            number += one.optimum.inside
            said.append(None)
            continue
        rest = [m for i, m in enumerate(found) if i != index]
        there = [p for i, p in enumerate(places) if i != index]
        fewer = optima
        if one.optimum.inside:
            fewer = optima.without(number)
            number += 1
        rule = choice(alone(eligible, fewer, rest, there), fewer, rest)
        law = None if rule is None or fewer.beside(place) else fitted(rule, fewer)
        said.append(None if law is None else law.value(place))
    return said


def score(rule: Rule | str, found: Sequence[Measured], said: Said, says: float | None = None) -> Score:
    """The errors of what a rule, or a procedure by its name, said of each setting."""
    losses = [_loss(m, s) for m, s in zip(found, said, strict=True) if s is not None]
    error = _error(found, said)
    factor = math.exp(error) if error < 50 else None
    at_least = any(s == -math.inf and m.none is None for m, s in zip(found, said, strict=True))
    mean = float(np.mean(losses)) if losses else math.nan
    name, baseline = (rule, False) if isinstance(rule, str) else (rule.name, rule.baseline)
    return Score(name, baseline, factor, mean, max(losses, default=math.nan), at_least, says)


def checks(found: Sequence[Measured], said: Mapping[Rule, Said]) -> list[Check]:
    """Each setting with what every rule said of it."""
    result = []
    for index, one in enumerate(found):
        words = {rule.name: values[index] for rule, values in said.items()}
        known = {name: math.exp(value) for name, value in words.items() if value is not None}
        result.append(Check(one.at, one.optimum.estimate, one.optimum.interval, known))
    return result


def _miss(one: Measured, said: float) -> float:
    """Distance on the log axis from the measured optimum, or from its interval where it is no point."""
    if one.optimum.estimate is not None:
        return said - math.log(one.optimum.estimate)
    low, high = one.optimum.bounds()
    return min(said - low, 0.0) if said < low else max(said - high, 0.0)


def _error(found: Sequence[Measured], said: Said) -> float:
    misses = [_miss(m, s) for m, s in zip(found, said, strict=True) if s is not None]
    return math.sqrt(sum(x * x for x in misses) / len(misses)) if misses else math.inf


def _loss(one: Measured, said: float) -> float:
    """What the metric loses against the best cell, between cells by a line in the logarithm; ends hold beyond them."""
    best = max(level for _, level in one.curve)
    if said == -math.inf and one.none is not None:
        return max(best, one.none) - one.none
    logs = np.log([x for x, _ in one.curve])
    return best - float(np.interp(said, logs, [level for _, level in one.curve]))
