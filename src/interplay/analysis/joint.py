"""How an optimum moves with a setting: one fit of all curves at once.

The top of curve j lies at m_j = a_s + b z_j + scatter, with z the logarithm of the setting, an intercept a_s for each
stratum s, and scatter normal with SD σ; σ has a prior with a point at 0, all intercepts and exponents flat ones. The
curves share their shape and steepness nearly, or the steepness changes with the setting, or they share their shape
only, or a similar shape, or nothing; each enters with its probability given the runs. Everything but b is integrated
over, on grids. So a curve without a top inside counts by its slope, a shape that does not fit widens the interval, and
optima that scatter about the law do, too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from interplay.analysis.shape import ASYMMETRY, CURVATURE, SHAPE_PRIOR, Likelihood, quantile

Array = NDArray[np.float64]

SCATTER_PRIOR = 0.25
"""Scale of the half-normal prior of σ, in nats, where there is scatter."""

NO_SCATTER = 0.5
"""Probability, before the runs, that optima lie on the law. With this point the intervals of four or five curves hold
the truth as often as they say both without scatter and with 0.15 nats; a half-normal prior alone is too wide in the
one case or too narrow in the other."""

SCATTER = np.array([0.0, 0.05, 0.1, 0.15, 0.21, 0.3, 0.42, 0.65])


def scatter_prior() -> Array:
    """Probability of each σ of `SCATTER`."""
    weight = np.exp(-0.5 * (SCATTER / SCATTER_PRIOR) ** 2) * np.gradient(SCATTER)
    weight *= (1 - NO_SCATTER) / weight.sum()
    weight[0] += NO_SCATTER
    return np.asarray(weight)


@dataclass(frozen=True)
class Sharing:
    """What curves may have in common, with its ``probability`` before the runs.

    ``steepness`` is the SD of the log of their curvatures about the common one, which grows by ``trend`` a nat of the
    setting; ``slant`` the SD of asinh(a / `SLANT`) of their asymmetry a about the common one. A curve that is
    stretched along the axis has another curvature and another asymmetry: by the same factor squared, and by it.
    """

    probability: float
    steepness: float
    slant: float
    trend: float = 0.0


SLANT = 0.5

TRENDS = (0.25, 0.5, 0.75)
"""Changes of the log curvature a nat of the setting that are tried beside none, of either sign."""

NOTHING = 0.1
"""Probability that curves have nothing in common."""

SHARING = (
    Sharing(0.3, 0.12, 0.0),
    Sharing(0.15, 0.7, 0.0),
    Sharing(0.15, 0.7, 0.5),
    *(Sharing(0.05, 0.12, 0.25, sign * trend) for trend in TRENDS for sign in (-1, 1)),
)

STEEPEST = 3.0
"""Exponents beyond ±STEEPEST are not considered."""

FURTHEST = 2.0
"""Nats between a top and the law beyond which they count as equally far apart; or six SD of the scatter, if less."""

KEPT = 24
"""Shapes that are kept, the likeliest; the others together are less likely than one in a thousand each."""


@dataclass(frozen=True)
class Exponent:
    """Posterior of the exponent ``b`` on a grid, as ``probability``.

    ``measured`` is the SD that it would have if optima lay on the law exactly; ``scatter`` the mean of σ;
    ``shared`` the probability that the curves share their shape.
    """

    b: Array = field(repr=False)
    probability: Array = field(repr=False)
    measured: float
    scatter: float
    shared: float
    curves: int

    @property
    def estimate(self) -> float:
        """The median."""
        return float(quantile(self.b, self.probability, 0.5))

    @property
    def sd(self) -> float:
        """Standard deviation."""
        mean = float(self.b @ self.probability)
        return math.sqrt(float((self.b - mean) ** 2 @ self.probability))

    def interval(self, level: float) -> tuple[float, float]:
        """The interval that leaves out the same probability on either side; infinite where it meets the grid's end."""
        tail = (1 - level) / 2
        low, high = quantile(self.b, self.probability, [tail, 1 - tail])
        edge = 0.5 * float(self.b[1] - self.b[0])
        return (
            -math.inf if low <= -STEEPEST + edge else float(low),
            math.inf if high >= STEEPEST - edge else float(high),
        )

    def within(self, low: float, high: float) -> float:
        """Probability that it lies between ``low`` and ``high``."""
        return float(self.probability[(self.b >= low) & (self.b <= high)].sum())


