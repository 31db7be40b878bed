"""How an optimum moves with a setting: one fit of all curves at once.

The top of curve j lies at m_j = a_s + b z_j + scatter, with z the logarithm of the setting, an intercept a_s for each
stratum s, and scatter normal with SD σ; σ has a prior with a point at 0, all intercepts and exponents flat ones. The
curves share their shape and steepness nearly, or the shape only, or nothing; each of the three enters with its
probability given the runs. Everything but b is integrated over, on grids. So a curve without a top inside counts by its slope, a
shape that does not fit widens the interval, and optima that scatter about the law do, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from interplay.analysis.shape import CURVATURE, SHAPE_PRIOR, Likelihood, quantile

Array = NDArray[np.float64]

SCATTER_PRIOR = 0.3
"""Scale of the half-normal prior of σ, in nats, where there is scatter."""

NO_SCATTER = 0.3
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


STEEPNESS = (0.12, 0.7)
"""SD of the log of the steepness between curves, where they share it nearly and where they share only the shape."""

SHARING_PRIOR = (0.4, 0.4, 0.2)
"""Of curves that share shape and steepness, that share the shape only, and that share nothing."""

STEEPEST = 3.0
"""Exponents beyond ±STEEPEST are not considered."""

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
    shapes = _Shapes([tops[j] for j in chosen])
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

    def __init__(self, tops: Sequence[Likelihood]) -> None:
        self.step = tops[0].step
        self.first = [round(float(top.m[0]) / self.step) for top in tops]
        self.walls = [top.walls for top in tops]
        logs = np.log(CURVATURE)
        tables = []
        for top in tops:
            like = np.exp(top.log - top.log.max())
            columns = []
            for spread in STEEPNESS:
                near = np.exp(-0.5 * ((logs[:, None] - logs[None, :]) / spread) ** 2)
                columns.append((like @ (near / near.sum(axis=0))).reshape(len(top.m), -1))
            own = like.sum(axis=2) @ SHAPE_PRIOR
            tables.append(np.concatenate([*columns, own[:, None]], axis=1))
        each = np.repeat(SHAPE_PRIOR, len(CURVATURE))
        both, shape, nothing = SHARING_PRIOR
        prior = np.log(np.concatenate([both * each, shape * each, [nothing]]))
        evidence = prior + sum(np.log(table.sum(axis=0) * self.step + 1e-300) for table in tables)
        order = np.argsort(-evidence)[:KEPT]
        order = order[evidence[order] > evidence[order[0]] - 7]
        self.prior = prior[order]
        self.shared = order < len(prior) - 1
        self.tables = [table[:, order] for table in tables]

    def smoothed(self, curve: int, scatter: float, shapes: int) -> tuple[int, Array]:
        """Log likelihood of the law's place for one curve, [places, shapes], and where its grid begins in steps.

        The top scatters normally about that place. Beyond an end of the grid that is no wall it is as at the end.
        """
        spread = max(scatter, 0.5 * self.step)
        pad = math.ceil(1.0 / self.step)
        rows = self.tables[curve][:, :shapes]
        ends = [
            np.repeat(rows[end : end + 1] if not wall else 0 * rows[:1], pad, axis=0)
            for end, wall in zip((0, len(rows) - 1), self.walls[curve], strict=True)
        ]
        table = np.concatenate([ends[0], rows, ends[1]])
        offsets = self.step * np.arange(-pad, pad + 1)
        kernel = np.exp(-0.5 * (offsets / spread) ** 2)
        kernel /= kernel.sum()
        place = np.arange(len(rows))[:, None] + pad - np.arange(len(table))[None, :]
        weights = np.where(np.abs(place) <= pad, kernel[np.clip(place + pad, 0, 2 * pad)], 0.0)
        return self.first[curve], np.log(weights @ table + 1e-12 * table.max(axis=0))


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
            intercept = np.arange(low, high + 1)
            total = np.zeros((len(b), len(intercept), count))
            for (first, log), place in zip(parts, centred, strict=True):
                at = np.clip(intercept[None, :] + b[:, None] * place / step - first, 0, len(log) - 1.001)
                below = at.astype(np.intp)
                share = (at - below)[..., None]
                total += log[below] * (1 - share) + log[below + 1] * share
            found[index] += special.logsumexp(total, axis=1) + math.log(step)
    return found


def _refined(b: Array, log: Array) -> Array:
    """A grid of 61 points over where the coarse one has any probability to speak of."""
    likely = np.flatnonzero(log > log.max() - 14)
    step = float(b[1] - b[0])
    low, high = b[max(likely[0] - 3, 0)], b[min(likely[-1] + 3, len(b) - 1)]
    return np.linspace(low, high, max(61, math.ceil((high - low) / step * 1.5)))
