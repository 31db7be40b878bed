"""The noise of one run, by level: from repetitions, or from the scatter about smooth curves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interplay.analysis.noise import Noise, from_residuals, pool
from interplay.analysis.shape import Curve

LEVELS = (0.0, 0.3, 0.6, 1.0, 1.5, 2.2, 3.0, 4.5, 6.0, 9.0, 15.0, 30.0)
"""Depths of the cells of a study below its best one."""


def sd_at(depth: float) -> float:
    """The noise of image classifiers: .31 at the best level, .43 three points below, 1.1 at ten, 2.7 at forty."""
    return float(np.exp(np.interp(depth, [0, 3, 10, 40], np.log([0.31, 0.43, 1.1, 2.7]))))


def repeated(rng: np.random.Generator, runs: int) -> list[list[float]]:
    return [list(75 - depth + sd_at(depth) * rng.standard_normal(runs)) for depth in LEVELS]


@pytest.mark.parametrize("runs", [2, 3, 5])
def test_the_noise_at_the_best_level_is_unbiased(runs: int) -> None:
    """A step function that must fall with the level is 22 to 25 % low there."""
    rng = np.random.default_rng(runs)
    found = [noise.sd_best**2 for _ in range(80) if (noise := pool(repeated(rng, runs))) is not None]
    assert math.sqrt(float(np.mean(found))) == pytest.approx(0.31, rel=0.1)


def test_the_noise_grows_as_accuracy_falls() -> None:
    rng = np.random.default_rng(0)
    cells = [value for _ in range(8) for value in repeated(rng, 3)]
    noise = pool(cells)
    assert noise is not None
    assert noise.dof == 2 * len(cells)
    assert not noise.residual
    for depth in (0.0, 3.0, 10.0, 30.0):
        assert noise.sd(noise.best - depth) == pytest.approx(sd_at(depth), rel=0.3)
    assert noise.sd(noise.best + 5) == noise.sd_best < noise.sd_worst


def test_noise_that_is_the_same_everywhere_is_found_so() -> None:
    rng = np.random.default_rng(0)
    cells = [[list(80 - depth + 0.5 * rng.standard_normal(3)) for depth in np.linspace(0, 30, 20)] for _ in range(30)]
    found = [noise for each in cells if (noise := pool(each)) is not None]
    for sds in ([noise.sd_best for noise in found], [noise.sd_worst for noise in found]):
        assert math.sqrt(float(np.mean(np.square(sds)))) == pytest.approx(0.5, rel=0.2)


def test_degrees_of_freedom_grow_with_the_repetitions_and_are_fewer_at_one_level_than_in_all() -> None:
    rng = np.random.default_rng(0)
    few, many = pool(repeated(rng, 2)), pool(repeated(rng, 8))
    assert few is not None
    assert many is not None
    assert (few.dof, many.dof) == (12, 84)
    assert 1 <= few.freedom(few.best) < few.dof
    assert few.freedom(few.best) < many.freedom(many.best) < many.dof


@pytest.mark.parametrize("spread", [0.1, 2.0])
def test_one_repeated_cell_gives_its_own_scatter_and_is_worth_what_it_is(spread: float) -> None:
    noise = pool([[70.0, 70.0 + spread], [60.0], [50.0]])
    assert noise is not None
    assert noise.dof == 1
    assert noise.sd_best == pytest.approx(spread / math.sqrt(2), rel=0.01)
    assert noise.freedom(noise.best) == pytest.approx(1, abs=0.01)
    assert noise.freedom(40.0) <= noise.freedom(noise.best)


def test_without_repetitions_or_without_scatter_there_is_none() -> None:
    assert pool([[1.0], [2.0]]) is None
    assert pool([]) is None
    assert pool([[70.0, 70.0], [60.0, 60.0]]) is None


def test_one_cell_that_does_not_scatter_among_others_is_luck() -> None:
    noise = pool([[75.0, 75.0], [74.0, 74.5], [73.0, 73.6], [70.0, 70.8]])
    assert noise is not None
    assert 0.02 < noise.sd_best < 0.6
    assert noise.freedom(noise.best) < 2  # and it is known to be known badly


@pytest.mark.parametrize("cells", [[[1.0, 1.1]], [[1e9, 1e9 + 1], [0.0, 1e-9]], [[1e-9, 2e-9]] * 3])
def test_odd_levels_give_numbers(cells: list[list[float]]) -> None:
    noise = pool(cells)
    assert noise is not None
    for level in (noise.best, noise.worst, noise.worst - 1e6):
        assert math.isfinite(noise.sd(level))
        assert noise.freedom(level) >= 1


# -- from residuals ----------------------------------------------------------------------------------------------------


def single(rng: np.random.Generator, sd: float, count: int, a: float) -> list[Curve]:
    """Curves whose cells were run once, each with its top elsewhere."""
    x = np.log(np.geomspace(1e-4, 1e-2, 9))
    curves = []
    for peak in rng.uniform(x[2], x[6], count):
        v = x - peak
        lost = v**2 if a == 0 else 2 * (np.exp(a * v) - a * v - 1) / a**2
        curves.append(Curve(x, 75 - 1.5 * lost + sd * rng.standard_normal(len(x)), np.zeros(len(x)), 0.0))
    return curves


@pytest.mark.parametrize(("sd", "a"), [(0.3, 0.0), (0.6, -0.5), (1.0, 0.5)])
def test_residuals_of_single_runs_tell_the_noise_within_a_factor(sd: float, a: float) -> None:
    """Of four curves; too little would be false confidence."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(6):
        noise = from_residuals([single(rng, sd, 4, a)])
        assert noise is not None
        assert noise.residual
        ratios.append(noise.sd_best / sd)
    assert 0.7 <= math.exp(float(np.mean(np.log(ratios)))) <= 1.5


def test_what_is_expected_of_the_noise_helps_where_it_is_right_and_where_it_is_half() -> None:
    curves = single(np.random.default_rng(2), 0.3, 6, 0.0)
    for expected in (0.15, 0.3, 0.6):
        noise = from_residuals([curves], expected)
        assert noise is not None
        assert 0.5 <= noise.sd_best / 0.3 <= 2


def test_curves_of_two_knobs_tell_one_noise() -> None:
    rng = np.random.default_rng(1)
    first, second = single(rng, 0.5, 4, 0.0), single(rng, 0.5, 4, 1.1)
    both, one = from_residuals([first, second]), from_residuals([first])
    assert both is not None
    assert one is not None
    assert both.sd_best == pytest.approx(0.5, rel=0.5)
    assert both.dof >= one.dof


def test_short_curves_and_flat_ones_tell_no_noise() -> None:
    x = np.log(np.geomspace(1e-4, 1e-2, 4))
    assert from_residuals([[Curve(x, np.array([1.0, 3.0, 2.0, 0.0]), np.zeros(4), 0.0)]]) is None
    x = np.log(np.geomspace(1e-4, 1e-2, 6))
    assert from_residuals([[Curve(x, np.full(6, 70.0), np.zeros(6), 0.0)], []]) is None
    assert from_residuals([]) is None


def test_a_noise_of_no_levels_is_the_same_at_all() -> None:
    noise = Noise(80.0, 80.0, 2 * math.log(0.2), 0.0, 1.0, 10)
    assert noise.sd(80.0) == noise.sd(20.0) == pytest.approx(0.2)
    assert noise.freedom(80.0) == 10
