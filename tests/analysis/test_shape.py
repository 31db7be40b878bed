"""The likelihood of the place of one top: where it is, what bounds it, and that its numbers stay numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from interplay.analysis.optimum import locate
from interplay.analysis.shape import REACH, WINDOW_SDS, Curve, lattice, likelihood, quantile, topless
from interplay.analysis.verify.closed_forms import Ridge

Array = NDArray[np.float64]
DECAYS = np.array([1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3])


def fall(v: Array, a: float, s: float = 0.0) -> Array:
    """Depth below a top of asymmetry ``a`` and flatness ``s``, ``v`` nats from it."""
    linex = v**2 if a == 0 else 2 * (np.exp(a * v) - a * v - 1) / a**2
    return np.asarray(linex if s == 0 else linex**2 / (linex + s**2))


def curve(
    x: Sequence[float] | Array, mean: Sequence[float] | Array, error: float = 1e-3, window: float = 15.0
) -> Curve:
    return Curve(np.log(np.asarray(x, float)), np.asarray(mean, float), np.full(len(x), error), window)


def ends(of: Curve, tail: float = 0.05) -> tuple[float, float, float]:
    """Lower end, median and upper end of the posterior, on the axis of the knob."""
    top = likelihood(of)
    low, middle, high = np.exp(quantile(top.m, top.posterior(), [tail, 0.5, 1 - tail]))
    return float(low), float(middle), float(high)


@pytest.mark.parametrize("peak", [3e-4, 7e-4, 1.3e-3])
@pytest.mark.parametrize(("a", "s"), [(0.0, 0.0), (2.0, 0.0), (-2.0, 0.0), (0.0, 1.3), (1.1, 1.3), (-1.1, 0.6)])
def test_without_noise_the_top_is_where_it_is(peak: float, a: float, s: float) -> None:
    """Asymmetries and flatnesses of the family: the interval holds the top, and is narrower than the grid."""
    low, middle, high = ends(curve(DECAYS, 80 - fall(np.log(DECAYS / peak), a, s)))
    assert low <= peak <= high
    assert middle == pytest.approx(peak, rel=0.15)
    assert high / low < 2


def test_a_shape_that_is_none_of_the_family_is_not_off_by_more_than_it_says() -> None:
    """A quartic, two parabolas that meet at the top, a hyperbola: the interval of 98 % holds it."""
    v = np.log(DECAYS / 8e-4)
    for lost in (v**4 + 0.3 * v**2, np.where(v > 0, 3 * v**2, v**2), np.sqrt(1 + 9 * v**2) - 1):
        low, _, high = ends(curve(DECAYS, 80 - lost, error=0.05), 0.01)
        assert low <= 8e-4 <= high


def test_a_cliff_between_cells_does_not_pull_the_top_from_the_slow_side() -> None:
    """Three cells of a parabola through a cliff put its vertex half a step too low."""
    x = np.array([0.0125, 0.025, 0.05, 0.1, 0.2, 0.4])
    lost = np.minimum(fall(np.log(x / 0.2), 3.5), 60)
    low, middle, high = ends(curve(x, 75 - lost, error=0.05, window=5))
    assert low <= 0.2 <= high
    assert middle == pytest.approx(0.2, rel=0.25)


def test_a_diverged_cell_bounds_the_top() -> None:
    rising = curve(DECAYS, 70 + 2 * np.arange(6.0))
    free, bound = likelihood(rising), likelihood(replace(rising, diverged=np.log([1e-2, 2e-2])))
    assert not free.walls[1]
    assert bound.walls[1]
    assert bound.m[-1] <= math.log(1e-2) < free.m[-1]
    assert free.m[-1] == pytest.approx(math.log(5e-3) + REACH, abs=free.step)


def test_a_surely_lower_cell_bounds_the_top_and_one_within_the_noise_does_not() -> None:
    mean = np.array([60.0, 79.0, 80.0, 79.5, 79.0, 60.0])
    sure, unsure = (likelihood(curve(DECAYS, mean, error, 5.0)) for error in (0.1, 10.0))
    assert sure.walls == (True, True)
    assert math.log(1e-4) <= sure.m[0] < sure.m[-1] <= math.log(5e-3)
    assert unsure.walls == (False, False)


def test_the_best_cell_shapes_with_its_neighbours_and_a_fourth_however_far_they_are() -> None:
    assert likelihood(curve(DECAYS, [10.0, 40.0, 80.0, 50.0, 20.0, 0.0], window=1.0)).cells == 4
    assert likelihood(curve(DECAYS, [10.0, 79.8, 80.0, 79.9, 79.7, 79.6], window=1.0)).cells == 5


def test_the_evidence_is_a_density_of_the_measurements() -> None:
    """In units k times smaller, with one height that is integrated over, it is k^-(n-1); the grid does not matter."""
    one = curve(DECAYS, 80 - fall(np.log(DECAYS / 7e-4), 1.1), 0.1)
    evidence = likelihood(one).evidence()
    scaled = Curve(one.x, 50 * one.mean, 50 * one.error, 50 * one.window)
    assert likelihood(scaled).evidence() == pytest.approx(evidence - 5 * math.log(50), abs=1e-3)
    assert likelihood(replace(one, mean=one.mean - 75)).evidence() == pytest.approx(evidence, abs=1e-3)
    assert likelihood(one, lattice([one], 600)).evidence() == pytest.approx(evidence, abs=0.02)
    assert likelihood(one).posterior().sum() == pytest.approx(1)


def test_the_evidence_tells_the_noise() -> None:
    """Of eight curves with noise of 0.3 that error is likelier than one of 0.1 or of 1."""
    rng = np.random.default_rng(0)
    peaks = np.geomspace(3e-4, 2e-3, 8)
    means = [80 - fall(np.log(DECAYS / peak), 1.1) + 0.3 * rng.standard_normal(6) for peak in peaks]
    total = {sd: sum(likelihood(curve(DECAYS, mean, sd, 5.0)).evidence() for mean in means) for sd in (0.1, 0.3, 1.0)}
    assert max(total, key=lambda sd: total[sd]) == 0.3


WIDE = np.geomspace(1e-8, 1e3, 12)


@pytest.mark.parametrize(
    "odd",
    [
        curve(WIDE, 80 - (np.arange(12) - 5.3) ** 2, 0.1),
        curve(WIDE, 1e6 * (80 - (np.arange(12) - 5.3) ** 2), 0.1),
        curve(DECAYS, 1e-9 * (80 - fall(np.log(DECAYS / 7e-4), 0)), 1e-12, 1e-11),
        curve([0.1, 0.2], [70.0, 71.0], 0.1, 1.5),
        curve([0.1, 0.2], [70.0, 70.0], 0.0, 0.0),
        curve(DECAYS, np.full(6, 70.0), 0.1, 1.5),
        curve(DECAYS, np.full(6, 70.0), 0.0, 0.0),
        curve(DECAYS, 80 - fall(np.log(DECAYS / 7e-4), 0), 0.0, 5.0),
        curve(DECAYS, [0.0, 0.0, 1e9, 0.0, 0.0, 0.0], 1e-3, 1e-2),
        replace(curve(DECAYS, 80 - np.arange(6.0), 0.1), dof=1.0),
        replace(curve(DECAYS, 80 - np.arange(6.0), 0.1), diverged=np.log([1e-30, 1e30])),
    ],
    ids="wide,high,tiny,two,two equal,equal,exactly equal,exact,needle,one degree,far walls".split(","),
)
def test_numbers_stay_numbers(odd: Curve) -> None:
    top = likelihood(odd)
    probability = top.posterior()
    assert np.isfinite(top.log).all()
    assert np.isfinite(probability).all()
    assert probability.sum() == pytest.approx(1)
    assert math.isfinite(top.evidence())


def test_one_cell_has_no_shape() -> None:
    with pytest.raises(ValueError, match="two cells"):
        likelihood(curve([0.1], [70.0]))


def test_quantiles_lie_between_the_points_of_the_grid() -> None:
    m = np.array([0.0, 1.0, 2.0])
    assert quantile(m, np.array([0.0, 1.0, 0.0]), [0.25, 0.5, 0.75]) == pytest.approx([0.75, 1.0, 1.25])
    assert quantile(m, np.ones(3), 0.5) == pytest.approx(1.0)


def test_cells_that_bound_the_top_may_lie_nearer_than_the_points_of_the_grid() -> None:
    x = np.log(np.arange(1, 2001) * 1e-6)
    mean = 50.0 + np.arange(1, 2001) % 40
    found = likelihood(Curve(x, mean, np.full(len(x), 0.1), 1.5), 0.05)
    posterior = found.posterior()
    assert len(found.m) >= 3
    assert np.isfinite(posterior).all()
    assert abs(float(found.m @ posterior) - float(x[mean.argmax()])) < 0.2


def test_a_curve_that_is_level_below_has_no_top_that_could_be_told() -> None:
    # Ridge regression stopped after four steps, whose best decay is none: every shape with a top has it at the bend.
    x = np.log(0.0006 * 2.0 ** np.arange(10))
    problem = Ridge()
    y = -np.array([problem.risk(0.02, math.exp(each), 4) for each in x])
    least = problem.risk(0.32, math.exp(x[0]), 4)
    rng = np.random.default_rng(5)
    found = {"weight_decay": 0, "lr": 0}
    for _ in range(20):
        measured = Curve(x, y / least + rng.normal(0, 0.0006, 10), np.full(10, 0.0006), WINDOW_SDS * 0.001)
        assert topless(measured, likelihood(measured)) > 0
        for of in found:
            found[of] += locate(measured, np.random.default_rng(0), of).inside
    assert found["weight_decay"] == 0
    assert found["lr"] > 5  # a rate of 0 trains nothing, so a curve over it has a top


def test_a_curve_that_rises_to_its_top_has_one() -> None:
    x = np.log(0.0006 * 2.0 ** np.arange(10))
    rng = np.random.default_rng(6)
    for asymmetry in (0.5, 1.1, 2.0):
        v = x - x[4]
        y = -0.3 * 2 * (np.expm1(asymmetry * v) - asymmetry * v) / asymmetry**2 + rng.normal(0, 0.05, 10)
        measured = Curve(x, y, np.full(10, 0.05), WINDOW_SDS * 0.05)
        assert topless(measured, likelihood(measured)) < -3
        assert locate(measured, np.random.default_rng(0), "weight_decay").inside


def test_a_cell_below_that_is_surely_worse_leaves_no_doubt_of_a_top() -> None:
    measured = Curve(np.log(2.0 ** np.arange(6)), np.array([70.0, 79.9, 80, 80, 79.9, 70]), np.full(6, 0.1), 5.0)
    assert topless(measured, likelihood(measured)) == -math.inf
