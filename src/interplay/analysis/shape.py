"""Where the top of one measured curve may lie: its likelihood under a family of shapes, on a grid.

A curve of a metric over the logarithm of a knob x is modelled as

    y(x) = P - c · g(x - m),    g(v) = L² / (L + s²),    L(v) = 2 (exp(a v) - a v - 1) / a²

with its top P at m. L is the LINEX loss (Varian 1975; Zellner, JASA 81, 1986): a parabola near the top, for a > 0 a
slow rise and a cliff, for a < 0 the reverse, and v² at a = 0. s makes the top flat. The height P is integrated out; m,
a, s and c lie on grids. So the error of interpolation between cells is part of the result: what the cells do not
determine of the shape widens the interval of m. Far from the top no family of three numbers is right; a cell at depth
d below the best therefore has, besides its noise, an error of `DISCREPANCY` d (1 + d / window).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

_STEEP = (0.5, 1.1, 2.0, 3.5, 6.0, 10.0)
ASYMMETRY = np.array([*(-a for a in reversed(_STEEP)), 0.0, *_STEEP])
"""a, in 1/nats: at a = 2 the curve falls 6 times as deep one nat above its top as one nat below."""

ASYMMETRY_SCALE = 1.2
"""Scale of the Cauchy prior of a."""

FLATNESS = np.array([0.0, 0.6, 1.3, 3.0])
"""s, in nats: about half the width of a flat top."""

FLATNESS_PRIOR = np.array([0.5, 0.25, 0.15, 0.1])

CURVATURE = np.exp(np.linspace(math.log(0.01), math.log(300.0), 37))
"""c, in fifths of the window per nat²."""

DISCREPANCY = 0.06
"""Error of the family of shapes, as a share of the depth below the best cell."""

ALIKE = 2.0
"""Nats over which that error is the same: of cells nearer to each other than this each has a larger one, so that a
finer grid does not average it out."""

WINDOW_SDS = 22.0
"""Cells within so many SD of one run of the best cell shape the curve."""

FLAT = 0.008
"""Share of the standard error of the best cell below which a curve counts as level."""

SURE = 4.0
"""Standard errors by which a cell lies below the best one for the top to lie on this side of it."""

HIGHEST = 16.0
"""Exponents a v beyond which a curve counts as fallen out of sight."""

REACH = 2.5
"""Nats beyond the outermost cells that the grid of m reaches."""

STEPS = 200
"""Points of the grid of m."""


def _prior() -> Array:
    steps = np.gradient(ASYMMETRY) / (1 + (ASYMMETRY / ASYMMETRY_SCALE) ** 2)
    return np.asarray(np.outer(steps / steps.sum(), FLATNESS_PRIOR).ravel() / len(CURVATURE))


SHAPE_PRIOR = _prior()
"""Probability of each (a, s) at each c: [shapes]."""


@dataclass(frozen=True)
class Curve:
    """Cells along one knob; everything else is the same.

    ``x`` are logarithms of the knob, rising; ``mean`` is sign-adjusted (larger is better), ``error`` the standard error
    of it, ``dof`` the degrees of freedom of the noise. ``diverged`` are logarithms of values at which runs diverged;
    ``zero`` the mean and error of the cell in which the knob is 0, which has no place on a log axis. ``window`` is the
    depth below the best cell within which cells shape the curve.
    """

    x: Array
    mean: Array
    error: Array
    window: float
    dof: float = math.inf
    diverged: Array = field(default_factory=lambda: np.empty(0))
    zero: tuple[float, float] | None = None


@dataclass(frozen=True)
class Likelihood:
    """Log likelihood of the place of the top: ``log`` is [m, shape, curvature], ``m`` a grid in nats of step `step`.

    ``cells`` is the number of cells that shape it; ``best`` the log of the knob at the best cell; ``normal`` what the
    errors of the cells add to the log of the evidence. ``walls`` says whether the grid ends at a cell that bounds,
    below and above; elsewhere the top may lie beyond the grid, where it is as likely as at its end.
    """

    m: Array
    log: NDArray[np.float32]
    cells: int
    best: float
    normal: float = 0.0
    walls: tuple[bool, bool] = (False, False)
    scale: float = 1.0
    """The metric that curvature 1 falls by at one nat."""
    flat: float = 0.0
    """Depth below the top that no one can tell: `FLAT` of the standard error of the best cell."""

    @property
    def step(self) -> float:
        """Nats between points of the grid."""
        return float(self.m[1] - self.m[0])

    def posterior(self) -> Array:
        """Probability of each m with all shapes and curvatures averaged by their priors.

        Where a curve lies within `flat` of its top, another of nearly the same shape has its top: on a plateau the
        family of shapes knows the middle, and the top may be anywhere.
        """
        weights = np.exp(self.log - self.log.max()) * SHAPE_PRIOR[None, :, None]
        place, shape, curvature = np.nonzero(weights > 1e-7)
        below, above = (extent[shape, curvature] for extent in self._indifferent())
        low, high = np.maximum(place - below, 0), np.minimum(place + above, len(self.m) - 1) + 1
        density = weights[place, shape, curvature] / (high - low)
        steps = np.bincount(low, density, len(self.m) + 1) - np.bincount(high, density, len(self.m) + 1)
        found = np.maximum(np.cumsum(steps)[:-1], 0.0)
        return np.asarray(found / found.sum())

    def _indifferent(self) -> tuple[Array, Array]:
        """For each shape and curvature how many steps below and above its top a curve has not fallen by `flat`."""
        reach = math.ceil(3.0 / self.step)
        v = self.step * np.arange(1, reach + 1)
        c = CURVATURE * self.scale

        def extent(sign: int) -> Array:
            fallen = _falls(np.asarray(sign * v[:, None]))[..., 0][..., None] * c
            return np.asarray((fallen < self.flat).sum(axis=0))

        return extent(-1), extent(1)

    def evidence(self) -> float:
        """Log of the marginal likelihood, with a flat prior of m per nat."""
        top = float(self.log.max())
        total = float((np.exp(self.log - top).sum(axis=2) @ SHAPE_PRIOR).sum())
        return self.normal + top + math.log(total * self.step)


def lattice(curves: Sequence[Curve], points: int = STEPS) -> float:
    """The step of a grid of m that several curves share: the widest of them has about ``points`` points."""
    widest = max(float(np.ptp(c.x)) if len(c.x) else 0.0 for c in curves) + 2 * REACH
    return widest / points


def likelihood(curve: Curve, step: float | None = None) -> Likelihood:
    """The likelihood of the top of ``curve``, on multiples of ``step``.

    Used are the cells around the best one that lie within the window, at least four where there are so many. The next
    cell on either side bounds m, as a diverged one does, and the curve must have fallen there, however it does so.

    Raises:
        ValueError: fewer than two cells.
    """
    x, y = curve.x, curve.mean
    if len(x) < 2:
        raise ValueError("a curve needs two cells at least")
    best = int(y.argmax())
    step = step or lattice([curve])
    low, high = first, last = x[0] - REACH, x[-1] + REACH
    # Of one maximum no cell that is surely lower lies on the way to the top.
    lower = x[y[best] - y > SURE * np.hypot(curve.error[best], curve.error)]
    for place in (*curve.diverged, *lower):
        if place > x[best]:
            high = min(high, float(place))
        else:
            low = max(low, float(place))
    first_point, last_point = math.ceil(low / step), math.floor(high / step)
    if last_point - first_point < 2:  # cells that bound it lie nearer than the points of the grid
        first_point, last_point = round(float(x[best]) / step) - 1, round(float(x[best]) / step) + 1
    m = step * np.arange(first_point, last_point + 1)
    near = _near_best(curve, best)
    used = near.used
    c = CURVATURE * near.window / 5
    log = near.log_of(_falls(x[used][None, :] - m[:, None]), c)
    for cell in near.beyond:
        log = log - near.short(cell, c * _falls((x[cell] - m)[:, None])[..., 0][..., None])
    # Where the exponential leaves the range of numbers it says nothing of the differences between cells.
    log[_overflows(x[used][None, :] - m[:, None])] = -1e9
    normal = 0.5 * float(np.log(near.weight).sum()) - 0.5 * math.log(float(near.weight.sum()))
    return Likelihood(
        m,
        log,
        len(used),
        float(x[best]),
        normal,
        (low > first, high < last),
        near.window / 5,
        FLAT * float(curve.error[best]),
    )


GROWTH = np.array([0.7, 1.0, 1.4, 2.0])
"""Powers of the knob by which a curve without a top falls: 1 where the knob acts in proportion to itself."""

TOPLESS_PRIOR = 0.05
"""Probability, before the runs, that less of a knob is never worse: a curve that is as well described without a top as
with one then has none inside with 90 %."""


def topless(curve: Curve, top: Likelihood) -> float:
    """Log Bayes factor of a curve without a top, y = P - A exp(s x), against those with one; -inf where it has one.

    It is level below and falls above, where none of the knob is as good as any, such as the decay of a run that is
    stopped early. Shapes with a top, whose rise to it is never quite level, take the bend for the top. ``top`` is
    their likelihood, with m spread evenly over the grid; A has the prior of curvatures, and s is one of `GROWTH`.
    """
    if top.walls[0]:  # a cell below is surely worse
        return -math.inf
    x = curve.x
    near = _near_best(curve, int(curve.mean.argmax()))
    last = float(x[near.used][-1])
    size = CURVATURE * near.window / 5
    log = near.log_of(np.exp(GROWTH[:, None] * (x[near.used][None, :] - last)), size)
    for cell in near.beyond:
        log = log - near.short(cell, size * np.exp(GROWTH * (x[cell] - last))[:, None])
    most = float(log.max())
    level = most + math.log(float(np.exp(log - most).mean()))
    return level - (top.evidence() - top.normal - math.log(float(np.ptp(x)) + 2 * REACH))


def probability_topless(factor: float) -> float:
    """Of a log Bayes factor, after `TOPLESS_PRIOR`; of several curves that have a top all or none, of their sum."""
    return float(special.expit(factor + special.logit(TOPLESS_PRIOR)))


@dataclass(frozen=True)
class _Near:
    """The cells that shape a curve: their numbers, those of the cells next to them, and how much each weighs."""

    curve: Curve
    used: list[int]
    beyond: list[int]
    depth: Array
    window: float
    weight: Array

    def log_of(self, fall: Array, size: Array) -> NDArray[np.float32]:
        """Log likelihood [.., size] of curves that fall by ``size`` times ``fall`` [.., cells] from any height."""
        weight, y, dof = self.weight, self.curve.mean[self.used], self.curve.dof
        centred = y - float((weight * y).sum() / weight.sum())
        mean = fall @ weight / weight.sum()
        yy = float((weight * centred**2).sum())
        yg = fall @ (weight * centred)
        gg = np.maximum(np.square(fall) @ weight - weight.sum() * mean**2, 0.0)
        squares = np.maximum(yy + 2 * size * yg[..., None] + size * size * gg[..., None], 0.0).astype(np.float32)
        if math.isfinite(dof):
            return np.asarray(np.float32(-0.5 * (dof + len(self.used) - 1)) * np.log1p(squares / np.float32(dof)))
        return np.asarray(np.float32(-0.5) * squares)

    def short(self, cell: int, fallen: Array) -> NDArray[np.float32]:
        """What a cell beyond the used ones takes off where the curve has ``fallen`` less than it has."""
        needed, error = float(self.depth[cell]), float(self.curve.error[cell])
        spread = max(math.hypot(0.3 * needed, error), 1e-12)
        short = np.maximum(np.float32(needed - error) - fallen.astype(np.float32), 0) / np.float32(spread)
        return np.asarray(np.float32(0.5) * short**2)


def _near_best(curve: Curve, best: int) -> _Near:
    """What shapes the curve about its cell number ``best``."""
    x, y = curve.x, curve.mean
    used, beyond = _chosen(y, best, curve.window)
    depth = np.maximum(y[best] - y, 0.0)
    # A window narrower than the nearest neighbour of the best cell would leave nothing to tell the shape by.
    window = max(curve.window, float(np.sort(depth[used])[min(1, len(used) - 1)]), 1e-12)
    extra = DISCREPANCY * depth * (1 + depth / window) * np.sqrt(np.maximum(ALIKE / _spacing(x), 1.0))
    weight = 1 / np.maximum(curve.error[used] ** 2 + extra[used] ** 2, (1e-6 * window) ** 2)
    return _Near(curve, used, beyond, depth, window, weight)


def _spacing(x: Array) -> Array:
    """Nats of the axis that each cell stands for."""
    ends = np.diff(x)
    return np.asarray((np.append(ends[:1], ends) + np.append(ends, ends[-1:])) / 2)


def _chosen(y: Array, best: int, window: float) -> tuple[list[int], list[int]]:
    """Numbers of the cells that shape the curve, and of those next to them."""
    low = high = best
    while low > 0 and y[best] - y[low - 1] <= window:
        low -= 1
    while high < len(y) - 1 and y[best] - y[high + 1] <= window:
        high += 1
    while high - low < 3:
        sides = [side for side in (low - 1, high + 1) if 0 <= side < len(y)]
        if not sides:
            break
        nearest = max(sides, key=lambda side: y[side])
        low, high = min(low, nearest), max(high, nearest)
    return list(range(low, high + 1)), [side for side in (low - 1, high + 1) if 0 <= side < len(y)]


def _falls(v: Array) -> Array:
    """g of every (a, s) at v [m, cells]: [m, shapes, cells]."""
    a = ASYMMETRY[None, :, None]
    av = np.clip(a * v[:, None, :], -60.0, HIGHEST)
    safe = np.where(a == 0, 1.0, a)
    linex = np.where(a == 0, v[:, None, :] ** 2, 2 * (np.expm1(av) - av) / safe**2)
    linex = linex[:, :, None, :]
    flat = linex * linex / (linex + FLATNESS[None, None, :, None] ** 2 + 1e-12)
    return np.asarray(flat.reshape(len(v), -1, v.shape[1]))


def _overflows(v: Array) -> NDArray[np.bool_]:
    """For which m and shape the exponential is clipped at some cell: [m, shapes]."""
    beyond = (ASYMMETRY[None, :, None] * v[:, None, :] >= HIGHEST).any(axis=2)
    return np.repeat(beyond, len(FLATNESS), axis=1)


def quantile(m: Array, probability: Array, level: float | Sequence[float] | Array) -> Array:
    """Quantiles of a distribution on the grid ``m``, between points by interpolation."""
    step = float(m[1] - m[0])
    total = np.concatenate([[0.0], np.cumsum(probability)])
    return np.asarray(np.interp(level, total / total[-1], np.concatenate([[m[0] - step / 2], m + step / 2])))
