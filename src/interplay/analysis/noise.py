"""How much one run scatters around the mean of its cell: a smooth function of the level, pooled over repetitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from interplay.analysis.shape import SHAPE_PRIOR, Curve, lattice, likelihood

Array = NDArray[np.float64]

RISE_PRIOR = (0.8, 0.8)
"""Mean and SD of the normal prior of the rise of log variance with log(1 + (depth / scale)²). Repetitions of image
classifiers scatter with variances that grow a little slower than depth² (0.31 points at the best level, 0.43 three
points below, 1.1 ten points below, 2.7 at forty)."""

SCALES = (0.03, 0.1, 0.3)
"""Depths, as shares of the range of levels, at which the variance begins to rise; the likeliest is taken."""


@dataclass(frozen=True)
class Noise:
    """Variance of a single run at ``depth`` below the best level: log σ² = base + rise · log(1 + (depth / scale)²).

    ``best`` and ``worst`` are the levels of the best and of the worst cell that was repeated (larger is better).
    """

    best: float
    worst: float
    base: float
    rise: float
    scale: float
    dof: int
    """Degrees of freedom in all: repetitions less cells."""
    covariance: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of (base, rise): variance of the first, covariance, variance of the second."""
    residual: bool = False
    """Whether nothing was repeated and the scatter about smooth curves stands for the noise."""
    of_seeds: float = 0.0
    """SD of the levels of seeds, which were taken off and are no part of it; 0 where seeds do not differ (`blocks`)."""

    def sd(self, level: float) -> float:
        """SD of one run in a cell whose mean is ``level`` (sign-adjusted: larger is better)."""
        return math.exp(0.5 * (self.base + self.rise * self._rise_at(level)))

    def freedom(self, level: float) -> float:
        """Degrees of freedom that the variance at ``level`` is worth: 2 over the variance of its logarithm."""
        f = self._rise_at(level)
        first, both, second = self.covariance
        variance = first + 2 * f * both + f * f * second
        return float(min(max(2 / variance, 1.0), 1e6)) if variance > 0 else float(max(self.dof, 1))

    @property
    def sd_best(self) -> float:
        """SD of one run at the best level."""
        return self.sd(self.best)

    @property
    def sd_worst(self) -> float:
        """SD of one run at the worst level that was repeated."""
        return self.sd(self.worst)

    def _rise_at(self, level: float) -> float:
        return math.log1p((max(self.best - level, 0.0) / self.scale) ** 2)


def pool(cells: Iterable[Sequence[float]], spent: int = 0) -> Noise | None:
    """Noise from the cells that were repeated; ``None`` without repetitions, or where all repetitions are equal.

    A gamma regression with logarithmic link: for a cell of n runs the sample variance is σ² χ²/(n-1), and (base, rise)
    maximise its likelihood times the prior of the rise. It is unbiased at the best level, where a step function that
    must fall with the level is 22 to 25 % low.

    Args:
        cells: the values of each cell, sign-adjusted so that larger is better.
        spent: degrees of freedom that went into what was taken off the values before.
    """
    groups = [
        (float(np.mean(values)), float(np.var(values, ddof=1)), len(values) - 1) for values in cells if len(values) > 1
    ]
    if not groups:
        return None
    level, variance, dof = (np.array(column, dtype=float) for column in zip(*groups, strict=True))
    if dof.sum() <= spent:
        return None
    left = 1 - spent / float(dof.sum())
    variance, dof = variance / left, dof * left
    pooled = float((variance * dof).sum() / dof.sum())
    if pooled <= 0:
        return None
    best, worst = float(level.max()), float(level.min())
    reach = best - worst
    fits = [_regress(best - level, variance, dof, share * reach or 1.0) for share in SCALES]
    _, scale, base, rise, covariance = max(fits, key=lambda each: each[0])
    return Noise(best, worst, base, rise, scale, round(float(dof.sum())), covariance)


def _regress(
    depth: Array, variance: Array, dof: Array, scale: float
) -> tuple[float, float, float, float, tuple[float, float, float]]:
    """Log posterior, scale, base, rise and their covariance, by Fisher scoring."""
    mean, spread = RISE_PRIOR
    f = np.log1p((depth / scale) ** 2)
    design = np.column_stack([np.ones_like(f), f])
    prior = np.diag([0.0, 1 / spread**2])
    pooled = float((variance * dof).sum() / dof.sum())
    beta = np.array([math.log(pooled) - mean * float((f * dof).sum() / dof.sum()), mean])
    information = prior
    for _ in range(40):
        ratio = variance * np.exp(-np.clip(design @ beta, -700, 700))
        information = design.T @ (dof[:, None] / 2 * design) + prior
        score = design.T @ (dof / 2 * (ratio - 1)) - prior @ (beta - np.array([0.0, mean]))
        step = np.clip(np.linalg.solve(information, score), -2.0, 2.0)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-9:
            break
    eta = design @ beta
    log = float((dof / 2 * (-eta - variance * np.exp(-np.clip(eta, -700, 700)))).sum())
    log -= 0.5 * ((float(beta[1]) - mean) / spread) ** 2
    c = np.linalg.inv(information)
    return log, scale, float(beta[0]), float(beta[1]), (float(c[0, 0]), float(c[0, 1]), float(c[1, 1]))


