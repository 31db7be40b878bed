"""Bounds against simulated fits, and what is counted of judges who are right, wrong, or silent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import least_squares

from interplay.analysis.verify.bounds import attainable, bound_of, exponent_bound, information, optimum_bound
from interplay.analysis.verify.conditions import draw
from interplay.analysis.verify.curves import AsymmetricQuartic, Slice
from interplay.analysis.verify.extend import extend, new_runs
from interplay.analysis.verify.judges import Claimed, Judgement, Located, engine
from interplay.analysis.verify.measure import measure, scores, summarise, surely_false
from interplay.analysis.verify.studies import Truth
from interplay.analysis.verify.worlds import Cell, PowerLaw, Row, World

LAW = PowerLaw(
    key=7,
    shape=AsymmetricQuartic(3.0, 0.5, 0.4),
    intercept=math.log(1e-3),
    lr_exponent=-1.0,
    batch_exponent=1.0,
    centre=math.log(0.1),
)
CELLS = tuple(Cell(lr, wd) for lr in (0.05, 0.1, 0.2) for wd in (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3))


def law_study(scatter: float = 0.0) -> object:
    surface = dataclasses.replace(LAW, scatter=scatter)
    return dataclasses.replace(
        draw("exponent.lr.seeds", 0), world=World(surface, 7), cells=CELLS, seeds=(1, 2, 3), truths=(), finer=()
    )


def fitted_exponent(surface: PowerLaw, rng: np.random.Generator, cells: Sequence[Cell], runs: int) -> float:
    """Weighted least squares of the true family: the maximum of the likelihood."""
    lrs = sorted({cell.lr for cell in cells})
    sd = np.array([surface.sd(cell) for cell in cells]) / math.sqrt(runs)
    y = np.array([surface.accuracy(cell) for cell in cells]) + sd * rng.standard_normal(len(cells))
    slices = [surface.slice_of(Cell(lr, 1e-3)) for lr in lrs]

    def residual(p: np.ndarray) -> np.ndarray:
        shape = surface.shape.with_parameters(tuple(p[2 : 2 + len(surface.shape.parameters())]))
        tops = p[-len(lrs) :]
        found = []
        for cell in cells:
            i = lrs.index(cell.lr)
            optimum = p[0] + p[1] * (math.log(cell.lr) - surface.centre)
            curve = dataclasses.replace(slices[i], shape=shape, log_optimum=optimum, top=float(tops[i]))
            found.append(float(curve.accuracy(math.log(cell.weight_decay))))
        return (np.array(found) - y) / sd

    start = [LAW.intercept, LAW.lr_exponent, *surface.shape.parameters(), *(s.top for s in slices)]
    return float(least_squares(residual, start, x_scale=np.maximum(np.abs(start), 0.1)).x[1])


def test_the_bound_of_an_exponent_is_the_scatter_of_the_best_fit() -> None:
    rng = np.random.default_rng(0)
    bound = exponent_bound(law_study())  # type: ignore[arg-type]
    found = [fitted_exponent(LAW, rng, CELLS, 3) for _ in range(50)]
    assert np.std(found) == pytest.approx(bound, rel=0.3)
    assert np.mean(found) == pytest.approx(-1.0, abs=0.5 * bound)


def test_scatter_of_the_optima_adds_to_the_bound() -> None:
    tight, loose = exponent_bound(law_study()), exponent_bound(law_study(0.15))  # type: ignore[arg-type]
    z = np.log([0.5, 1, 2])
    alone = 0.15 / math.sqrt(np.sum(z**2))
    assert loose > alone
    assert loose**2 == pytest.approx(tight**2 + alone**2, rel=0.1)


def test_the_information_of_one_curve_is_that_of_its_derivatives() -> None:
    curve = Slice(AsymmetricQuartic(2.0, 0.5, 0.0), 0.0, 75.0)
    x, precision = np.linspace(-1.5, 1.5, 7), np.full(7, 4.0)
    (about,) = information([curve], [x], [precision])[0]

    def of(top: float, log_optimum: float, k: float, q: float, skew: float) -> np.ndarray:
        return Slice(AsymmetricQuartic(k, q, skew), log_optimum, top).accuracy(x)

    true = np.array([75.0, 0.0, 2.0, 0.5, 0.0])
    columns = [(of(*(true + e)) - of(*(true - e))) / 2e-4 for e in 1e-4 * np.eye(5)]
    jacobian = np.stack(columns, axis=1)
    covariance = np.linalg.inv(4.0 * jacobian.T @ jacobian)
    assert about == pytest.approx(1 / covariance[1, 1], rel=1e-3)


def test_more_cells_and_more_seeds_lower_the_bound() -> None:
    study = draw("density.optimum", 2)
    bounds = [optimum_bound(study, "SGD", cells) for cells in (study.cells, *study.finer)]
    assert bounds == sorted(bounds, reverse=True)
    more = dataclasses.replace(study, seeds=tuple(range(4 * len(study.seeds))))
    assert optimum_bound(more, "SGD", study.finer[0]) == pytest.approx(bounds[1] / 2, rel=1e-6)


def test_what_the_bound_allows_is_what_normal_estimates_earn() -> None:
    rng = np.random.default_rng(0)
    for value, word in ((-1.0, "supported"), (-0.9, "supported"), (-0.5, "refuted"), (0.0, "refuted")):
        truth = Truth("inverse.profile", word, value, (-1.2, -0.8))  # type: ignore[arg-type]
        sd = 0.08
        found = value + sd * rng.standard_normal(20000)
        supported = (found - 1.645 * sd >= -1.2) & (found + 1.645 * sd <= -0.8)
        refuted = (found + 1.96 * sd < -1.2) | (found - 1.96 * sd > -0.8)
        assert attainable(truth, sd) == pytest.approx(np.mean(supported if word == "supported" else refuted), abs=0.01)
    assert attainable(truth, math.inf) == 0
    assert bound_of(draw("plane.product", 0), draw("plane.product", 0).truths[0]) is None


def test_what_the_bound_allows_of_orderings_is_what_normal_estimates_earn() -> None:
    rng = np.random.default_rng(0)
    margin = math.log(1.1)
    for factor, word in ((3.0, "supported"), (1.5, "supported"), (1 / 3, "refuted"), (1.0, "undecided")):
        truth = Truth("ordering.sgd>sgd_wd", word, math.log(factor), None, "ordering")  # type: ignore[arg-type]
        sd = 0.2
        found = math.log(factor) + sd * rng.standard_normal(20000)
        above, below = found - 1.645 * sd > margin, found + 1.645 * sd < -margin
        right = {"supported": above, "refuted": below, "undecided": ~above & ~below}[word]
        assert attainable(truth, sd) == pytest.approx(np.mean(right), abs=0.01)
        assert attainable(truth, math.inf) == (word == "undecided")


# -- judges -----------------------------------------------------------------------------------------------------------


def silent(rows: Sequence[Row], metric: str) -> Judgement:
    return Judgement({})


def believer(rows: Sequence[Row], metric: str) -> Judgement:
    """Supports all, with intervals that hold what is near -1."""
    said = Claimed("supported", -1.0, (-1.1, -0.9))
    names = ("inverse.profile", "ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd")
    optimum = Located("lr", {"method": "SGD"}, (1e-9, 1e9), "inside")
    return Judgement(dict.fromkeys(names, said), (optimum,))


def test_a_silent_judge_is_never_false_and_right_only_where_nothing_is_true() -> None:
    (exponent,) = summarise(measure(["exponent.lr.one_seed"], 5, judge=silent, processes=1))
    assert (exponent.right, exponent.false, exponent.decided) == (0, 0, 0)
    assert exponent.width is None
    assert exponent.attainable is not None
    equal = summarise(measure(["ordering.equal.x3"], 2, judge=silent, processes=1))[0]
    assert (equal.right, equal.false) == (1, 0)
    assert equal.attainable is not None
    assert 0.9 < equal.attainable <= 1


def test_a_judge_who_supports_all_is_false_where_it_is_not_so() -> None:
    found = measure(["exponent.lr.one_seed", "ordering.equal.x3", "optimum.x5"], 16, judge=believer, processes=1)
    exponent, equal, located, optimum = summarise(found)
    truths = [draw("exponent.lr.one_seed", index).truths[0] for index in range(16)]
    assert exponent.false == pytest.approx(np.mean([truth.word == "refuted" for truth in truths]))
    assert exponent.right == pytest.approx(np.mean([t.word == "supported" for t in truths if t.away]))
    assert exponent.held == pytest.approx(np.mean([-1.1 <= float(t.value or 0) <= -0.9 for t in truths]))
    assert exponent.width == pytest.approx(0.2)
    assert (equal.right, equal.false) == (0, 1)
    assert (located.of, located.intervals) == ("optimum", 16)  # of three methods only one is told of
    assert optimum.held == 1
    assert optimum.width == pytest.approx(18 * math.log(10))
    assert surely_false(exponent)
    assert not surely_false(dataclasses.replace(exponent, studies=20, false=0.05))


def test_nested_grids_are_scored_one_by_one() -> None:
    found = scores("density.optimum", 0, judge=believer)
    assert [score.condition for score in found] == [f"density.optimum/{level}" for level in range(4)]
    assert [score.runs for score in found] == sorted(score.runs for score in found)


@pytest.mark.slow  # starts two processes, which load the engine
def test_scores_do_not_depend_on_the_number_of_processes() -> None:
    alone = measure(["optimum.x3"], 6, judge=engine, processes=1)
    assert measure(["optimum.x3"], 6, judge=engine, processes=2) == alone


# -- extending --------------------------------------------------------------------------------------------------------


def test_a_loop_runs_what_is_needed_until_it_is_decided() -> None:
    study = draw("extend.coupling", 0)
    start = len(study.rows)
    cell = {"lr": 0.8, "weight_decay": 1e-3, "momentum": 0.9, "batch_size": 128}

    def asks(rows: Sequence[Row], metric: str) -> Judgement:
        word = "supported" if len(rows) >= start + 3 else "inconclusive"
        return Judgement({"inverse.profile": Claimed(word, needed=({**cell, "seeds": [len(rows)]},))})

    outcome = extend(study, "inverse.profile", asks)
    assert (outcome.stopped, outcome.runs, outcome.rounds) == ("decided", start + 3, 3)
    assert extend(study, "inverse.profile", asks, budget=start + 2).stopped == "budget"
    assert extend(study, "inverse.profile", asks, rounds=2).stopped == "rounds"
    assert extend(study, "inverse.profile", silent).stopped == "nothing needed"


def test_needed_cells_get_the_seeds_of_the_study_or_the_next_one() -> None:
    study = draw("extend.coupling", 0)
    cell = study.cells[0]
    known = {"lr": cell.lr, "weight_decay": cell.weight_decay, "momentum": 0.9, "batch_size": 128}
    rows = study.rows
    new = {**known, "weight_decay": 0.3}
    assert new_runs(rows, [new], study.seeds) == [(cell._replace(weight_decay=0.3), seed) for seed in study.seeds]
    assert new_runs(rows, [known], study.seeds) == [(cell, max(study.seeds) + 1)]
    last = max(study.seeds)
    assert new_runs(rows, [known], study.seeds, 2) == [(cell, last + 1), (cell, last + 2)]
    assert [seed for _, seed in new_runs(rows, [new], study.seeds, 2)] == [*study.seeds, last + 1, last + 2]
