"""Several exponents at once, from optima that are known with their errors: generalised least squares with scatter.

log y = a + Σ b_j z_j + scatter, with scatter normal of SD σ, and σ integrated over on a grid (`joint.scatter_prior`).
For one exponent of raw curves `joint.exponent` says more, since it shares their shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from interplay.analysis.joint import SCATTER, scatter_prior
from interplay.analysis.optimum import Optimum

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exponents:
    """Fit of log y = a + Σ b_j z_j.

    ``estimate`` and ``error`` are b and its standard error, ``covariance`` that of b, ``joint`` that of (a, b).
    ``inside`` is the number of optima that it rests on, ``scatter`` the mean of σ.
    """

    estimate: Array
    error: Array
    covariance: Array
    inside: int
    intercept: float = 0.0
    scatter: float = 0.0
    joint: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    def predict(self, z: Sequence[float]) -> tuple[float, float]:
        """log y at covariates ``z``, and its standard deviation: of the coefficients and of scatter about the law."""
        row = np.array([1.0, *z])
        value = self.intercept + float(row[1:] @ self.estimate)
        return value, math.sqrt(float(row @ self.joint @ row) + self.scatter**2)

    def interval(self, level: float, which: int = 0) -> tuple[float, float]:
        """Interval of one exponent."""
        width = float(stats.norm.ppf((1 + level) / 2) * self.error[which])
        return float(self.estimate[which]) - width, float(self.estimate[which]) + width

    def contains(self, point: Sequence[float], level: float = 0.95) -> bool:
        """Whether the confidence region holds a vector of exponents, such as that of a theory."""
        gap = np.asarray(point) - self.estimate
        distance = float(gap @ np.linalg.solve(self.covariance, gap))
        return distance <= float(stats.chi2.ppf(level, len(gap)))


def fit(optima: Sequence[Optimum], covariates: Sequence[Sequence[float]]) -> Exponents | None:
    """Exponents from the optima whose interval is bounded; ``None`` where these do not determine them.

    Args:
        optima: the optimum at each setting.
        covariates: for each setting the logarithms of what varies; may be empty, for a law without exponents.
    """
    inside = [index for index, each in enumerate(optima) if each.inside]
    z = np.column_stack([np.ones(len(optima)), np.asarray(covariates, dtype=float).reshape(len(optima), -1)])[inside]
    size = z.shape[1]
    if len(inside) < size + 1 or np.linalg.matrix_rank(z) < size:
        return None
    y, error = np.array([log_place(optima[index]) for index in inside]).T
    return least_squares(z, y, error)


def log_place(optimum: Optimum) -> tuple[float, float]:
    """Median and SD of the logarithm of an optimum, by quantiles of its draws, which a few wild ones do not move."""
    low, middle, high = np.quantile(optimum.draws, [0.1587, 0.5, 0.8413], method="inverted_cdf")
    spread = float(high - low) / 2 if math.isfinite(low) and math.isfinite(high) else 1.0
    return float(middle), max(spread, 1e-3)


def least_squares(z: Array, y: Array, error: Array) -> Exponents:
    """The fit itself: ``z`` [optima, 1 + axes] begins with ones, ``y`` are logarithms of optima with SD ``error``."""
    weights, means, covariances = [], [], []
    for sigma, prior in zip(SCATTER, scatter_prior(), strict=True):
        variance = error**2 + sigma**2
        scaled = z / variance[:, None]
        precision = z.T @ scaled
        covariance = np.linalg.inv(precision)
        mean = covariance @ (scaled.T @ y)
        residual = y - z @ mean
        log = (
            -0.5 * float(np.log(variance).sum() + (residual**2 / variance).sum())
            - 0.5 * np.linalg.slogdet(precision)[1]
        )
        weights.append(log + math.log(prior))
        means.append(mean)
        covariances.append(covariance)
    weight = np.exp(np.array(weights) - max(weights))
    weight /= weight.sum()
    mean = weight @ np.array(means)
    joint = sum(w * (c + np.outer(m - mean, m - mean)) for w, c, m in zip(weight, covariances, means, strict=True))
    joint = np.asarray(joint)
    covariance = joint[1:, 1:]
    return Exponents(
        mean[1:], np.sqrt(np.diag(covariance)), covariance, len(y), float(mean[0]), float(weight @ SCATTER), joint
    )
