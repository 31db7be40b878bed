"""The best weight decay (or learning rate) at a setting that was not measured, by the rule that predicts best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.exponents import least_squares
from interplay.analysis.laws import Measured, contains, is_coupled, measured
from interplay.analysis.mixture import CONTRADICTED, Bound, Drawn, drawn, mixed
from interplay.analysis.rules import CURVED, FITTED, Law, Of, Optima, Place, Rule, candidates, design, fitted, solved
from interplay.analysis.scores import Check, Score, alone, checks, choice, nested, score
from interplay.analysis.table import Table
from interplay.analysis.theories import SYMBOLS, Theory
from interplay.errors import InterplayError
from interplay.record import cleaned

MIN_SETTINGS = 4
"""Settings with an optimum below which nothing is predicted: a constant, an exponent, and two to check them on."""

MIN_INSIDE = 2
"""Of these so many need their optimum inside; the others may be bounds, which enter by their likelihood."""


class PredictionError(InterplayError):
    """The runs do not allow the prediction; the message says what is missing."""


@dataclass(frozen=True)
class Prediction:
    """What to use at a setting, why, and how far to trust it.

    ``chosen`` is the error of the whole procedure, choice of the rule included, on settings it had not seen.
    Where an axis was never varied, ``formula`` has it at its measured value. ``outside`` says in words what of the
    setting lies outside what was measured; empty means interpolation.
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
    """What the prediction rests on, how the inputs were read, and what was left out."""
    theories: tuple[str, ...] = ()
    """Outside of what was measured: the theories that the optima do not exclude. The interval holds them all."""
    network: str = ""
    """The network and its data in words, whose optima these are; empty where the table names neither."""

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
            "theories": list(self.theories),
        }
        return {name: cleaned(value) for name, value in values.items()}