def exponent(tops: Sequence[Likelihood], z: Sequence[float], strata: Sequence[int]) -> Exponent | None:
    """The exponent of one setting; ``None`` where no stratum has two values of it.

    Args:
        tops: of each curve, on grids of one step (`shape.lattice`).
        z: logarithm of the setting of each curve.
        strata: which intercept each curve has.
    """
    places = np.asarray(z, dtype=float)
    groups = [np.flatnonzero(np.asarray(strata) == s) for s in sorted(set(strata))]
    groups = [g for g in groups if np.ptp(places[g]) > 1e-9]
    if not groups:
        return None
    chosen = np.concatenate(groups)
    shapes = _Shapes([tops[j] for j in chosen], places[chosen])
    position = {int(j): index for index, j in enumerate(chosen)}
    members = [np.array([position[int(j)] for j in g]) for g in groups]
    places = places[chosen]
    coarse = np.linspace(-STEEPEST, STEEPEST, 61)
    first = _log_posterior(shapes, places, members, coarse, np.array([0.16]), 4)[0]
    b = _refined(coarse, np.logaddexp.reduce(first, axis=1))
    log = _log_posterior(shapes, places, members, b, SCATTER, KEPT)
    weight = np.exp(log - log.max()) * scatter_prior()[:, None, None]
    probability = weight.sum(axis=(0, 2))
    total = weight.sum()
    exact = weight[0].sum(axis=1)
    exact = exact / exact.sum()
    mean = float(b @ exact)
    return Exponent(
        b,
        probability / total,
        math.sqrt(max(float((b - mean) ** 2 @ exact), 0.0)),
        float(weight.sum(axis=(1, 2)) @ SCATTER / total),
        float(weight[:, :, shapes.shared[: weight.shape[2]]].sum() / total),
        len(chosen),
    )


class _Shapes:
    """Likelihood of each top for each shape that the curves may share, the likeliest shapes first.

    ``log`` are arrays [m, shapes] on grids that begin at ``first`` steps; ``prior`` is the log probability of each
    shape; ``shared`` says of which it is common to all curves.
    """

    def __init__(self, tops: Sequence[Likelihood], z: Array) -> None:
        self.step = tops[0].step
        self.first = [round(float(top.m[0]) / self.step) for top in tops]
        self.walls = [top.walls for top in tops]
        near = [_weights(float(place)) for place in z - z.mean()]
        relative = [_Relative(top) for top in tops]
        each = np.repeat(SHAPE_PRIOR, len(CURVATURE))
        prior = np.log(np.concatenate([*(sharing.probability * each for sharing in SHARING), [NOTHING]]))
        evidence = prior + sum(
            np.log(top.total(weights) * self.step + 1e-300) for top, weights in zip(relative, near, strict=True)
        )
        order = np.argsort(-evidence)[:KEPT]
        order = order[evidence[order] > evidence[order[0]] - 7]
        self.prior = prior[order]
        self.shared = order < len(prior) - 1
        self.tables = [top.columns(weights, order) for top, weights in zip(relative, near, strict=True)]
        self._kernels: dict[tuple[int, float], Array] = {}

    def smoothed(self, curve: int, scatter: float, shapes: int) -> tuple[int, NDArray[np.float32]]:
        """Log likelihood of the law's place for one curve, [places, shapes], and where its grid begins in steps.

        The top scatters normally about that place. Beyond an end of the grid that is no wall it is as at the end; a
        place beyond a wall, where no top is, is the less likely the further it is.
        """
        spread = max(scatter, 0.5 * self.step)
        pad = math.ceil(min(6 * spread, FURTHEST) / self.step)
        rows = self.tables[curve][:, :shapes]
        ends = [
            np.repeat(rows[end : end + 1] if not wall else 0 * rows[:1], 2 * pad, axis=0)
            for end, wall in zip((0, len(rows) - 1), self.walls[curve], strict=True)
        ]
        table = np.concatenate([ends[0], rows, ends[1]])
        weights = self._kernel(len(rows) + 2 * pad, pad, spread)
        found = np.log(weights @ table + 1e-12 * table.max(axis=0))
        return self.first[curve] - pad, found.astype(np.float32)  # half the time of what adds them up

    def _kernel(self, length: int, pad: int, spread: float) -> Array:
        """Normal weights [places, places with ``pad`` on either side]; the same for all grids of one length."""
        if (length, spread) not in self._kernels:
            offsets = self.step * np.arange(-pad, pad + 1)
            kernel = np.exp(-0.5 * (offsets / spread) ** 2)
            kernel /= kernel.sum()
            place = np.arange(length)[:, None] + pad - np.arange(length + 2 * pad)[None, :]
            weights = np.where(np.abs(place) <= pad, kernel[np.clip(place + pad, 0, 2 * pad)], 0.0)
            self._kernels[length, spread] = weights
        return self._kernels[length, spread]