RESIDUAL_GRID = 12
"""Standard deviations that are tried where nothing was repeated."""

RESIDUAL_SCALE = 0.2
"""Depth, as a share of the height of the curves, at which their noise is taken to grow: single runs do not tell it."""

WINDOW = 0.4
"""Share of the height of the curves within which their cells are compared with the fit meanwhile."""

ALIKE = (0.4, 0.4, 0.2)
"""Prior of curves along one knob that share shape and steepness, that share the shape only, and that share nothing. A
curve by itself has as many unknowns as cells near its top, and tells its noise badly."""


BINOMIAL = (0.75, 0.4)
"""SD of the test accuracy between runs over that of drawing so many test images, and how well that is known (a factor,
as SD of its logarithm). Trained networks are nearly calibrated, so that a run differs from the next in about as many
images as their confidences say (Jordan, arXiv 2304.01910): 0.31 points against 0.42 for ResNet-18 on CIFAR-100."""


def from_residuals(groups: Sequence[Sequence[Curve]], expected: float | None = None) -> Noise | None:
    """Noise from the scatter of single runs about smooth curves; ``None`` where no curve has five cells.

    Each SD on a grid gives a likelihood of all curves, with places, heights and shapes of their tops integrated over;
    those of a group may share their shape. The SD is its posterior mean on the log scale, worth as many degrees of
    freedom as the posterior is narrow.

    Args:
        groups: curves along one knob, with errors of 0 (`shape.Curve`), by knob.
        expected: SD to expect, known as `BINOMIAL` says; without it all are as likely.
    """
    groups = [long for group in groups if (long := [curve for curve in group if len(curve.x) >= 5])]
    if not groups:
        return None
    long = [curve for group in groups for curve in group]
    best = max(float(curve.mean.max()) for curve in long)
    worst = min(float(curve.mean.min()) for curve in long)
    # Along a knob that does nothing curves are as high as the noise.
    reach = max(float(np.median([np.ptp(curve.mean) for curve in group])) for group in groups)
    if reach <= 0:
        return None
    low, high = math.log(0.002 * reach), math.log(0.25 * reach)
    if expected is not None:
        low, high = math.log(expected) - 4 * BINOMIAL[1], math.log(expected) + 4 * BINOMIAL[1]
    sds = np.exp(np.linspace(low, high, RESIDUAL_GRID))
    step = lattice(long, 80)
    scale = RESIDUAL_SCALE * reach

    def scattered(curve: Curve, sd: float) -> Curve:
        growth = np.exp(0.5 * RISE_PRIOR[0] * np.log1p(((best - curve.mean) / scale) ** 2))
        return replace(curve, error=sd * growth, window=WINDOW * reach, dof=math.inf)

    log = np.array([sum(_evidence([scattered(c, float(sd)) for c in group], step) for group in groups) for sd in sds])
    place = np.log(sds)
    if expected is not None:
        log -= 0.5 * ((place - math.log(expected)) / BINOMIAL[1]) ** 2
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = float(weight @ place)
    grid = float(place[1] - place[0])
    variance = float(weight @ (place - mean) ** 2) + grid**2 / 12
    # Var log σ² = 2 / dof.
    base = 2 * mean
    dof = max(round(0.5 / variance), 1)
    return Noise(best, worst, base, RISE_PRIOR[0], scale, dof, (4 * variance, 0.0, 0.0), residual=True)


def _evidence(curves: Sequence[Curve], step: float) -> float:
    """Log of the marginal likelihood of curves that share their shape and steepness, the shape only, or nothing."""
    tops = [likelihood(curve, step) for curve in curves]
    each = np.array(
        [special.logsumexp(top.log, axis=0) + top.normal + math.log(step) for top in tops]
    )  # [.., shape, c]
    prior = np.log(SHAPE_PRIOR * each.shape[2])
    steepness = math.log(each.shape[2])
    both = special.logsumexp(each.sum(axis=0) + prior[:, None]) - steepness
    of_shape = special.logsumexp(each, axis=2) - steepness
    shape = special.logsumexp(of_shape.sum(axis=0) + prior)
    nothing = special.logsumexp(of_shape + prior, axis=1).sum()
    return float(special.logsumexp([both, shape, nothing], b=ALIKE))
