from __future__ import annotations

import math

import numpy as np
import pytest

from interplay.analysis.noise import Noise, pool
from interplay.analysis.optimum import Curve, curve_of, locate, vertex

GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)


def quiet(sd: float = 0.1) -> Noise:
    return Noise((70.0,), (sd,), 20, (20,))


def parabola(peak: float, count: int = 3, curvature: float = 1.0) -> Curve:
    mean = tuple(80 - curvature * (math.log(x) - math.log(peak)) ** 2 for x in GRID)
    return Curve(GRID, mean, (count,) * len(GRID))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("peak", [3e-4, 7e-4, 1e-3, 1.7e-3])
def test_the_vertex_of_an_exact_parabola_on_an_uneven_grid_is_its_peak(peak: float) -> None:
    found = locate(parabola(peak), quiet(), rng())
    assert found.status == "interior"
    assert found.estimate == pytest.approx(peak)
    low, high = found.interval
    assert low is not None
    assert high is not None
    assert low < peak < high


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth, held, generator = 7e-4, 0, np.random.default_rng(1)
    for _ in range(300):
        exact = parabola(truth)
        noisy = tuple(m + 0.2 / math.sqrt(3) * generator.standard_normal() for m in exact.mean)
        found = locate(Curve(GRID, noisy, exact.count), quiet(0.2), generator)
        assert found.status == "interior"
        held += (found.interval[0] or 0) <= truth <= (found.interval[1] or 1)
    assert 0.85 <= held / 300 <= 0.96


def test_the_vertex_scatters_less_than_the_best_cell() -> None:
    generator, vertices, cells = np.random.default_rng(2), [], []
    for _ in range(300):
        mean = np.array(parabola(7e-4).mean) + 0.3 * generator.standard_normal(len(GRID))
        best = int(mean.argmax())
        if 0 < best < len(GRID) - 1:
            vertices.append(vertex(Curve(GRID, tuple(mean), (1,) * 6), mean, best))
            cells.append(math.log(GRID[best]))
    assert np.std(vertices) < 0.6 * np.std(cells)


@pytest.mark.parametrize(("peak", "open_end"), [(1e-5, 0), (1e-1, 1)])
def test_a_best_cell_on_the_edge_is_censored_and_never_a_point(peak: float, open_end: int) -> None:
    found = locate(parabola(peak), quiet(), rng())
    assert (found.status, found.estimate) == ("censored", None)
    assert found.interval[open_end] is None
    assert found.interval[1 - open_end] is not None
    (needed,) = found.needed
    assert needed < GRID[0] if open_end == 0 else needed > GRID[-1]


def test_cells_that_noise_cannot_tell_apart_are_a_plateau() -> None:
    flat = Curve(GRID, (70.0, 79.9, 80.0, 79.95, 79.9, 70.0), (3,) * 6)
    found = locate(flat, quiet(), rng())
    assert (found.status, found.estimate) == ("plateau", None)
    low, high = found.interval
    assert low is not None
    assert high is not None
    assert low <= 5e-4
    assert high >= 1e-3
    assert all(GRID[1] < x < GRID[4] for x in found.needed)


def test_an_edge_as_good_as_the_best_cell_opens_the_interval() -> None:
    two_peaks = Curve(GRID, (70.0, 75.0, 80.0, 78.0, 78.5, 79.95), (3,) * 6)
    found = locate(two_peaks, quiet(), rng())
    assert found.status == "plateau"
    assert found.interval[1] is None


def test_a_diverged_neighbour_bounds_the_optimum_without_entering_the_parabola() -> None:
    curve = curve_of({0.1: [70.0, 70.1], 0.2: [80.0, 80.1], 0.05: [60.0, 60.1]}, diverged=[0.4, 0.8])
    found = locate(curve, quiet(), rng())
    assert found.status == "interior"
    assert found.estimate == pytest.approx(0.2)


def test_no_decay_at_all_can_be_the_best_cell() -> None:
    curve = curve_of({0.0: [80.0, 80.0], 1e-3: [75.0, 75.0], 1e-2: [70.0, 70.0], 1e-1: [60.0, 60.0]})
    found = locate(curve, quiet(), rng())
    assert found.status == "censored"
    assert found.interval == (None, 1e-3)


def test_without_repetitions_there_is_a_point_and_no_interval() -> None:
    found = locate(parabola(7e-4), None, rng())
    assert (found.status, found.interval) == ("interior", (None, None))
    assert locate(Curve((0.1, 0.2), (1.0, 2.0), (1, 1)), None, rng()).status == "unknown"


def test_losses_are_minimised() -> None:
    curve = curve_of({0.1: [2.0], 0.2: [1.0], 0.4: [3.0]}, sign=-1)
    assert locate(curve, None, rng()).estimate == pytest.approx(0.2, rel=0.2)


def test_noise_is_pooled_and_grows_as_accuracy_falls() -> None:
    generator = np.random.default_rng(0)
    good = [80 + 0.2 * generator.standard_normal(3) for _ in range(20)]
    poor = [40 + 3.0 * generator.standard_normal(3) for _ in range(20)]
    found = pool([*map(list, good), *map(list, poor), [50.0]])
    assert found is not None
    assert found.dof == 80
    assert found.sd(80) == pytest.approx(0.2, rel=0.35)
    assert found.sd(40) == pytest.approx(3.0, rel=0.35)
    assert list(found.sds) == sorted(found.sds, reverse=True)
    assert pool([[1.0], [2.0]]) is None


@pytest.mark.parametrize("cells", [2, 9, 12, 17, 25])
def test_every_cell_enters_the_noise_once(cells: int) -> None:
    values = [[float(level), float(level) + 1.0] for level in range(cells)]
    found = pool(values)
    assert found is not None
    assert found.dof == cells
    assert list(found.levels) == sorted(set(found.levels))
    assert found.sds == pytest.approx([0.5**0.5] * len(found.sds))


def test_noise_from_few_repetitions_needs_a_larger_gap_before_cells_differ() -> None:
    """Three cells 2.6 standard errors below the best: different if the noise is known, not if it is from 8 pairs."""
    step = 2.6 * 0.1 * math.sqrt(2 / 3)
    curve = Curve(GRID, (70.0, 80 - step, 80.0, 80 - step, 80 - step, 70.0), (3,) * 6)
    known = Noise((80.0,), (0.1,), 400, (400,))
    few = Noise((80.0,), (0.1,), 400, (8,))
    assert locate(curve, known, rng()).status == "interior"
    assert locate(curve, few, rng()).status == "plateau"


def test_levels_that_are_given_one_noise_share_its_degrees_of_freedom() -> None:
    generator = np.random.default_rng(0)
    even = [list(level + 0.5 * generator.standard_normal(3)) for level in range(20)]
    noise = pool(even)
    assert noise is not None
    for level, sd in zip(noise.levels, noise.sds, strict=True):
        alike = [each for each in noise.sds if each == sd]
        assert noise.freedom(level) >= 8 * len(alike)
    assert sum(noise.free[noise.sds.index(sd)] for sd in set(noise.sds)) == noise.dof == 40
