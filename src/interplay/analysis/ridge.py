"""Claim 2 on the (η, λ) plane: the direction of the ridge, and whether ηλ alone is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial import Delaunay

Array = NDArray[np.float64]

WITHIN_POINTS, WITHIN_NATS = 5.0, 0.5
"""Cells within so much of the best one enter, of an accuracy in per cent or of a loss: beyond it the surface is a cliff
that no smooth curve describes.
"""

DEGREE = 3
ANGLES = np.linspace(-math.pi / 4, 3 * math.pi / 4, 721)
"""Directions (cos θ, sin θ) in (log η, log λ), half a turn about k = tan θ = 1; λ alone is 90°, not infinity."""


STEEPEST = math.tan(math.pi / 2 - math.pi / 720)
"""The largest k that the angles tell from infinity: a bound beyond it is given as this one."""


@dataclass(frozen=True)
class Plane:
    """Cells of a grid in log η and log λ: mean, standard error of the mean."""

    log_lr: Array
    log_wd: Array
    mean: Array
    error: Array


def within(metric: str) -> tuple[float, str]:
    """How far below the best cell others enter, and that in words."""
    return (WITHIN_NATS, f"{WITHIN_NATS:g} nats") if "loss" in metric else (WITHIN_POINTS, f"{WITHIN_POINTS:g} points")


def chosen(plane: Plane, within: float = WITHIN_POINTS) -> Plane:
    """The cells that enter: within ``within`` of the best."""
    keep = plane.mean >= plane.mean.max() - within
    return Plane(plane.log_lr[keep], plane.log_wd[keep], plane.mean[keep], plane.error[keep])


@dataclass(frozen=True)
class Direction:
    """k of f(log η + k log λ), with profile-likelihood intervals, and the scatter about the curve.

    Infinite where the metric depends on λ only; an interval that goes through infinity is open above.
    """

    estimate: float
    interval90: tuple[float, float]
    interval95: tuple[float, float]
    scatter: float
    cells: int


def direction(plane: Plane) -> Direction | None:
    """The direction along which the surface is constant, by profile likelihood over the angle θ with k = tan θ.

    For each θ a cubic in u = cos θ log η + sin θ log λ is fitted by weighted least squares; the residual sum of
    squares, as a function of θ, is compared with its minimum by the F distribution (which allows for scatter that the
    curve leaves unexplained). ``None`` with too few cells.
    """
    count, free = len(plane.mean), len(plane.mean) - DEGREE - 2
    if free < 3 or len(set(plane.log_lr)) < 2 or len(set(plane.log_wd)) < 2:
        return None
    losses = np.array([_loss(plane, angle) for angle in ANGLES])
    best = int(losses.argmin())
    # Scatter below what was measured between repetitions would be luck.
    unit = max(losses[best] / free, 1.0)
    bounds = []
    # A direction has no beginning: what is inside is looked for up to a right angle on both sides of the best one.
    steps = np.arange(-(len(ANGLES) // 2), len(ANGLES) // 2 + 1)
    around, beside = ANGLES[best] + steps * (ANGLES[1] - ANGLES[0]), losses[(best + steps) % (len(ANGLES) - 1)]
    for level in (0.90, 0.95):
        inside = around[beside <= losses[best] + unit * float(stats.f.ppf(level, 1, free))]
        # From below -90° or beyond 180° on it would hold directions on both sides of what it leaves out.
        all_round = inside[0] == around[0] or inside[0] < -math.pi / 2 or inside[-1] > math.pi
        bounds.append((-math.inf, math.inf) if all_round else (min(_k(inside[0]), STEEPEST), _k(inside[-1])))
    scatter = math.sqrt(losses[best] / free)
    return Direction(_k(ANGLES[best]), bounds[0], bounds[1], scatter, count)


def _k(angle: float) -> float:
    return math.tan(angle) if angle < math.pi / 2 - 1e-9 else math.inf


def _loss(plane: Plane, angle: float) -> float:
    u = math.cos(angle) * plane.log_lr + math.sin(angle) * plane.log_wd
    return float(((plane.mean - _fitted(_powers(u), plane)) ** 2 / plane.error**2).sum())


def _powers(u: Array, degree: int = DEGREE) -> Array:
    centre, width = u.mean(), np.ptp(u) or 1.0
    return np.asarray(np.column_stack([np.power((u - centre) / width, p) for p in range(degree + 1)]))


def _press(design: Array, plane: Plane) -> float:
    """Sum of squared errors of predicting each cell from the others."""
    return float(((_unpredicted(design) @ plane.mean) ** 2).sum())


def _fitted(design: Array, plane: Plane) -> Array:
    weights = 1 / plane.error
    coefficients = np.linalg.lstsq(design * weights[:, None], plane.mean * weights, rcond=None)[0]
    return np.asarray(design @ coefficients)


@dataclass(frozen=True)
class Sufficiency:
    """Cross-validated R² of a curve in ηλ alone and of a surface in (η, λ), of what noise leaves to be explained.

    ``draws`` are bootstrap draws of their difference; ``least`` the 5 % quantile of the draws of the variance between
    cells beyond the noise: if that is not positive, there is nothing to be explained.
    """

    curve: float
    surface: float
    draws: Array
    least: float

    @property
    def loss(self) -> float:
        """How much of the variance the curve leaves to the surface, at most all."""
        return min(self.surface - self.curve, 1.0)


def sufficiency(plane: Plane, rng: np.random.Generator, draws: int = 400) -> Sufficiency | None:
    """Leave-one-cell-out R² of both; ``None`` with too few cells for the surface.

    What noise adds on average to the squared errors of prediction, more for the surface with its many coefficients, is
    known from the errors of the cells and is taken off: otherwise noise alone would make the curve look sufficient.
    """
    size = len(plane.mean)
    if size < 10:
        return None
    u, v = _scaled(plane.log_lr + plane.log_wd), _scaled(plane.log_lr - plane.log_wd)
    # The surface holds the curve and adds what depends on the other direction, so that both describe a cliff alike.
    across = (v, v * v, u * v, u * u * v, u * v * v, v**3)
    degrees = range(2, min(6, size - 6))
    curve = min((_powers(u, degree) for degree in degrees), key=lambda design: _press(design, plane))
    surfaces = (
        np.column_stack([_powers(u, degree), *across[:terms]])
        for degree in degrees
        for terms in range(1, len(across) + 1)
        if degree + 1 + terms <= size - 4
    )
    surface = min(surfaces, key=lambda design: _press(design, plane), default=np.column_stack([curve, v]))
    # Sums of squares as |R y|²: about the mean, and of what either leaves unpredicted.
    forms = (np.eye(size) - 1 / size, *(_unpredicted(design) for design in (curve, surface)))
    noise = [float((form**2 @ plane.error**2).sum()) for form in forms]
    drawn = plane.mean + plane.error * rng.standard_normal((draws, size))

    def squares(values: Array, doses: int) -> list[Array]:
        """Sums for each row of ``values``, less what so many doses of noise add to them on average."""
        pairs = zip(forms, noise, strict=True)
        return [((values @ form.T) ** 2).sum(axis=1) - doses * extra for form, extra in pairs]

    total, left, rest = (float(each[0]) for each in squares(plane.mean[None], 1))
    if total <= 0:
        return Sufficiency(-math.inf, -math.inf, np.zeros(draws), total)
    # A draw has the noise of the measurement and its own.
    all_total, all_left, all_rest = squares(drawn, 2)
    # A curve that predicts cells worse than their mean does tells nothing of them, and cannot lose more than all.
    losses = (np.minimum(all_left, all_total) - all_rest) / np.maximum(all_total, 1e-12)
    least = float(np.quantile(all_total, 0.05))
    return Sufficiency(1 - min(left, total) / total, 1 - rest / total, np.minimum(losses, 1.0), least)


@dataclass(frozen=True)
class Surface:
    """A surface fitted to the cells near the best one, on a fine grid: ``level[i, j]`` at ``decays[i]``, ``lrs[j]``.

    Not a number outside the cells that it was fitted to. As `Plane.mean`, larger is better.
    """

    lrs: Array
    decays: Array
    level: Array


def surface(plane: Plane, points: int = 80) -> Surface | None:
    """The polynomial in log η and log λ, of degree 2 to 4, that predicts cells left out best; ``None`` of few cells."""
    size = len(plane.mean)
    if size < 10 or len(set(plane.log_lr)) < 3 or len(set(plane.log_wd)) < 3:
        return None
    ends = [(axis.mean(), np.ptp(axis)) for axis in (plane.log_lr, plane.log_wd)]

    def terms(x: Array, y: Array, degree: int) -> Array:
        u, v = ((values - middle) / width for values, (middle, width) in zip((x, y), ends, strict=True))
        powers = [u**i * v**j for i in range(degree + 1) for j in range(degree + 1 - i)]
        return np.column_stack([power.ravel() for power in powers])

    degrees = [d for d in (2, 3, 4) if (d + 1) * (d + 2) // 2 <= size - 4]
    if not degrees:
        return None
    degree = min(degrees, key=lambda d: _press(terms(plane.log_lr, plane.log_wd, d), plane))
    design, weights = terms(plane.log_lr, plane.log_wd, degree), 1 / plane.error
    coefficients = np.linalg.lstsq(design * weights[:, None], plane.mean * weights, rcond=None)[0]
    xs, ys = (np.linspace(axis.min(), axis.max(), points) for axis in (plane.log_lr, plane.log_wd))
    x, y = np.meshgrid(xs, ys)
    level = (terms(x, y, degree) @ coefficients).reshape(x.shape)
    cells = np.column_stack([plane.log_lr, plane.log_wd])
    outside = Delaunay(cells).find_simplex(np.column_stack([x.ravel(), y.ravel()])) < 0
    level[outside.reshape(x.shape)] = np.nan
    return Surface(np.exp(xs), np.exp(ys), level)


def _scaled(values: Array) -> Array:
    return np.asarray((values - values.mean()) / (np.ptp(values) or 1.0))


def _unpredicted(design: Array) -> Array:
    """R with R y the errors of predicting each cell from the others: residuals over 1 - leverage (Allen's PRESS)."""
    hat = design @ np.linalg.pinv(design)
    return np.asarray((np.eye(len(hat)) - hat) / np.maximum(1 - np.diag(hat), 1e-6)[:, None])
