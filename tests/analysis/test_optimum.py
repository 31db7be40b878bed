"""The optimum of one curve: its interval, which of its ends are open, and curves of few cells."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import Analysis
from interplay.analysis.observations import Observation, Observations, from_rows
from interplay.analysis.optimum import Optimum, locate
from interplay.analysis.shape import WINDOW_SDS, Curve

GRID = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "statistics"


def found(
    x: Sequence[float],
    mean: Sequence[float],
    sd: float = 0.1,
    *,
    diverged: Sequence[float] = (),
    zero: float | None = None,
    seeds: int = 3,
    dof: float = math.inf,
    seed: int = 0,
) -> Optimum:
    """The optimum of a curve whose cells were run ``seeds`` times with noise of ``sd``."""
    error = sd / math.sqrt(seeds)
    curve = Curve(
        np.log(np.asarray(x, float)),
        np.asarray(mean, float),
        np.full(len(x), error),
        WINDOW_SDS * sd,
        dof,
        np.log(np.asarray(diverged, float)),
        None if zero is None else (zero, error),
    )
    return locate(curve, np.random.default_rng(seed))


def parabola(peak: float, x: Sequence[float] = GRID, curvature: float = 1.0) -> list[float]:
    return [80 - curvature * math.log(each / peak) ** 2 for each in x]


def linex(peak: float, x: Sequence[float], a: float) -> list[float]:
    """A slow rise and a cliff."""
    v = np.log(np.asarray(x) / peak)
    return list(75 - np.minimum(2 * (np.exp(a * v) - a * v - 1) / a**2, 60))


def factor(optimum: Optimum) -> float:
    """Upper over lower end."""
    low, high = optimum.interval
    assert low is not None
    assert high is not None
    return high / low


def holds(optimum: Optimum, truth: float) -> bool:
    low, high = optimum.interval
    return (low is None or low <= truth) and (high is None or truth <= high)


# -- inside ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [3e-4, 7e-4, 1e-3, 1.7e-3])
def test_the_top_of_a_parabola_on_an_uneven_grid_is_its_peak(peak: float) -> None:
    optimum = found(GRID, parabola(peak))
    assert optimum.status == optimum.words == "inside"
    assert optimum.estimate == pytest.approx(peak, rel=0.05)
    assert holds(optimum, peak)
    assert optimum.needed == ()


@pytest.mark.parametrize(("a", "step"), [(0.5, 1.2), (0.5, 2.0), (2.0, 2.0), (-2.0, 3.0), (1.1, 4.0), (0.5, 5.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(a: float, step: float) -> None:
    """Slow rises and cliffs on fine and coarse grids, where the vertex of a parabola held it in 8 to 74 %."""
    rng, held, wide = np.random.default_rng(1), 0, []
    studies = 60
    for _ in range(studies):
        truth = 0.1 * step ** rng.uniform(-0.5, 0.5)
        x = 0.1 * step ** np.arange(-4.0, 5.0) if step > 1.5 else 0.1 * step ** np.arange(-10.0, 11.0)
        mean = np.array(linex(truth, list(x), a)) + 0.3 / math.sqrt(3) * rng.standard_normal(len(x))
        optimum = found(list(x), list(mean), 0.3)
        held += holds(optimum, truth)
        wide.append(optimum.width)
    assert held >= 0.8 * studies
    assert np.median(wide) < math.log(4)


def test_more_seeds_and_finer_grids_say_more() -> None:
    coarse = np.geomspace(0.0125, 0.8, 7)
    fine = np.geomspace(0.0125, 0.8, 25)

    def typical(x: np.ndarray, seeds: int) -> float:
        rng = np.random.default_rng(5)
        noise = 0.3 / math.sqrt(seeds)
        means = [np.array(linex(0.15, list(x), 1.0)) + noise * rng.standard_normal(len(x)) for _ in range(15)]
        return float(np.median([found(list(x), list(mean), 0.3, seeds=seeds).width for mean in means]))

    assert typical(fine, 3) < 0.85 * typical(coarse, 3)
    assert typical(coarse, 27) < 0.85 * typical(coarse, 3)


def test_few_repetitions_leave_the_noise_uncertain_and_the_interval_wide() -> None:
    rng = np.random.default_rng(3)
    means = [np.array(parabola(7e-4)) + 0.5 * rng.standard_normal(len(GRID)) for _ in range(25)]
    few, many = (np.median([found(GRID, list(y), 0.5, dof=dof).width for y in means]) for dof in (3, 300))
    assert few > 1.15 * many


def test_the_draws_give_the_interval_and_are_the_same_for_the_same_seed() -> None:
    one, same, other = (found(GRID, parabola(7e-4), seed=seed) for seed in (0, 0, 1))
    assert (one.draws == same.draws).all()
    assert one.interval == pytest.approx(other.interval)
    assert not (one.draws == other.draws).all()  # independent of those of another curve
    low, high = np.exp(np.quantile(one.draws, [0.05, 0.95]))
    assert one.interval == pytest.approx((low, high), rel=0.01)


def test_a_wide_interval_is_called_a_plateau_however_many_cells_it_holds() -> None:
    flat = found(GRID, (70.0, 79.9, 80.0, 79.95, 79.9, 70.0))
    assert (flat.status, flat.plateau, flat.words) == ("inside", True, "inside, plateau")
    assert factor(flat) > 4
    assert flat.estimate is not None
    fine = list(np.geomspace(5e-4, 1e-3, 9))
    narrow = found(fine, parabola(7e-4, fine, 0.01), 0.1, seeds=1)
    sharp = found(fine, parabola(7e-4, fine, 100.0), 0.1, seeds=1)
    assert not sharp.plateau
    assert narrow.width > 3 * sharp.width


# -- open ends ---------------------------------------------------------------------------------------------------------


def test_an_optimum_beyond_an_end_is_bounded_by_that_end() -> None:
    below, above = found(GRID, parabola(1e-5)), found(GRID, parabola(1e-1))
    assert (below.status, below.estimate) == ("open below", None)
    assert below.interval == (None, pytest.approx(1e-4))
    assert (above.status, above.estimate) == ("open above", None)
    assert above.interval == (pytest.approx(5e-3), None)
    assert max(below.needed) < 1e-4
    assert min(above.needed) > 5e-3
    assert below.needed[1] / below.needed[0] == pytest.approx(2, rel=0.01)


def test_cells_that_are_equal_say_nothing_and_both_ends_are_open() -> None:
    optimum = found(GRID, (70.0,) * 6)
    assert (optimum.status, optimum.interval, optimum.estimate) == ("open", (None, None), None)
    assert min(optimum.needed) < 1e-4 < 5e-3 < max(optimum.needed)


def test_a_best_cell_at_the_edge_leaves_that_end_open() -> None:
    optimum = found(GRID, (60.0, 70.0, 76.0, 78.5, 79.8, 80.0))
    assert (optimum.status, optimum.interval[1]) == ("open above", None)
    assert optimum.interval[0] is not None
    assert optimum.interval[0] > 1e-3


def test_a_diverged_cell_closes_the_end_beyond_it_and_shapes_nothing() -> None:
    optimum = found((0.05, 0.1, 0.2), (60.0, 70.0, 80.0), diverged=(0.4, 0.8))
    assert optimum.status == "inside"
    low, high = optimum.interval
    assert low is not None
    assert high is not None
    assert 0.1 < low < 0.25 < 0.35 < high <= 0.4
    rising = found((0.05, 0.1, 0.2), (60.0, 70.0, 80.0))
    assert rising.status == "open above"


def test_without_the_knob_as_good_as_with_it_is_open_below() -> None:
    x, mean = (1e-4, 1e-3, 1e-2, 1e-1), (70.0, 80.0, 75.0, 60.0)
    equal, better, worse = (found(x, mean, zero=zero) for zero in (80.0, 85.0, 60.0))
    assert (equal.status, equal.interval[0], equal.estimate) == ("open below", None, None)
    assert equal.without == pytest.approx(0.5)
    assert equal.interval[1] == pytest.approx(1e-3, rel=0.6)
    assert (better.status, better.without) == ("open below", pytest.approx(1))
    assert better.interval == (None, pytest.approx(1e-4))
    assert (worse.status, worse.without) == ("inside", pytest.approx(0))


def test_a_best_cell_beside_none_at_all_is_open_below() -> None:
    optimum = found((1e-4, 2e-4, 4e-4), (70.0, 65.0, 60.0), zero=60.0)
    assert (optimum.status, optimum.estimate, optimum.interval[0]) == ("open below", None, None)
    assert optimum.interval[1] == pytest.approx(1e-4, rel=0.5)


# -- two maxima --------------------------------------------------------------------------------------------------------

TWO = (*GRID, 1e-2, 2e-2)


def test_two_maxima_as_high_as_each_other_are_both_named_and_within_the_interval() -> None:
    optimum = found(TWO, (70.0, 75.0, 80.0, 78.0, 78.5, 79.95, 75.0, 70.0))
    assert (optimum.status, optimum.words) == ("inside", "inside, two maxima")
    assert optimum.others == (5e-3,)
    assert holds(optimum, 5e-4)
    assert holds(optimum, 4e-3)
    assert optimum.estimate == pytest.approx(5e-4, rel=0.4)


def test_a_surely_lower_second_maximum_is_named_and_widens_nothing() -> None:
    optimum = found(TWO, (70.0, 75.0, 80.0, 76.0, 78.5, 79.0, 75.0, 70.0))
    assert (optimum.words, optimum.others, optimum.competing) == ("inside", (5e-3,), False)
    assert holds(optimum, 5e-4)
    assert not holds(optimum, 2e-3)


def test_noise_is_no_valley() -> None:
    optimum = found(TWO, (70.0, 75.0, 79.0, 80.0, 79.9, 79.95, 75.0, 70.0), 0.1)
    assert optimum.others == ()


def test_a_second_maximum_at_the_edge_opens_that_end() -> None:
    optimum = found(GRID, (70.0, 75.0, 80.0, 78.0, 78.5, 79.95))
    assert (optimum.words, optimum.others) == ("open above, two maxima", (5e-3,))
    assert optimum.interval[1] is None


# -- few cells ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimum",
    [
        found((0.1,), (70.0,)),
        found((0.1,), (70.0,), diverged=(0.05, 0.2, 0.4)),
        found((0.1, 0.2), (70.0, 71.0)),
        found((), (), diverged=(0.1, 0.2)),
        found(GRID, parabola(7e-4), 0.0),
    ],
    ids=["one", "all diverged but one", "two", "none", "nothing tells the noise"],
)
def test_what_is_no_curve_has_no_optimum_and_no_plan(optimum: Optimum) -> None:
    assert (optimum.status, optimum.estimate, optimum.interval) == ("unknown", None, (None, None))
    assert (optimum.inside, optimum.plateau, optimum.needed) == (False, False, ())


def test_losses_are_minimised() -> None:
    runs = tuple(
        Observation(Cell.of(lr, 0.0, 0.9, 128), str(seed), 1 + math.log(lr / 0.2) ** 2 + 0.01 * (-1) ** seed)
        for lr in (0.05, 0.1, 0.2, 0.4, 0.8)
        for seed in (0, 1)
    )
    (optimum,) = analyze([Observations("final_test_loss", runs)]).optima
    assert optimum.estimate == pytest.approx(0.2, rel=0.1)


# -- studies with a known answer ---------------------------------------------------------------------------------------


def case(name: str) -> Analysis:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"../shared/cases/statistics/{name} is absent")
    with path.open(newline="") as file:
        return analyze([from_rows(list(csv.DictReader(file)), name)])


def test_rates_four_apart_hold_the_truth() -> None:
    (optimum,) = case("x4_misses.csv").optima
    assert optimum.status == "inside"
    assert holds(optimum, 0.196)


def test_ninety_more_runs_within_the_same_range_say_more() -> None:
    (few,), (many,) = case("grid_quarter.csv").optima, case("grid_whole.csv").optima
    assert few.status == many.status == "inside"
    assert holds(few, 0.1505)
    assert holds(many, 0.1505)
    assert many.width < few.width


def test_equal_optima_are_not_put_in_an_order() -> None:
    words = {claim.id: claim.verdict for claim in case("ordering_equal.csv").asked}
    assert words == dict.fromkeys(("ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd"), "inconclusive")


def test_all_methods_of_one_true_optimum_hold_it() -> None:
    assert all(holds(optimum, 0.1507) for optimum in case("ordering_equal.csv").optima)