def predict(table: Table, of: Of, at: Mapping[str, float]) -> Prediction:
    """The best ``of`` at a setting, with a 90 % interval.

    Every rule (the exponents of each theory with a fitted constant, one constant, freely fitted exponents, with and
    without squares) predicts each measured setting from the others; the one with the least root mean square log error
    is used. The interval is that of all rules together, each by its probability given the optima. Outside the measured
    range it holds what the theories say, too, that the measured exponents do not exclude; on an axis that was never
    varied these give the exponent.

    Args:
        table: the runs.
        of: ``weight_decay`` or ``lr``.
        at: ``lr`` or ``weight_decay`` (the other one), ``batch_size``, ``epochs``, ``momentum``.

    Raises:
        PredictionError: too few optima; nothing tells their noise; or no theory says how ``of`` moves along an axis
            that was never varied.
    """
    every = measured(table, of, progress=True)
    if every and not table.repeated(s for m in max(every.values(), key=len) for s in m.members):
        raise PredictionError(
            "nothing tells the noise, so there is no interval to give: run a second seed, or five values of "
            f"{SYMBOLS[of]} or more at one setting"
        )
    groups = {key: [m for m in found if _informative(m)] for key, found in every.items()}
    (schedule, network), found = max(groups.items(), key=lambda item: len(item[1]), default=(("", Cell({})), []))
    interior = sum(m.optimum.inside for m in found)
    if len(found) < MIN_SETTINGS or interior < MIN_INSIDE:
        raise PredictionError(
            f"{interior} settings have an optimum of {SYMBOLS[of]} inside the grid, {len(found)} one that is bounded; "
            f"{MIN_INSIDE} and {MIN_SETTINGS} at least are needed: interplay study --extend adds cells"
        )
    if absent := [name for name in ("lr", "batch_size") if name != of and name not in found[0].at]:
        raise PredictionError(
            f"these runs do not tell their {absent[0]}: --set {absent[0]}=VALUE if it was one for all"
        )
    steps = _steps(found)
    places = [{**m.at, "steps": steps(m.at)} for m in found]
    optima = Optima.of(found, steps)
    rules = candidates(of, coupled=is_coupled(network))
    said = alone(rules, optima, found, places)
    place = _place(of, at)
    place["steps"] = steps(place)
    answer = _Answer(of, rules, optima, _bounds(found, places), place)
    rule = choice(said, optima, found, straight=answer.far)
    law = None if rule is None else fitted(rule, optima)
    if rule is None or law is None:
        raise PredictionError("the optima do not determine any rule")
    estimate, (low, high), theories, notes = answer.given_by(law, solved(of, is_coupled(network)))
    return Prediction(
        of,
        dict(at),
        math.exp(estimate),
        (math.exp(low), math.exp(high)),
        rule.name,
        law.formula(of, answer.inner),
        tuple(answer.outside),
        score("the choice of a rule", found, nested(rules, optima, found, places)),
        tuple(
            score(each, found, values, _says(each, optima, place))
            for each, values in said.items()
            if None not in values
        ),
        tuple(checks(found, said)),
        f"{interior} interior optima of {len(found)} settings, schedule {schedule}"
        + (f", {network.words()}" if network else ""),
        table.metric,
        (*notes, *_rests_on(table, found)),
        theories,
        network.words(),
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
    inside = [m for m in places if m.optimum.inside]
    at = dict((inside or places)[0].at)
    return predict(table, of, at | {"momentum": 1 - at["1-momentum"]})


class _Answer:
    """What the laws say at one setting, and where it lies beside what was measured.

    ``inner`` is the place nearest to the setting along directions that were varied; ``beside`` what is left, in nats by
    axis. ``far`` says whether ``inner`` is farther out than any setting that was measured.
    """

    def __init__(self, of: Of, rules: Sequence[Rule], optima: Optima, bounds: Sequence[Bound], place: Place) -> None:
        self.of, self.rules, self.optima, self.bounds, self.place = of, rules, optima, bounds, place
        self.beside = optima.beside(place)
        self.inner = {**place, **{name: place[name] / math.exp(gap) for name, gap in self.beside.items()}}
        self.outside = _outside(optima, place)
        self.far = bool(_outside(optima, self.inner)) or (fitted(FITTED, optima) is None and bool(optima.axes))

    def given_by(
        self, law: Law, theories: Sequence[Theory]
    ) -> tuple[float, tuple[float, float], tuple[str, ...], list[str]]:
        """Estimate and interval of log y, the theories that the interval holds, and notes.

        Raises:
            PredictionError: no theory speaks of what was never varied.
        """
        value, notes = law.value(self.inner), []
        if law.rule is CURVED:
            powers = _powers(law.exponents(self.inner))
            notes.append(f"a straight law in the logarithms misfits, and exponents change: here {powers}")
        rules = [rule for rule in self.rules if not (self.far and rule is CURVED)]
        both = mixed(rules, self.optima, self.inner, self.bounds)
        assert both is not None  # `law` is one of them
        low, high = both.interval()
        if not self.far and not self.beside:
            return value, (min(low, value), max(high, value)), (), notes
        straight = fitted(FITTED, self.optima)
        ends = [(value, value), (low, high)]
        if straight is not None:
            ends.append(drawn(straight, self.inner, self.bounds).interval())
        held = self._held(theories, both)
        shifts = self._shifts(held) if self.beside else dict.fromkeys((t.name for t in held), 0.0)
        if not shifts and not self.beside:
            notes.append("outside what was measured, and no theory is left: the interval is that of the fitted law")
            shifts = {"": 0.0}
        spans = []
        for name, shift in shifts.items():
            own = [*ends, *self._own(theories, name)]
            spans.append((min(a for a, _ in own) + shift, max(b for _, b in own) + shift))
        middle = 0.5 * (min(shifts.values()) + max(shifts.values()))
        notes += self._words(held, shifts)
        names = tuple(name for name in shifts if name)
        return value + middle, (min(a for a, _ in spans), max(b for _, b in spans)), names, notes

    def _own(self, theories: Sequence[Theory], name: str) -> list[tuple[float, float]]:
        """The interval of a theory's own law, its exponents along what was varied included."""
        if not self.far:
            return []
        law = next((law for theory in theories if theory.name == name and (law := self._law(theory))), None)
        return [] if law is None else [drawn(law, self.inner, self.bounds).interval()]

    def _law(self, theory: Theory) -> Law | None:
        known = {name: power for name, power in theory.exponents.items() if power is not None}
        return fitted(Rule(theory.name, known), self.optima) if set(self.optima.axes) <= set(known) else None

    def _held(self, theories: Sequence[Theory], both: Drawn) -> list[Theory]:
        """The theories that neither the measured exponents nor the bounds exclude."""
        held = list(theories)
        law = fitted(FITTED, self.optima)
        if law is not None:
            result = least_squares(design(FITTED, self.optima.scores), self.optima.y, self.optima.error)
            axes = self.optima.axes
            held = [t for t in held if contains(result, self.optima.basis, [t.exponents[name] for name in axes])]
        likely = {t.name: drawn(law, self.inner, self.bounds).bounds for t in held if (law := self._law(t)) is not None}
        best = max([both.bounds, *likely.values()])
        return [t for t in held if likely.get(t.name, best) >= best - CONTRADICTED]

    def _shifts(self, held: Sequence[Theory]) -> dict[str, float]:
        """By theory, what it adds to log y for what was never varied."""
        shifts = {}
        for theory in held:
            parts = [(theory.exponents[name], gap) for name, gap in self.beside.items()]
            if all(power is not None for power, _ in parts):
                shifts[theory.name] = sum((power or 0.0) * gap for power, gap in parts)
        if shifts:
            return shifts
        names = ", ".join(SYMBOLS[name] for name in self.beside)
        why = "no theory is left that the measured exponents do not exclude" if not held else "the theories are silent"
        wanted = ", ".join(
            f"{SYMBOLS[name]} {self.place[name]:g} (measured so far: {_shown(m[name] for m in self.optima.at)})"
            for name in self.beside
        )
        raise PredictionError(
            f"{names} was never varied by itself, and of its exponent {why}: run at least three values of "
            f"{SYMBOLS[self.of]} at {wanted}, with all else as in the runs that are there"
        )

    def _words(self, held: Sequence[Theory], shifts: Mapping[str, float]) -> list[str]:
        if not self.beside:
            names = ", ".join(name for name in shifts if name)
            return [f"outside what was measured the interval holds the fitted law and {names}"] if names else []
        words = []
        for name in self.beside:
            powers = ", ".join(f"{t.name} {t.exponents[name]:g}" for t in held if t.name in shifts)
            words.append(
                f"{SYMBOLS[name]} was never varied by itself; theories that are left give its exponent: {powers}"
            )
        return words


def _says(rule: Rule, optima: Optima, place: Place) -> float | None:
    """What a rule says of the setting asked for; nothing where it is silent on an axis that was never varied."""
    if rule.zero:
        return 0.0
    law = fitted(rule, optima)
    return None if law is None or (law.silent(place) and not rule.baseline) else math.exp(law.value(place))


def _powers(exponents: Mapping[str, float]) -> str:
    return ", ".join(f"{power:.2g} of {SYMBOLS[name]}" for name, power in exponents.items())


def _shown(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(set(values)))


def _bounds(found: Sequence[Measured], places: Sequence[Place]) -> list[Bound]:
    return [bound for m, at in zip(found, places, strict=True) if (bound := Bound.of(m, at)) is not None]


def _rests_on(table: Table, found: Sequence[Measured]) -> list[str]:
    """What kinds of optima the prediction rests on, where they are not all sharp ones from repeated runs."""
    notes = []
    noise = table.noise_of(found[0].members[0])
    if noise is not None and noise.residual:
        notes.append("rests on single runs: noise from residuals")
    inside = [m.optimum for m in found if m.optimum.inside]
    if wide := sum(optimum.plateau for optimum in inside):
        notes.append(f"{wide} of {len(inside)} optima are plateaus")
    if bounds := len(found) - len(inside):
        notes.append(f"{bounds} of {len(found)} settings give a bound only")
    return notes


def _informative(one: Measured) -> bool:
    return one.optimum.status != "unknown" and one.optimum.bounds() != (-math.inf, math.inf)


def _steps(found: Sequence[Measured]) -> Callable[[Place], float]:
    """T at a setting, from the number of images that the measured ones imply."""
    sizes = [m.steps * m.at["batch_size"] / m.at["epochs"] for m in found if m.steps]
    images = float(np.median(sizes)) if sizes else 50_000.0
    return lambda at: float(at["epochs"] * math.ceil(images / at["batch_size"] - 1e-9))


def _place(of: Of, at: Mapping[str, float]) -> dict[str, float]:
    other = "lr" if of == "weight_decay" else "weight_decay"
    shared = {"batch_size": float(at["batch_size"]), "epochs": float(at["epochs"]), "1-momentum": 1 - at["momentum"]}
    return {other: float(at[other]), **shared}


def _outside(optima: Optima, place: Place) -> list[str]:
    """What of a setting was not measured: an axis beyond its range, or a combination that was never varied."""
    words = []
    for name in optima.names:
        values = [at[name] for at in optima.at]
        low, high = min(values), max(values)
        if not low * (1 - 1e-6) <= place[name] <= high * (1 + 1e-6):
            shown = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            words.append(f"{SYMBOLS[name]} {place[name]:g}, measured {shown}")
    axes = ", ".join(SYMBOLS[name] for name in optima.axes)
    if words or not axes:
        return words
    if optima.beside(place):
        return [f"{axes} were only varied together"]
    # Leverage: a setting farther out than any measured one is a combination that none of them had.
    rows = design(FITTED, optima.scores)
    inverse = np.linalg.inv(rows.T @ rows)
    row = design(FITTED, optima.score(place)[None, :])[0]
    if float(row @ inverse @ row) > 1.01 * float(np.einsum("ij,jk,ik->i", rows, inverse, rows).max()):
        words.append(f"this combination of {axes} lies beyond those measured")
    return words
