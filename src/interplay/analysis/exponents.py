"""How an optimum moves with a setting: exponents of log λ* fitted by interval-censored likelihood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from interplay.analysis.optimum import Optimum

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exponents:
    """Fit of log λ* = a + Σ b_j z_j.

    ``estimate`` and ``error`` are b and its standard error; ``free`` the degrees of freedom of the t distribution that
    intervals use. ``theil_sen`` is the median of pairwise slopes of the interior optima, where there is one covariate.
    """

    estimate: Array
    error: Array
    covariance: Array
    free: int
    interior: int
    theil_sen: float | None = None
    intercept: float = 0.0
    scatter: float = 0.0
    """Standard deviation of log λ* about the law, beyond what measurement explains."""
    joint: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)
    """Covariance of (intercept, exponents)."""

    def predict(self, z: Sequence[float]) -> tuple[float, float]:
        """log λ* at covariates ``z``, and its standard deviation: of the coefficients and of scatter about the law."""
        row = np.array([1.0, *z])
        value = self.intercept + float(row[1:] @ self.estimate)
        return value, math.sqrt(float(row @ self.joint @ row) + self.scatter**2)

    def interval(self, level: float, which: int = 0) -> tuple[float, float]:
        """Confidence interval of one exponent."""
        width = float(stats.t.ppf((1 + level) / 2, self.free) * self.error[which])
        return float(self.estimate[which]) - width, float(self.estimate[which]) + width

    def contains(self, point: Sequence[float], level: float = 0.95) -> bool:
        """Whether the confidence region (Hotelling's) holds a vector of exponents, such as that of a theory."""
        gap = np.asarray(point) - self.estimate
        size = len(gap)
        distance = float(gap @ np.linalg.solve(self.covariance, gap)) / size
        return distance <= float(stats.f.ppf(level, size, self.free))


def fit(optima: Sequence[Optimum], covariates: Sequence[Sequence[float]]) -> Exponents | None:
    """Maximum likelihood of exponents with scatter about the law; ``None`` where the data cannot determine them.

    An interior optimum enters as a normal observation with the spread of its bootstrap draws, a censored one or a
    plateau as the probability of its interval. The scatter τ beyond measurement is estimated with the exponents, so
    that a law that does not fit gives wide intervals rather than narrow wrong ones.

    Args:
        optima: the optimum at each setting.
        covariates: for each setting the logarithms of what varies; may be empty, for a law without exponents.
    """
    z = np.column_stack([np.ones(len(optima)), np.asarray(covariates, dtype=float).reshape(len(optima), -1)])
    inside = np.array([o.status == "interior" for o in optima])
    informative = np.array([o.status != "unknown" and o.bounds() != (-math.inf, math.inf) for o in optima])
    keep = inside | informative
    size = z.shape[1]
    if inside.sum() < size + 1 or np.linalg.matrix_rank(z[inside]) < size:
        return None
    y = np.array([math.log(o.estimate) if o.estimate is not None else math.nan for o in optima])
    spread = np.array([_spread(o) for o in optima])
    bounds = np.array([o.bounds() for o in optima])

    outside = keep & ~inside
    z_in, y_in, square_in, z_out, bounds_out = z[inside], y[inside], spread[inside] ** 2, z[outside], bounds[outside]

    def loss(parameters: Array) -> float:
        tau = math.exp(min(float(parameters[size]), 5.0))
        total = square_in + tau**2
        value = 0.5 * float(((y_in - z_in @ parameters[:size]) ** 2 / total + np.log(total)).sum())
        if len(z_out):
            ends = special.ndtr((bounds_out - (z_out @ parameters[:size])[:, None]) / tau)
            value -= float(np.log(np.maximum(ends[:, 1] - ends[:, 0], 1e-12)).sum())
        return value + 0.5 * (math.exp(-parameters[size] - 9))  # keeps the scatter from collapsing to zero

    def profile(log_tau: float) -> tuple[Array, float]:
        """Best coefficients at a given scatter, in closed form where every optimum is interior, and their loss."""
        weight = 1 / np.sqrt(square_in + math.exp(2 * log_tau))
        best = np.linalg.lstsq(z_in * weight[:, None], y_in * weight, rcond=None)[0]
        return best, loss(np.append(best, log_tau))

    start = np.linalg.lstsq(z[inside], y[inside], rcond=None)[0]
    residual = y[inside] - z[inside] @ start
    # A plateau or a censored optimum says little more than that it does not contradict: it is no degree of freedom.
    free = int(inside.sum()) - size
    scatter = max(1e-3, float(np.sqrt((residual**2).mean())))
    if outside.any():
        found = optimize.minimize(loss, np.append(start, math.log(scatter)), method="Nelder-Mead", options=_SEARCH).x
    else:
        least = optimize.minimize_scalar(lambda log_tau: profile(log_tau)[1], bounds=(-12.0, 5.0), method="bounded")
        found = np.append(profile(float(least.x))[0], float(least.x))
    best = found[:size]
    tau = math.exp(min(found[size], 5.0))
    # Maximum likelihood underestimates the scatter of few points; the usual correction by degrees of freedom.
    scatter = tau * math.sqrt(int(inside.sum()) / free)
    weights = np.where(inside, 1 / (spread**2 + scatter**2), 0.0)
    joint = np.linalg.inv(z.T @ (weights[:, None] * z))
    covariance = joint[1:, 1:]
    sen = None
    if size == 2 and inside.sum() >= 2:
        sen = float(stats.theilslopes(y[inside], z[inside, 1])[0])
    error = np.sqrt(np.diag(covariance))
    return Exponents(best[1:], error, covariance, free, int(inside.sum()), sen, float(best[0]), scatter, joint)


_SEARCH = {"maxiter": 4000, "maxfev": 4000, "xatol": 1e-5, "fatol": 1e-7}


def _spread(optimum: Optimum) -> float:
    """SD of the log optimum from its draws, by quantiles, which a few wild draws do not move."""
    draws = optimum.draws
    if not len(draws):
        return 0.0
    low, high = np.quantile(draws, [0.1587, 0.8413], method="inverted_cdf")
    return float(high - low) / 2 if math.isfinite(low) and math.isfinite(high) else 1.0
