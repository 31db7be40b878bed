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
from scipy import special, stats

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


@dataclass(frozen=True)
class Regression:
    """Posterior of the coefficients of a linear law of log y, for every σ of `SCATTER`.

    ``z`` [optima, coefficients] is the design, ``y`` and ``error`` the logarithms of the optima and their SD; ``mean``
    [σ, coefficients] and ``covariance`` are normal given σ; ``log`` [σ] is the log evidence of each σ, prior included.
    """

    z: Array
    y: Array
    error: Array
    mean: Array
    covariance: Array
    log: Array

    @property
    def evidence(self) -> float:
        """Log evidence; between laws of the same optima that share their flat coefficients, it can be compared."""
        return float(special.logsumexp(self.log))

    @property
    def weight(self) -> Array:
        """Probability of each σ."""
        return np.asarray(np.exp(self.log - self.evidence))

    def predict(self, row: Array) -> tuple[Array, Array]:
        """Mean and SD of log y at a row of the design for each σ, without scatter about the law."""
        variance = np.einsum("i,sij,j->s", row, self.covariance, row)
        return self.mean @ row, np.sqrt(np.maximum(variance, 0.0))

    def left_out(self) -> Array:
        """What each log y is predicted to be from all others; NaN where these do not determine it.

        In closed form: leaving out one optimum divides the evidence of each σ by the density that the others give it
        (Vehtari et al., Statistics and Computing 27, 2017, for the normal linear model).
        """
        variance = self.error**2 + SCATTER[:, None] ** 2
        leverage = np.einsum("ni,sij,nj->sn", self.z, self.covariance, self.z) / variance
        rest = 1 - leverage
        known = (rest > 1e-9).all(axis=0)
        rest = np.where(rest > 1e-9, rest, 1.0)
        residual = (self.y - self.mean @ self.z.T) / rest
        spread = variance / rest
        log = self.log[:, None] + 0.5 * np.log(spread) + 0.5 * residual**2 / spread
        said = self.y - (special.softmax(log, axis=0) * residual).sum(axis=0)
        return np.where(known, said, np.nan)


def regress(
    z: Array, y: Array, error: Array, precision: Array | None = None, scatter: Array | None = None
) -> Regression:
    """Fit log y = z · coefficients + scatter, by closed form for each σ.

    Args:
        z: the design [optima, coefficients].
        y: logarithms of the optima [optima].
        error: their SD.
        precision: of the normal prior of each coefficient about 0; 0 for a flat one, which all have by default.
        scatter: probability of each σ of `SCATTER`, by default `joint.scatter_prior`.
    """
    prior = np.zeros(z.shape[1]) if precision is None else precision
    variance = error**2 + SCATTER[:, None] ** 2
    scaled = z / variance[..., None]
    information = np.swapaxes(scaled, 1, 2) @ z + np.diag(prior)
    covariance = np.linalg.inv(information)
    mean = np.einsum("sij,snj,n->si", covariance, scaled, y)
    residual = y - mean @ z.T
    log = -0.5 * (np.log(variance) + residual**2 / variance).sum(axis=1) - 0.5 * mean**2 @ prior
    log += -0.5 * np.linalg.slogdet(information)[1] + 0.5 * np.log(prior[prior > 0]).sum()
    log += np.log(scatter_prior() if scatter is None else scatter)
    return Regression(z, y, error, mean, covariance, log)


def least_squares(z: Array, y: Array, error: Array) -> Exponents:
    """The fit itself: ``z`` [optima, 1 + axes] begins with ones, ``y`` are logarithms of optima with SD ``error``."""
    found = regress(z, y, error)
    weight = found.weight
    mean = weight @ found.mean
    apart = found.mean - mean
    joint = np.einsum("s,sij->ij", weight, found.covariance + apart[:, :, None] * apart[:, None, :])
    covariance = joint[1:, 1:]
    return Exponents(
        mean[1:], np.sqrt(np.diag(covariance)), covariance, len(y), float(mean[0]), float(weight @ SCATTER), joint
    )
