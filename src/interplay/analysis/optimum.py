"""The optimum of a curve measured on a log grid, with its interval, or the honest statement that there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from interplay.analysis.noise import Noise

Status = Literal["interior", "censored", "plateau", "unknown"]

DRAWS = 2000
WITHIN = 2.3
"""Standard errors of a difference within which a cell counts as equal to the best, if the noise were known: Dunnett's
one-sided 95 % point for about seven comparisons, since the best cell is the luckiest of several. Noise that is pooled
from few repetitions is known no better than that, and the point is the quantile of Student's t instead."""


@dataclass(frozen=True)
class Curve:
    """Cells along one axis of a grid, rising; everything else is the same.

    ``mean`` is sign-adjusted (larger is better) and minus infinity in a cell that diverged. ``x`` may begin with 0,
    which has no place on a log axis but can be the best cell all the same.
    """

    x: tuple[float, ...]
    mean: tuple[float, ...]
    count: tuple[int, ...]


@dataclass(frozen=True)
class Optimum:
    """Where a curve has its maximum.

    ``interval`` holds the optimum with 90 % (``None`` at an open end). For a plateau or a censored optimum there is no
    estimate, only the interval that is known. ``draws`` are bootstrap draws of its logarithm, ±inf beyond the grid.
    """

    of: str
    given: dict[str, Any]
    estimate: float | None
    interval: tuple[float | None, float | None]
    status: Status
    needed: tuple[float, ...] = ()
    """Values of x that would settle it."""
    grid: tuple[float, float] = (0.0, math.inf)
    """The least positive and the greatest x that were measured."""
    draws: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def bounds(self) -> tuple[float, float]:
        """The interval on the log axis, open ends as ±inf."""
        low, high = self.interval
        return (math.log(low) if low else -math.inf, math.log(high) if high else math.inf)

    @property
    def width(self) -> float:
        """Of the interval on the log axis, as far as the grid reaches: an open end is as wide as what was measured."""
        (low, high), (first, last) = self.bounds(), self.grid
        return min(high, math.log(last)) - max(low, math.log(first) if first else -math.inf)


def locate(
    curve: Curve, noise: Noise | None, rng: np.random.Generator, of: str = "x", given: dict[str, Any] | None = None
) -> Optimum:
    """The optimum of ``curve``: the vertex of the parabola through the best cell and its two neighbours, in log x.

    Wider fits are biased, because such curves fall off a cliff on one side. The interval comes from redrawing every
    cell mean with its standard error (parametric bootstrap), which is itself redrawn as far as few repetitions leave it
    uncertain. Without a noise model there is no interval.

    - Best cell on the edge of the grid, or beside x = 0: *censored*.
    - Best cell equal, within noise, to three or more others, or to an edge: *plateau*.
    - A neighbour that diverged bounds the optimum without entering the parabola: it may lie anywhere up to there.
    """
    found = _located(curve, noise, rng, of, given or {})
    positive = [x for x in curve.x if x > 0]
    return replace(found, grid=(positive[0], positive[-1])) if positive else found


def _located(curve: Curve, noise: Noise | None, rng: np.random.Generator, of: str, given: dict[str, Any]) -> Optimum:
    mean = np.asarray(curve.mean)
    if len(mean) < 3 or not np.isfinite(mean).any():
        return Optimum(of, given, None, (None, None), "unknown")
    best = int(np.argmax(mean))
    if noise is None:
        return _without_noise(curve, best, of, given)
    errors = np.array(
        [noise.sd(m) / math.sqrt(n) if math.isfinite(m) else 0.0 for m, n in zip(mean, curve.count, strict=True)]
    )
    within = float(stats.t.ppf(stats.norm.cdf(WITHIN), noise.freedom(float(mean[best]))))
    equal = _equal_cells(mean, errors, best, within)
    low, high = equal[0], equal[-1]
    shares = [(noise.sd(m), noise.freedom(m)) if math.isfinite(m) else (0.0, 1) for m in mean]
    draws = _draws(curve, errors, shares, rng)
    beside_zero = best == 1 and curve.x[0] == 0
    at_edge = best in (0, len(mean) - 1) or beside_zero
    edges = [e for e in (0, len(mean) - 1) if _same(mean, errors, best, e, within) or (e == 0 and beside_zero)]
    if at_edge or edges or len(equal) > 3:
        status: Status = "censored" if at_edge else "plateau"
        interval = _open_interval(curve, draws, open_low=0 in edges, open_high=len(mean) - 1 in edges)
        return Optimum(of, given, None, interval, status, _beyond(curve, low, high, edges), draws=draws)
    inside = draws[np.isfinite(draws)]
    interval = (float(np.exp(np.quantile(inside, 0.05))), float(np.exp(np.quantile(inside, 0.95))))
    return Optimum(of, given, math.exp(vertex(curve, mean, best)), interval, "interior", draws=draws)


def _open_interval(
    curve: Curve, draws: NDArray[np.float64], *, open_low: bool, open_high: bool
) -> tuple[float | None, float | None]:
    """What is known of an optimum that may lie beyond an edge: the bound on the other side, from the draws.

    Where nearly all draws are beyond the edge they give no bound; then it is the cell beside the edge.
    """
    low, high = (float(q) for q in np.quantile(draws, [0.05, 0.95], method="inverted_cdf"))
    lowest = math.exp(low) if math.isfinite(low) else (curve.x[-2] if low > 0 else None)
    highest = math.exp(high) if math.isfinite(high) else (curve.x[1] if high < 0 else None)
    return None if open_low else lowest or None, None if open_high else highest


