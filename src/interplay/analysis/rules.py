"""Rules for the best weight decay (or learning rate) at a setting, and how each is fitted to measured optima."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from interplay.analysis.exponents import Regression, log_place, regress
from interplay.analysis.joint import SCATTER
from interplay.analysis.laws import Measured, span
from interplay.analysis.theories import SYMBOLS, Theory, theories

Array = NDArray[np.float64]
Of = Literal["weight_decay", "lr"]
Place = Mapping[str, float]

BENDING = 0.15
"""SD of the normal prior of the coefficients of squares, per squared nat: an exponent that changes by 0.6 over a factor
of 7 is one SD."""

_SCATTER_PRIOR = np.exp(-0.5 * (SCATTER / 0.3) ** 2) * np.gradient(SCATTER)
_SCATTER_PRIOR = _SCATTER_PRIOR / _SCATTER_PRIOR.sum()
"""Of σ for predictions: half-normal, without the point at zero of `joint.scatter_prior`. A setting that was not
measured scatters by σ itself, and with few settings that point makes intervals too narrow: at σ = 0.15 those inside the
range held 79 % of 186 optima with it, and 92 % of 38 without."""

SPARE = 3
"""Settings beyond one for each coefficient of the straight law, from which a curved one is tried."""


@dataclass(frozen=True, eq=False)
class Rule:
    """log y = a + Σ b log(axis): ``exponents`` by axis, or fitted where ``None``; ``constant`` fixes e^a.

    ``zero`` is the rule of no decay at all; ``curved`` adds a quadratic form of the logarithms, fitted, too.
    """

    name: str
    exponents: Mapping[str, float] | None = None
    constant: float | None = None
    zero: bool = False
    baseline: bool = False
    curved: bool = False

    @property
    def eligible(self) -> bool:
        """Whether it is fitted: a rule with a constant of its own is a baseline only."""
        return self.constant is None and not self.zero

    def offset(self, place: Place) -> float:
        """What the rule fixes of log y."""
        known = sum(power * math.log(place[name]) for name, power in (self.exponents or {}).items())
        return known + (math.log(self.constant) if self.constant else 0.0)


FITTED = Rule("fitted exponents")
CURVED = Rule("fitted exponents that change", curved=True)


def candidates(of: Of, coupled: bool) -> list[Rule]:
    """Candidates, simple ones first, and the baselines. For η at a given λ each law is solved for η."""
    other = "lr" if of == "weight_decay" else "weight_decay"
    found = [Rule("ηλ constant", {other: -1.0}, baseline=True), Rule("one constant", {})]
    for theory in solved(of, coupled):
        powers = {name: power for name, power in theory.exponents.items() if power is not None}
        # Rotation at a fixed momentum is ηλ constant, the converged ridge one constant.
        if len(powers) == len(theory.exponents) and any(powers.values()):
            found.append(Rule(theory.name, powers))
    found += [FITTED, CURVED]
    if of == "weight_decay":
        found += [Rule("5e-4 always", {}, 5e-4, baseline=True), Rule("zero", zero=True, baseline=True)]
    else:
        found.append(Rule("0.1 always", {}, 0.1, baseline=True))
    name = "1/(ηT)" if of == "weight_decay" else "1/(λT)"
    return [*found, Rule(name, {other: -1.0, "steps": -1.0}, 1.0, baseline=True)]


def solved(of: Of, coupled: bool) -> list[Theory]:
    """The theories of λ* as exponents of ``of``; solved for η, those in which η does not occur are left out."""
    if of == "weight_decay":
        return list(theories(coupled))
    found = []
    for theory in theories(coupled):
        if power := theory.exponents["lr"]:
            rest = {name: None if x is None else -x / power for name, x in theory.exponents.items() if name != "lr"}
            found.append(Theory(theory.name, {"weight_decay": 1 / power, **rest}))
    return found


class Optima:
    """Optima that are known from both sides, as numbers to fit laws to.

    ``at`` are their settings and T (``steps``); ``y`` and ``error`` the logarithms and their SD; ``axes`` what varies
    among them, ``basis`` [rank, axes] the directions in which it does, ``scores`` [optima, rank] the places on these.
    """

    def __init__(self, names: Sequence[str], at: Sequence[Place], y: Array, error: Array) -> None:
        self.names, self.at, self.y, self.error = tuple(names), list(at), y, error
        self._logs = np.log([[place[name] for name in (*names, "steps")] for place in at])
        self.axes, self.basis, self.scores = span([{name: place[name] for name in names} for place in at])
        self.centre = np.log([[place[name] for name in self.axes] for place in at]).mean(axis=0)

    @classmethod
    def of(cls, found: Sequence[Measured], steps: Callable[[Place], float]) -> Optima:
        """Those among ``found`` that are inside what was measured."""
        inside = [m for m in found if m.optimum.inside]
        y, error = np.array([log_place(m.optimum) for m in inside]).reshape(-1, 2).T
        names = tuple(inside[0].at) if inside else ()
        return cls(names, [{**m.at, "steps": steps(m.at)} for m in inside], y, error)

    def __len__(self) -> int:
        return len(self.y)

    def without(self, index: int) -> Optima:
        """All but one."""
        rest = np.arange(len(self)) != index
        at = [place for place, kept in zip(self.at, rest, strict=True) if kept]
        return Optima(self.names, at, self.y[rest], self.error[rest])

    def offsets(self, rule: Rule) -> Array:
        """What a rule fixes of log y, for each of them."""
        powers = rule.exponents or {}
        fixed = self._logs @ [powers.get(name, 0.0) for name in (*self.names, "steps")]
        return np.asarray(fixed + (math.log(rule.constant) if rule.constant else 0.0))

    def score(self, place: Place) -> Array:
        """Where a setting lies along the directions that were varied."""
        return np.asarray(self.basis @ (np.log([place[name] for name in self.axes]) - self.centre))

    def beside(self, place: Place) -> dict[str, float]:
        """By axis, how far a setting lies off the directions that were varied, in nats; without what is on them."""
        gap = {name: math.log(place[name] / self.at[0][name]) for name in self.names if name not in self.axes}
        if self.axes:
            along = np.log([place[name] for name in self.axes]) - self.centre
            gap |= dict(zip(self.axes, along - self.basis.T @ (self.basis @ along), strict=True))
        return {name: float(size) for name, size in gap.items() if abs(size) > 1e-6}


@dataclass(frozen=True)
class Law:
    """A rule with its constants: log y = offset + coefficients · row; ``fit`` is ``None`` where nothing is fitted."""

    rule: Rule
    optima: Optima
    fit: Regression | None

    def value(self, place: Place) -> float:
        """log y at a setting."""
        if self.fit is None:
            return self.rule.offset(place)
        return self.rule.offset(place) + float(self.fit.weight @ self.fit.mean @ self.row(place))

    def row(self, place: Place) -> Array:
        """The row of the design for a setting."""
        return np.asarray(design(self.rule, self.optima.score(place)[None, :])[0])

    def silent(self, place: Place) -> bool:
        """Whether the law does not say anything of a setting: on an axis that it was not fitted along."""
        return bool(set(self.optima.beside(place)) - set(self.rule.exponents or {}))

    def left_out(self) -> list[float]:
        """log y of each optimum, predicted from the others; NaN where they do not determine it."""
        offsets = self.optima.offsets(self.rule)
        found: list[float] = (offsets if self.fit is None else self.fit.left_out() + offsets).tolist()
        return found

    def exponents(self, place: Place) -> dict[str, float]:
        """Of the axes that were varied, at a setting: a curved law has others elsewhere."""
        if self.rule.exponents is not None or self.fit is None:
            known = self.rule.exponents or {}
            return {name: known[name] for name in self.optima.axes if name in known}
        at = self.optima.score(place)
        slopes = [(self._along(at + step) - self._along(at - step)) / 2e-3 for step in 1e-3 * np.eye(len(at))]
        return dict(zip(self.optima.axes, map(float, self.optima.basis.T @ np.array(slopes)), strict=True))

    def _along(self, scores: Array) -> float:
        assert self.fit is not None
        return float(self.fit.weight @ self.fit.mean @ design(self.rule, scores[None, :])[0])

    def formula(self, of: Of, place: Place) -> str:
        """The law as a reader would write it, with what was not varied in its constant."""
        powers = self.exponents(place)
        constant = self.value(place) - sum(power * math.log(place[name]) for name, power in powers.items())
        names = {name: f"({symbol})" if "-" in symbol else symbol for name, symbol in SYMBOLS.items()}
        words = [names[n] if power == 1 else f"{names[n]}^{power:.2g}" for n, power in powers.items() if power]
        return " ".join([f"{SYMBOLS[of]}* = {math.exp(constant):.3g}", *words])


def design(rule: Rule, scores: Array) -> Array:
    """Rows of the design for places along the directions that were varied [optima, rank]."""
    ones = np.ones((len(scores), 1))
    if rule.exponents is not None:
        return ones
    return np.asarray(np.concatenate([ones, scores, *([_squares(scores)] if rule.curved else [])], axis=1))


def _squares(scores: Array) -> Array:
    """All products of two coordinates; those of different ones so that the form does not depend on the directions."""
    first, second = np.triu_indices(scores.shape[1])
    return np.asarray(scores[:, first] * scores[:, second] * np.where(first == second, 1.0, math.sqrt(2)))


def fitted(rule: Rule, optima: Optima) -> Law | None:
    """``rule`` with its constants; ``None`` where the optima do not determine them, or are too few for a curved one."""
    if not rule.eligible:
        return Law(rule, optima, None)
    if rule.exponents is None and not optima.axes:
        return None
    z = design(rule, optima.scores)
    straight = 1 if rule.exponents is not None else 1 + optima.scores.shape[1]
    if len(optima) < straight + (SPARE if rule.curved else 1):
        return None
    flat = z.shape[1] if not rule.curved else straight
    precision = np.array([0.0] * flat + [BENDING**-2] * (z.shape[1] - flat))
    y = optima.y - optima.offsets(rule)
    return Law(rule, optima, regress(z, y, optima.error, precision, _SCATTER_PRIOR))


def vector(rule: Rule, optima: Optima) -> object:
    """What tells a rule from others on these settings."""
    if rule.exponents is None or rule.constant is not None:
        return rule.name
    return tuple(rule.exponents.get(name, 0.0) for name in optima.axes)
