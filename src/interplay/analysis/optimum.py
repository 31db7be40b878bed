"""The optimum of one measured curve: where it lies, with its interval, or which bound the runs give."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from interplay.analysis.shape import REACH, Curve, Likelihood, likelihood, probability_topless, quantile, topless

Array = NDArray[np.float64]
Status = Literal["inside", "open below", "open above", "open", "unknown"]

DRAWS = 2000

PLATEAU = 4.0
"""An interval wider than this factor is called a plateau."""

VALLEY = 3.0
"""Standard errors by which the cells between two maxima lie below both, for both to be named."""

COMPETING = 0.05
"""Probability that the lower of two maxima is the higher one, above which the optimum may be at either."""


ENDS = (0.05, 0.95)
"""Quantiles of the interval."""


@dataclass(frozen=True)
class Optimum:
    """Where a curve has its maximum.

    ``estimate`` is the median of the posterior, ``None`` where an end is open. ``interval`` holds the optimum with
    90 %; an end is ``None`` where it lies beyond what was measured (a cell that diverged is a measurement). ``draws``
    are draws of its logarithm, ±inf beyond the cells.
    """

    of: str
    given: dict[str, Any]
    estimate: float | None
    interval: tuple[float | None, float | None]
    status: Status
    others: tuple[float, ...] = ()
    """Separate maxima that lie lower, or as high within the noise."""
    competing: bool = False
    """Whether one of the others may be the higher one; then the interval holds both."""
    needed: tuple[float, ...] = ()
    """Values of the knob beyond an open end that would close it."""
    grid: tuple[float, float] = (0.0, math.inf)
    """The least positive and the greatest value that were measured."""
    draws: Array = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    top: Likelihood | None = field(default=None, repr=False, compare=False)
    """The likelihood of the place of the highest maximum, for fits of several curves."""
    without: float = 0.0
    """Probability that the cell at 0 is better than all others."""
    topless: float = -math.inf
    """Log Bayes factor of no top at all: from the cell at 0, or from the shape of the curve (`shape.topless`)."""
    inside_if_any: bool = False
    """Whether it would be `inside` if it were known that there is a top, which other curves may tell."""

    @property
    def inside(self) -> bool:
        """Whether both ends of the interval lie within what was measured."""
        return self.status == "inside"

    @property
    def plateau(self) -> bool:
        """Whether the interval, as far as it was measured, is wider than a factor of `PLATEAU`."""
        return self.status != "unknown" and self.width > math.log(PLATEAU)

    @property
    def words(self) -> str:
        """The status for people."""
        if self.competing:
            return f"{self.status}, two maxima"
        return f"{self.status}, plateau" if self.plateau and self.inside else self.status

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
    curve: Curve,
    rng: np.random.Generator,
    of: str = "x",
    given: dict[str, Any] | None = None,
    step: float | None = None,
) -> Optimum:
    """The posterior of the place of the top of ``curve``, averaged over the shapes of `shape.likelihood`.

    *Inside*: the 90 % interval lies within the cells that were measured. *Open below* (*above*): its lower (upper) end
    does not, and is not given. A cell at 0 that is as good as the top makes it open below. Where 0 was not measured, a
    curve that is as well described without a top does (`shape.topless`), but for the learning rate, which trains
    nothing at 0. Two maxima with a valley between them are both named; where the lower one may be the higher, the
    interval holds both. *Unknown*: fewer than three cells that did not diverge, or nothing tells their errors.
    """
    grid = (math.exp(float(curve.x[0])), math.exp(float(curve.x[-1]))) if len(curve.x) else (0.0, math.inf)
    if len(curve.x) < 3 or curve.window <= 0:  # too few cells, or nothing tells their errors
        return Optimum(of, given or {}, None, (None, None), "unknown", grid=grid)
    basins = _basins(curve)
    shares = _shares(curve, basins)
    curves = [_part(curve, basin) for basin in basins]
    tops = [likelihood(each, step) if len(each.x) > 1 else None for each in curves]
    parts = [
        _draws(each, top, round(DRAWS * share), rng) for each, top, share in zip(curves, tops, shares, strict=True)
    ]
    draws = np.concatenate(parts)
    without = _without(curve)
    draws = np.where(rng.random(len(draws)) < without, -math.inf, draws)
    # Beyond the cells nothing is known but where a cell diverged.
    if not (curve.diverged < curve.x[0]).any():
        draws = np.where(draws < curve.x[0], -math.inf, draws)
    if not (curve.diverged > curve.x[-1]).any():
        draws = np.where(draws > curve.x[-1], math.inf, draws)
    rng.shuffle(draws)
    inside_if_any = bool(np.isfinite(np.quantile(draws, ENDS, method="inverted_cdf")).all())
    none = -math.inf if curve.zero is None else float(special.logit(without))
    if of != "lr" and curve.zero is None and basins[0][0] == 0 and tops[0] is not None:
        none = topless(curves[0], tops[0])
        draws[: round(shares[0] * probability_topless(none) * len(draws))] = -math.inf
    low, high = np.quantile(draws, ENDS, method="inverted_cdf")
    # An optimum that is surely beyond one end has that end for its bound.
    low = float(curve.x[-1]) if low == math.inf else float(low)
    high = float(curve.x[0]) if high == -math.inf else float(high)
    # The end of what was measured is no optimum, unless the highest may be there.
    peaks = [
        peak
        for (_, _, peak), share in zip(basins[1:], shares[1:], strict=True)
        if 0 < peak < len(curve.x) - 1 or share > COMPETING
    ]
    others = tuple(float(f"{math.exp(curve.x[peak]):.7g}") for peak in peaks)
    found = Optimum(
        of=of,
        given=given or {},
        estimate=None,
        interval=(_value(low), _value(high)),
        status=_status(math.isfinite(low), math.isfinite(high)),
        others=others,
        competing=any(share > COMPETING for share in shares[1:]),
        grid=grid,
        draws=draws,
        top=tops[0],
        without=without,
        topless=none,
        inside_if_any=inside_if_any,
    )
    if found.inside:
        return replace(found, estimate=math.exp(float(np.median(parts[0] if found.competing else draws))))
    return replace(found, needed=_beyond(curve, found))


def _status(low: bool, high: bool) -> Status:
    if low and high:
        return "inside"
    return "open above" if low else "open below" if high else "open"


def _value(log: float) -> float | None:
    return math.exp(log) if math.isfinite(log) else None


def _draws(curve: Curve, top: Likelihood | None, count: int, rng: np.random.Generator) -> Array:
    """Draws of log m, evenly through the posterior so that few of them give its quantiles well."""
    if top is None:  # one cell between two valleys: the maximum is anywhere between these
        low = max((w for w in curve.diverged if w < curve.x[0]), default=curve.x[0] - REACH)
        high = min((w for w in curve.diverged if w > curve.x[0]), default=curve.x[0] + REACH)
        return rng.uniform(low, high, count)
    return quantile(top.m, top.posterior(), (np.arange(count) + 0.5) / max(count, 1))


def _without(curve: Curve) -> float:
    """Probability that the cell at 0 is better than the best of the others."""
    if curve.zero is None:
        return 0.0
    mean, error = curve.zero
    best = int(curve.mean.argmax())
    spread = math.hypot(error, float(curve.error[best]))
    return float(special.ndtr((mean - curve.mean[best]) / max(spread, 1e-12)))


def _basins(curve: Curve) -> list[tuple[int, int, int]]:
    """First cell, end, and best cell of each maximum that a valley parts from the others; the highest first."""
    y, e = curve.mean, curve.error
    dof = curve.dof if math.isfinite(curve.dof) else 1e6
    edge = float(stats.t.ppf(float(special.ndtr(VALLEY)), max(dof, 1.0)))

    def parts(first: int, end: int) -> list[tuple[int, int, int]]:
        best = first + int(y[first:end].argmax())
        for peak in first + np.argsort(-y[first:end])[1:]:
            left, right = sorted((best, int(peak)))
            if right - left < 2:
                continue
            valley = left + 1 + int(y[left + 1 : right].argmin())
            if y[peak] - y[valley] > edge * math.hypot(float(e[peak]), float(e[valley])):
                cut = valley if best > valley else valley + 1
                return parts(first, cut) + parts(cut, end)
        return [(first, end, best)]

    return sorted(parts(0, len(y)), key=lambda basin: -float(y[basin[2]]))


def _shares(curve: Curve, basins: list[tuple[int, int, int]]) -> list[float]:
    """Probability that each maximum is the highest; below `COMPETING` it is taken to be lower."""
    _, _, best = basins[0]
    odds = [1.0]
    for *_, peak in basins[1:]:
        error = math.hypot(float(curve.error[best]), float(curve.error[peak]))
        lower = float(special.ndtr((curve.mean[peak] - curve.mean[best]) / max(error, 1e-12)))
        odds.append(lower / (1 - lower) if lower > COMPETING else 0.0)
    return [each / sum(odds) for each in odds]


def _part(curve: Curve, basin: tuple[int, int, int]) -> Curve:
    """The cells of one maximum; those beside it bound it as diverged ones would."""
    first, end, _ = basin
    if (first, end) == (0, len(curve.x)):
        return curve
    inner = slice(first, end)
    walls = [float(curve.x[side]) for side in (first - 1, end) if 0 <= side < len(curve.x)]
    return replace(
        curve,
        x=curve.x[inner],
        mean=curve.mean[inner],
        error=curve.error[inner],
        diverged=np.concatenate([curve.diverged, walls]),
    )


def _beyond(curve: Curve, found: Optimum) -> tuple[float, ...]:
    """Two values beyond each open end, as far apart as the cells there; none of the knob where a curve has no top."""
    steps = np.diff(curve.x)
    values: list[float] = []
    first, second = curve.mean[:2]
    level = abs(first - second) < 3 * math.hypot(*curve.error[:2])
    if found.of == "weight_decay" and found.topless > 0 and curve.zero is None and level:
        values = [0.0]  # it may go on so below, and only its end tells
    elif found.without < 0.05 and ("below" in found.status or found.status == "open"):
        values += [math.exp(curve.x[0] - k * float(steps[0])) for k in (2, 1)]
    if "above" in found.status or found.status == "open":
        beyond = [math.exp(curve.x[-1] + k * float(steps[-1])) for k in (1, 2)]
        walls = curve.diverged[curve.diverged > curve.x[-1]]
        if len(walls):  # it diverged there: between the last cell and the first that did
            beyond = [math.exp((float(curve.x[-1]) + float(walls.min())) / 2)]
        values += beyond
    return tuple(float(f"{value:.3g}") for value in values)