def _without_noise(curve: Curve, best: int, of: str, given: dict[str, Any]) -> Optimum:
    if best in (0, len(curve.x) - 1):
        interval = (curve.x[-2], None) if best else (None, curve.x[1])
        return Optimum(of, given, None, interval, "censored", _beyond(curve, best, best, [best]))
    estimate = math.exp(vertex(curve, np.asarray(curve.mean), best))
    return Optimum(of, given, estimate, (None, None), "interior")


def _same(mean: NDArray[np.float64], errors: NDArray[np.float64], best: int, index: int, within: float) -> bool:
    """Whether a cell cannot be told from the best one."""
    if not math.isfinite(mean[index]):
        return False
    return bool(mean[best] - mean[index] <= within * math.hypot(errors[best], errors[index]))


def _equal_cells(mean: NDArray[np.float64], errors: NDArray[np.float64], best: int, within: float) -> list[int]:
    """The best cell and those that cannot be told from it. Noise may lower one between them, so gaps do not count."""
    return [index for index in range(len(mean)) if _same(mean, errors, best, index, within)]


def _draws(
    curve: Curve, errors: NDArray[np.float64], shares: Sequence[tuple[float, int]], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Bootstrap draws of the log optimum; minus or plus infinity where the best cell of a draw is on the edge.

    Args:
        curve: the cells.
        errors: the standard error of each.
        shares: the SD of a run that it comes from, and the degrees of freedom ν that this one rests on: it is off by
            the root of ν/χ²_ν, alike for cells that share it.
        rng: source of the draws.
    """
    mean = np.asarray(curve.mean)
    scale = np.ones((DRAWS, len(mean)))
    for share in dict.fromkeys(shares):
        mine = [index for index, each in enumerate(shares) if each == share]
        scale[:, mine] = np.sqrt(share[1] / rng.chisquare(share[1], DRAWS))[:, None]
    drawn = mean + errors * scale * rng.standard_normal((DRAWS, len(mean)))
    best = drawn.argmax(axis=1)
    found = np.where(best == 0, -math.inf, math.inf)
    for index in range(1, len(mean) - 1):
        rows = np.flatnonzero(best == index)
        if not len(rows):
            continue
        ends = _bracket(curve, index)
        found[rows] = rng.uniform(*ends, len(rows)) if ends else _vertices(curve, drawn[rows], index)
    return found


def _bracket(curve: Curve, best: int) -> tuple[float, float] | None:
    """Between which log x the optimum lies if a neighbour of the best cell has no value, so that there is no parabola.

    On the side of a cell that was measured that is the midpoint, where a parabola would have it at most; on the side of
    one that diverged it may be anywhere up to there, and beside x = 0 as far below as the next cell is above.
    """
    left, right = math.isfinite(curve.mean[best - 1]), math.isfinite(curve.mean[best + 1])
    if left and right and curve.x[best - 1] > 0:
        return None
    b, c = math.log(curve.x[best]), math.log(curve.x[best + 1])
    a = math.log(curve.x[best - 1]) if curve.x[best - 1] > 0 else 2 * b - c
    return ((a + b) / 2 if left and curve.x[best - 1] > 0 else a, (b + c) / 2 if right else c)


def vertex(curve: Curve, mean: NDArray[np.float64], best: int) -> float:
    """Log x of the vertex of the parabola through the cells ``best - 1``, ``best``, ``best + 1``.

    Spacing may be uneven. Where a neighbour diverged or lies at x = 0, no parabola is to be had, and the best cell
    itself is returned.
    """
    return float(_vertices(curve, mean[None], best)[0])


def _vertices(curve: Curve, drawn: NDArray[np.float64], best: int) -> NDArray[np.float64]:
    """`vertex` for each row of ``drawn`` [rows, cells], in all of which ``best`` is the best cell."""
    b = math.log(curve.x[best])
    ya, yb, yc = drawn[:, best - 1], drawn[:, best], drawn[:, best + 1]
    usable = np.isfinite(ya) & np.isfinite(yc)
    found = np.full(len(drawn), b)
    if curve.x[best - 1] == 0 or not usable.any():
        return found
    a, c = math.log(curve.x[best - 1]), math.log(curve.x[best + 1])
    left, right = (yb - ya)[usable] / (b - a), (yc - yb)[usable] / (c - b)
    steep = left > right  # a flat triple has no vertex: any point of it is a maximum
    # Slopes of the two chords hold at their midpoints; the slope of a parabola is linear in between.
    vertices = np.full(len(left), b)
    vertices[steep] = (a + b) / 2 + left[steep] * ((c - a) / 2) / (left[steep] - right[steep])
    found[usable] = vertices
    return found


def _beyond(curve: Curve, low: int, high: int, edges: Sequence[int]) -> tuple[float, ...]:
    """Cells that would settle a censored optimum (beyond the edge) or a plateau (between its cells)."""
    found = []
    positive = [x for x in curve.x if x > 0]
    if 0 in edges:
        found.append(positive[0] ** 2 / positive[1])
    if len(curve.x) - 1 in edges:
        found.append(positive[-1] ** 2 / positive[-2])
    if not found:
        inside = [x for x in curve.x[low : high + 1] if x > 0]
        found = [math.sqrt(x * y) for x, y in pairwise(inside)]
    return tuple(float(f"{x:.3g}") for x in found)


def curve_of(cells: dict[float, Sequence[float]], diverged: Sequence[float] = (), sign: int = 1) -> Curve:
    """A curve from the values at each x; ``diverged`` are the x without a value."""
    means = {x: (sign * float(np.mean(values)), len(values)) for x, values in cells.items() if len(values)}
    means |= {x: (-math.inf, 0) for x in diverged if x not in means}
    order = sorted(means)
    return Curve(tuple(order), tuple(means[x][0] for x in order), tuple(means[x][1] for x in order))
