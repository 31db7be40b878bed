"""Rules for the best weight decay (or learning rate) at a setting, and how each is fitted to measured optima."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from interplay.analysis.exponents import Exponents, fit
from interplay.analysis.laws import Measured, span
from interplay.analysis.optimum import Optimum
from interplay.analysis.theories import SYMBOLS, theories

Array = NDArray[np.float64]
Of = Literal["weight_decay", "lr"]


@dataclass(frozen=True, eq=False)
class Rule:
    """log y = a + Σ b log(axis): ``exponents`` by axis, or fitted where ``None``; ``constant`` fixes e^a.

    ``zero`` is the rule of no decay at all.
    """

    name: str
    exponents: Mapping[str, float] | None = None
    constant: float | None = None
    zero: bool = False
    baseline: bool = False


def candidates(of: Of, coupled: bool) -> list[Rule]:
    """Candidates, simple ones first, and the baselines. For η at a given λ each law is solved for η."""
    other = "lr" if of == "weight_decay" else "weight_decay"
    found = [Rule("ηλ constant", {other: -1.0}, baseline=True), Rule("one constant", {})]
    for theory in theories(coupled):
        power = theory.exponents["lr"]
        if not power or None in theory.exponents.values():
            continue  # the converged ridge is one constant; rotation at a fixed momentum is ηλ constant
        rest = {name: float(x or 0.0) for name, x in theory.exponents.items() if name != "lr"}
        if of == "weight_decay":
            found.append(Rule(theory.name, {"lr": power, **rest}))
        else:
            found.append(Rule(theory.name, {"weight_decay": 1 / power, **{k: -v / power for k, v in rest.items()}}))
    found.append(Rule("fitted exponents"))
    if of == "weight_decay":
        found += [Rule("5e-4 always", {}, 5e-4, baseline=True), Rule("zero", zero=True, baseline=True)]
    else:
        found.append(Rule("0.1 always", {}, 0.1, baseline=True))
    name = "1/(ηT)" if of == "weight_decay" else "1/(λT)"
    return [*found, Rule(name, {other: -1.0, "steps": -1.0}, 1.0, baseline=True)]


@dataclass(frozen=True)
class Law:
    """A rule with its constants: log y = offset + a + Σ fitted exponents times scores."""

    rule: Rule
    result: Exponents | None
    axes: tuple[str, ...] = ()
    basis: Array = field(default_factory=lambda: np.empty((0, 0)))
    centre: Array = field(default_factory=lambda: np.empty(0))

    def interval(self, place: Mapping[str, float], level: float = 0.90) -> tuple[float, float]:
        """log y at ``place`` and the half-width of its interval, scatter about the law included."""
        if self.result is None:
            return self.offset(place), 0.0
        logs = np.log([place[name] for name in self.axes])
        value, spread = self.result.predict((self.basis @ (logs - self.centre)).tolist())
        return value + self.offset(place), float(stats.norm.ppf((1 + level) / 2)) * spread

    def offset(self, place: Mapping[str, float]) -> float:
        """What the rule fixes."""
        known = sum(power * math.log(place[name]) for name, power in (self.rule.exponents or {}).items())
        return known + (math.log(self.rule.constant) if self.rule.constant else 0.0)

    def formula(self, of: Of) -> str:
        """The law as a reader would write it."""
        powers = dict(self.rule.exponents or {})
        intercept = self.result.intercept if self.result is not None else 0.0
        if self.result is not None and len(self.axes):
            exponents = self.basis.T @ self.result.estimate
            powers = dict(zip(self.axes, map(float, exponents), strict=True))
            intercept -= float(exponents @ self.centre)
        names = {name: f"({symbol})" if "-" in symbol else symbol for name, symbol in SYMBOLS.items()}
        words = [names[n] if power == 1 else f"{names[n]}^{power:.2g}" for n, power in powers.items() if power]
        return " ".join([f"{SYMBOLS[of]}* = {math.exp(intercept):.3g}", *words])


def fitted(rule: Rule, found: Sequence[Measured], places: Sequence[Mapping[str, float]]) -> Law | None:
    """``rule`` with its constants from ``found``; ``None`` where they do not determine them."""
    if rule.constant is not None or rule.zero:
        return Law(rule, None)
    if rule.exponents is not None:
        law = Law(rule, None)
        relative = [_relative(m.optimum, law.offset(at)) for m, at in zip(found, places, strict=True)]
        result = fit(relative, [[] for _ in found])
        return None if result is None else Law(rule, result)
    axes, basis, scores = span([m.at for m in found])
    result = fit([m.optimum for m in found], scores.tolist()) if axes else None
    if result is None:
        return None
    return Law(rule, result, axes, basis, np.log([[m.at[name] for name in axes] for m in found]).mean(axis=0))


def _relative(optimum: Optimum, by: float) -> Optimum:
    """The same optimum in units in which the law is a constant."""
    factor = math.exp(-by)
    low, high = optimum.interval
    return replace(
        optimum,
        estimate=None if optimum.estimate is None else optimum.estimate * factor,
        interval=(None if low is None else low * factor, None if high is None else high * factor),
        draws=optimum.draws - by,
    )


def vector(rule: Rule, found: Sequence[Measured]) -> object:
    """What tells a rule from others on these settings."""
    if rule.exponents is None or rule.constant is not None:
        return rule.name
    varied, _, _ = span([m.at for m in found])
    return tuple(rule.exponents.get(name, 0.0) for name in varied)
