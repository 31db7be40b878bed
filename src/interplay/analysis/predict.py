"""The best weight decay (or learning rate) at a setting that was not measured, by the rule that predicts best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.laws import Measured, is_coupled, measured, span
from interplay.analysis.rules import Of, Rule, candidates, fitted, vector
from interplay.analysis.table import Table
from interplay.analysis.theories import SYMBOLS
from interplay.errors import InterplayError
from interplay.record import cleaned

MIN_SETTINGS = 4
"""Settings with an optimum below which nothing is predicted: a constant, an exponent, and two to check them on."""


RESOLUTION = 0.1
"""Share of a grid step to which a vertex is believed at best: the curves are no parabolas, and all are biased alike."""


class PredictionError(InterplayError):
    """The runs do not allow the prediction; the message says what is missing."""


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
    """What the rule says of the setting asked for."""

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


@dataclass(frozen=True)
class Prediction:
    """What to use at a setting, why, and how far to trust it.

    ``chosen`` is the error of the whole procedure, choice of the rule included, on settings it had not seen.
    ``outside`` says in words what of the setting lies outside what was measured; empty means interpolation.
    """

    of: Of
    at: Mapping[str, float]
    estimate: float
    interval: tuple[float, float]
    rule: str
    formula: str
    outside: tuple[str, ...]
    chosen: Score
    scores: tuple[Score, ...]
    checks: tuple[Check, ...]
    source: str
    metric: str
    notes: tuple[str, ...] = ()
    """How the inputs were read, and what was left out."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        values = {
            "of": self.of,
            "at": dict(self.at),
            "estimate": self.estimate,
            "interval": list(self.interval),
            "rule": self.rule,
            "formula": self.formula,
            "outside": list(self.outside),
            "leave_one_setting_out": {
                "chosen": self.chosen.to_dict(),
                "rules": [score.to_dict() for score in self.scores],
            },
            "source": self.source,
            "metric": self.metric,
            "notes": list(self.notes),
        }
        return {name: cleaned(value) for name, value in values.items()}


def predict(table: Table, of: Of, at: Mapping[str, float]) -> Prediction:
    """The best ``of`` at a setting, with a 90 % interval.

    Every rule (the exponents of each theory with a fitted constant, one constant, freely fitted exponents) predicts
    each measured setting from the others; the one with the least root mean square log error is used.

    Args:
        table: the runs.
        of: ``weight_decay`` or ``lr``.
        at: ``lr`` or ``weight_decay`` (the other one), ``batch_size``, ``epochs``, ``momentum``.

    Raises:
        PredictionError: too few optima, or no repetitions.
    """
    every = measured(table, of)
    if every and not table.repeated(s for m in max(every.values(), key=len) for s in m.members):
        raise PredictionError("no setting was repeated, so there is no interval to give: run a second seed")
    groups = {key: [m for m in found if _informative(m)] for key, found in every.items()}
    (schedule, network), found = max(groups.items(), key=lambda item: len(item[1]), default=(("", Cell({})), []))
    interior = sum(m.optimum.inside for m in found)
    if len(found) < MIN_SETTINGS or interior < MIN_SETTINGS - 1:
        raise PredictionError(
            f"{interior} settings have an optimum of {SYMBOLS[of]} inside the grid, {len(found)} one that is bounded; "
            f"{MIN_SETTINGS - 1} and {MIN_SETTINGS} at least are needed: interplay study --extend adds cells"
        )
    steps = _steps(found)
    places = [{**m.at, "steps": steps(m.at)} for m in found]
    rules = candidates(of, coupled=is_coupled(network))
    alone = _alone(rules, found, places)
    choice = _choice(alone, found)
    law = fitted(choice, found, places)
    if law is None:
        raise PredictionError("the optima do not determine any rule")
    place = _place(of, at)
    place["steps"] = steps(place)
    value, width = law.interval(place)
    width = math.hypot(width, RESOLUTION * _grid_step(found))
    scores = []
    for rule, said in alone.items():
        known = fitted(rule, found, places)
        if None not in said and known is not None:
            says = 0.0 if rule.zero else math.exp(known.interval(place)[0])
            scores.append(replace(_score(rule.name, rule.baseline, found, said), says=says))
    return Prediction(
        of,
        dict(at),
        math.exp(value),
        (math.exp(value - width), math.exp(value + width)),
        choice.name,
        law.formula(of),
        tuple(_outside(found, place)),
        _score("the choice of a rule", False, found, _nested(rules, found, places)),
        tuple(scores),
        tuple(_checks(found, alone)),
        f"{interior} interior optima of {len(found)} settings, schedule {schedule}"
        + (f", {network.words()}" if network else ""),
        table.metric,
    )


