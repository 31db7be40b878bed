"""What several laws together say of log y at a setting: draws of each, weighted by how likely it makes the optima."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interplay.analysis.joint import SCATTER
from interplay.analysis.laws import Measured
from interplay.analysis.rules import CURVED, FITTED, Law, Optima, Place, Rule, fitted, vector

Array = NDArray[np.float64]

DRAWS = 4000

SHARES = {FITTED: 0.35, CURVED: 0.15}
"""Prior probability of the fitted laws; the others have equal shares of the rest."""

EXPONENT_SD = 1.0
"""SD of the normal prior of a fitted exponent, against which laws that fix it are weighed."""

CONTRADICTED = math.log(20)
"""A law under which optima with an open end are so much less likely (log) than under the best one is contradicted."""

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(7)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Bound:
    """An optimum with an open end: how likely every place of it is, from 0 to 1, on a grid of its logarithm."""

    place: Place
    m: Array
    likelihood: Array
    below: float
    """The same below the first cell: no decay at all may be as good."""
    first: float
    walls: tuple[bool, bool]

    @classmethod
    def of(cls, one: Measured, place: Place) -> Bound | None:
        """``None`` where it is no bound: known from both sides, or with two maxima."""
        top = one.optimum.top
        if one.optimum.inside or one.optimum.competing or top is None:
            return None
        posterior = top.posterior()
        first = math.log(one.optimum.grid[0]) if one.optimum.grid[0] else -math.inf
        return cls(place, top.m, posterior / posterior.max(), one.optimum.without, first, top.walls)

    def at(self, value: Array) -> Array:
        """The likelihood where log y is ``value``."""
        low, high = (0.0 if wall else None for wall in self.walls)
        found = np.interp(value, self.m, self.likelihood, low, high)
        return np.where(value < self.first, np.maximum(found, self.below), found)


@dataclass(frozen=True)
class Drawn:
    """Draws of log y at one setting, scatter included, with weights that sum to 1.

    ``log`` is the log evidence of the law; ``bounds`` the log of the mean likelihood of the bounds.
    """

    value: Array
    weight: Array
    log: float
    bounds: float

    def interval(self, level: float = 0.90) -> tuple[float, float]:
        """Quantiles that leave out the same probability on either side."""
        low, high = _quantiles(self.value, self.weight, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def drawn(law: Law, place: Place, bounds: Sequence[Bound], shift: float = 0.0) -> Drawn:
    """Draws of what one fitted law says, given the optima that it was fitted to and the bounds.

    Args:
        law: fitted.
        place: the setting.
        bounds: those on which the law is silent are left out.
        shift: added to log y.

    Raises:
        ValueError: nothing is fitted.
    """
    if law.fit is None:
        raise ValueError(f"{law.rule.name} has nothing that is fitted")
    rng = np.random.default_rng(0)  # the same runs give the same interval
    sigma = np.minimum(np.searchsorted(np.cumsum(law.fit.weight), (np.arange(DRAWS) + 0.5) / DRAWS), len(SCATTER) - 1)
    root = np.linalg.cholesky(law.fit.covariance + 1e-12 * np.eye(law.fit.mean.shape[1]))
    normal = rng.standard_normal((DRAWS, law.fit.mean.shape[1]))
    coefficients = law.fit.mean[sigma] + np.einsum("nij,nj->ni", root[sigma], normal)
    scatter = SCATTER[sigma]

    def said(at: Place) -> Array:
        return np.asarray(coefficients @ law.row(at) + law.rule.offset(at))

    value = said(place) + shift + scatter * rng.standard_normal(DRAWS)
    likely = np.zeros(DRAWS)
    for bound in bounds:
        if not law.silent(bound.place):
            # Scatter about the law is integrated over for each bound: of many bounds few draws would be left else.
            places = said(bound.place)[:, None] + scatter[:, None] * _NODES
            likely += np.log(np.maximum(bound.at(places) @ _WEIGHTS, 1e-6))
    best = float(likely.max())
    weight = np.exp(likely - best)
    mean = best + math.log(float(weight.mean()))
    log = law.fit.evidence + mean
    if law.rule.exponents is None:
        slopes = law.fit.weight @ law.fit.mean[:, 1 : 1 + law.optima.scores.shape[1]]
        log -= 0.5 * float(slopes @ slopes) / EXPONENT_SD**2 + len(slopes) * math.log(EXPONENT_SD)
    return Drawn(value, weight / weight.sum(), log, mean)


def mixed(rules: Sequence[Rule], optima: Optima, place: Place, bounds: Sequence[Bound]) -> Drawn | None:
    """All fitted rules together, each by its probability given the optima; ``None`` where none can be fitted."""
    distinct = {vector(rule, optima): rule for rule in reversed(rules) if rule.eligible}
    laws = {rule: law for rule in distinct.values() if (law := fitted(rule, optima)) is not None}
    if not laws:
        return None
    fixed = sum(rule not in SHARES for rule in laws)
    parts = {rule: drawn(law, place, bounds) for rule, law in laws.items()}
    shares = {rule: SHARES.get(rule, (1 - sum(SHARES.values())) / max(fixed, 1)) for rule in laws}
    logs = np.array([part.log + math.log(shares[rule]) for rule, part in parts.items()])
    odds = np.exp(logs - logs.max())
    odds /= odds.sum()
    value = np.concatenate([part.value for part in parts.values()])
    weight = np.concatenate([share * part.weight for share, part in zip(odds, parts.values(), strict=True)])
    bound = max(part.bounds for part in parts.values())
    return Drawn(value, weight, float(logs.max()), bound)


def _quantiles(value: Array, weight: Array, levels: Sequence[float]) -> Array:
    order = np.argsort(value)
    total = np.cumsum(weight[order])
    return np.asarray(np.interp(levels, (total - 0.5 * weight[order]) / total[-1], value[order]))