class _Relative:
    """The likelihood of one top relative to its greatest, and what the shapes that curves share make of it.

    A shape is one of (a, s) and c with a spread of c and a about it, in the order of `SHARING`; the last is none in
    common. ``near`` are the weights of each spread: of c, and of a or ``None``.
    """

    def __init__(self, top: Likelihood) -> None:
        self.like = np.exp(top.log - top.log.max())

    def total(self, near: Near) -> Array:
        """The sum over all places, for every shape."""
        summed = self.like.sum(axis=0, dtype=float)
        found = []
        for steepness, asymmetry in near:
            spread = (summed @ steepness).reshape(len(ASYMMETRY), -1)
            found.append((spread if asymmetry is None else asymmetry.T @ spread).ravel())
        return np.concatenate([*found, [summed.sum(axis=1) @ SHAPE_PRIOR]])

    def columns(self, near: Near, order: Array) -> Array:
        """[places, shapes] for some of them only, by their numbers."""
        size = len(SHAPE_PRIOR) * len(CURVATURE)
        flats = len(SHAPE_PRIOR) // len(ASYMMETRY)
        found = []
        for number in map(int, order):
            spread, place = divmod(number, size)
            if spread == len(near):
                found.append(self.like.sum(axis=2, dtype=float) @ SHAPE_PRIOR)
                continue
            shape, curvature = divmod(place, len(CURVATURE))
            steepness, asymmetry = near[spread]
            if asymmetry is None:
                found.append(self.like[:, shape, :] @ steepness[:, curvature])
            else:
                slant, flat = divmod(shape, flats)
                found.append(self.like[:, flat::flats, :] @ steepness[:, curvature] @ asymmetry[:, slant])
        return np.column_stack(found)


Near = Sequence[tuple[Array, Array | None]]
"""For each of `SHARING` the weights of curvatures and of asymmetries about each common one, in columns."""


@functools.lru_cache(maxsize=1024)
def _weights(place: float) -> Near:
    """For a curve whose setting lies ``place`` nats above the middle."""
    curvature, slant = np.log(CURVATURE), np.arcsinh(ASYMMETRY / SLANT)
    found: list[tuple[Array, Array | None]] = []
    for sharing in SHARING:
        longer = sharing.trend * place
        stretched = np.arcsinh(ASYMMETRY * math.exp(longer / 2) / SLANT)
        steepness = _near(curvature, curvature + longer, sharing.steepness)
        found.append((steepness, _near(slant, stretched, sharing.slant) if sharing.slant else None))
    return found


def _near(grid: Array, at: Array, spread: float) -> Array:
    """Normal weights of ``grid`` about each of ``at``, in columns."""
    weights = np.exp(-0.5 * ((grid[:, None] - at[None, :]) / spread) ** 2)
    weights /= weights.sum(axis=0)
    return np.asarray(weights, dtype=np.float32)


def _log_posterior(shapes: _Shapes, z: Array, groups: Sequence[Array], b: Array, scatter: Array, kept: int) -> Array:
    """Log posterior [scatter, b, shapes] with flat priors, intercepts integrated over."""
    count = min(kept, len(shapes.prior))
    found = np.tile(shapes.prior[:count], (len(scatter), len(b), 1))
    step = shapes.step
    for group in groups:
        centred = z[group] - z[group].mean()
        for index, sigma in enumerate(scatter):
            parts = [shapes.smoothed(int(j), float(sigma), count) for j in group]
            low = min(first for first, _ in parts)
            high = max(first + len(log) for first, log in parts)
            total = np.zeros((len(b), high + 1 - low, count), dtype=np.float32)
            for (first, log), place in zip(parts, centred, strict=True):
                _add(total, log, low - first + b * place / step)
            top = total.max(axis=1)
            total -= top[:, None, :]
            found[index] += np.log(np.exp(total, out=total).sum(axis=1)) + top + math.log(step)
    return found


def _add(total: NDArray[np.float32], log: NDArray[np.float32], start: Array) -> None:
    """Add to each ``total[i]`` the rows of ``log`` from ``start[i]`` on, by lines between rows; beyond, as at the ends.

    Slices of a padded copy, since picking single rows by their numbers takes three times as long.
    """
    length, last = total.shape[1], len(log) - 1
    whole = np.floor(start).astype(np.intp)
    below, above = max(-int(whole.min()), 0), max(int(whole.max()) + length + 1 - last, 0)
    padded = np.concatenate([np.repeat(log[:1], below, axis=0), log, np.repeat(log[-1:], above, axis=0)])
    for row, at, share in zip(total, whole + below, (start - whole).astype(np.float32), strict=True):
        row += (1 - share) * padded[at : at + length]
        row += share * padded[at + 1 : at + 1 + length]


def _refined(b: Array, log: Array) -> Array:
    """A grid of 61 points over where the coarse one has any probability to speak of."""
    likely = np.flatnonzero(log > log.max() - 14)
    step = float(b[1] - b[0])
    low, high = b[max(likely[0] - 3, 0)], b[min(likely[-1] + 3, len(b) - 1)]
    return np.linspace(low, high, max(61, math.ceil((high - low) / step * 1.5)))