def checked(table: Table, of: Of = "weight_decay") -> Prediction:
    """The rules checked against each other without a setting in mind: asked for one that was measured.

    Raises:
        PredictionError: as `predict`.
    """
    groups = measured(table, of)
    places = max(groups.values(), key=len, default=[])
    if not places:
        raise PredictionError(f"no setting has three values of {SYMBOLS[of]}")
    at = dict(places[0].at)
    return predict(table, of, at | {"momentum": 1 - at["1-momentum"]})


def _grid_step(found: Sequence[Measured]) -> float:
    """Median distance of neighbouring cells on the log axis."""
    return float(np.median(np.concatenate([np.diff(np.log([x for x, _ in m.curve])) for m in found])))


def _informative(one: Measured) -> bool:
    return one.optimum.status != "unknown" and one.optimum.bounds() != (-math.inf, math.inf)


def _steps(found: Sequence[Measured]) -> Callable[[Mapping[str, float]], float]:
    """T at a setting, from the number of images that the measured ones imply."""
    sizes = [m.steps * m.at["batch_size"] / m.at["epochs"] for m in found if m.steps]
    images = float(np.median(sizes)) if sizes else 50_000.0
    return lambda at: float(at["epochs"] * math.ceil(images / at["batch_size"] - 1e-9))


def _place(of: Of, at: Mapping[str, float]) -> dict[str, float]:
    other = "lr" if of == "weight_decay" else "weight_decay"
    shared = {"batch_size": float(at["batch_size"]), "epochs": float(at["epochs"]), "1-momentum": 1 - at["momentum"]}
    return {other: float(at[other]), **shared}


Said = list[float | None]
"""The logarithm that a rule gives for each setting, without having seen it; minus infinity for zero."""


def _alone(rules: Sequence[Rule], found: Sequence[Measured], places: Sequence[Mapping[str, float]]) -> dict[Rule, Said]:
    """What each rule says of each setting when that setting is left out."""
    said: dict[Rule, Said] = {}
    same: dict[object, Rule] = {}
    for rule in rules:
        # Theories that differ only in what was not varied say the same.
        if (twin := same.setdefault(vector(rule, found), rule)) is not rule:
            said[rule] = said[twin]
            continue
        said[rule] = []
        for index, place in enumerate(places):
            rest = [i for i in range(len(found)) if i != index]
            law = fitted(rule, [found[i] for i in rest], [places[i] for i in rest])
            said[rule].append(-math.inf if rule.zero else None if law is None else law.interval(place)[0])
    return said


def _choice(said: Mapping[Rule, Said], found: Sequence[Measured]) -> Rule:
    """The rule that predicts best of those that are fitted: a rule with a constant of its own is a baseline only."""
    eligible = {r: s for r, s in said.items() if r.constant is None and not r.zero and None not in s}
    if not eligible:
        raise PredictionError("the optima do not determine any rule")
    return min(eligible, key=lambda rule: _error(found, eligible[rule]))


def _nested(rules: Sequence[Rule], found: Sequence[Measured], places: Sequence[Mapping[str, float]]) -> Said:
    """The same with the choice of the rule made without the setting, too: an error that choosing has not flattered."""
    eligible = [rule for rule in rules if rule.constant is None and not rule.zero]
    said: Said = []
    for index, place in enumerate(places):
        rest = [i for i in range(len(found)) if i != index]
        fewer, there = [found[i] for i in rest], [places[i] for i in rest]
        try:
            law = fitted(_choice(_alone(eligible, fewer, there), fewer), fewer, there)
        except PredictionError:
            law = None
        said.append(None if law is None else law.interval(place)[0])
    return said


def _miss(one: Measured, said: float) -> float:
    """Distance on the log axis from the measured optimum, or from its interval where it is no point."""
    if one.optimum.estimate is not None:
        return said - math.log(one.optimum.estimate)
    low, high = one.optimum.bounds()
    return min(said - low, 0.0) if said < low else max(said - high, 0.0)


def _error(found: Sequence[Measured], said: Sequence[float | None]) -> float:
    misses = [_miss(m, s) for m, s in zip(found, said, strict=True) if s is not None]
    return math.sqrt(sum(x * x for x in misses) / len(misses)) if misses else math.inf


def _loss(one: Measured, said: float) -> float:
    """What the metric loses against the best cell, between cells by a line in the logarithm; ends hold beyond them."""
    best = max(level for _, level in one.curve)
    if said == -math.inf and one.none is not None:
        return max(best, one.none) - one.none
    logs = np.log([x for x, _ in one.curve])
    return best - float(np.interp(said, logs, [level for _, level in one.curve]))


def _score(name: str, baseline: bool, found: Sequence[Measured], said: Said) -> Score:
    losses = [_loss(m, s) for m, s in zip(found, said, strict=True) if s is not None]
    error = _error(found, said)
    factor = math.exp(error) if error < 50 else None
    at_least = any(s == -math.inf and m.none is None for m, s in zip(found, said, strict=True))
    mean = float(np.mean(losses)) if losses else math.nan
    return Score(name, baseline, factor, mean, max(losses, default=math.nan), at_least)


def _checks(found: Sequence[Measured], said: Mapping[Rule, Said]) -> list[Check]:
    checks = []
    for index, one in enumerate(found):
        words = {rule.name: values[index] for rule, values in said.items()}
        known = {name: math.exp(value) for name, value in words.items() if value is not None}
        checks.append(Check(one.at, one.optimum.estimate, one.optimum.interval, known))
    return checks


def _outside(found: Sequence[Measured], place: Mapping[str, float]) -> list[str]:
    """What of a setting was not measured: an axis beyond its range, or a combination that was never varied."""
    words = []
    for name in found[0].at:
        values = [m.at[name] for m in found]
        low, high = min(values), max(values)
        if not low * (1 - 1e-9) <= place[name] <= high * (1 + 1e-9):
            shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            words.append(f"{SYMBOLS[name]} {place[name]:g}, measured {shown}")
    axes, basis, scores = span([m.at for m in found])
    if words or not axes:
        return words
    centre = np.log([[m.at[name] for name in axes] for m in found]).mean(axis=0)
    gap = np.log([place[name] for name in axes]) - centre
    if not np.allclose(basis.T @ (basis @ gap), gap, atol=1e-6):
        return [f"{', '.join(SYMBOLS[name] for name in axes)} were only varied together"]
    # Leverage: a setting farther out than any measured one is a combination that none of them had.
    design = np.column_stack([np.ones(len(found)), scores])
    inverse = np.linalg.inv(design.T @ design)
    row = np.array([1.0, *(basis @ gap)])
    if float(row @ inverse @ row) > 1.01 * float(np.einsum("ij,jk,ik->i", design, inverse, design).max()):
        words.append(f"this combination of {', '.join(SYMBOLS[name] for name in axes)} lies beyond those measured")
    return words
