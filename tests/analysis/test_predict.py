"""Predictions on simulated studies whose law is known, and what they say of themselves."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from interplay.analysis.cells import Cell
from interplay.analysis.conclude import tabulate
from interplay.analysis.exponents import regress
from interplay.analysis.observations import Observations, from_rows
from interplay.analysis.predict import PredictionError, predict
from interplay.analysis.table import Table
from interplay.analysis.verify.closed_forms import TrackingAverage
from interplay.analysis.verify.problems import study
from interplay.analysis.verify.studies import exponents
from interplay.figures import agreement

PROBLEM = TrackingAverage(q=2e-7, drift_per_example=True)
DECAYS = tuple(0.005 * 2**i for i in range(10))


@functools.cache
def _table(
    places: tuple[tuple[float, int], ...], seed: int, decays: tuple[float, ...], problem: TrackingAverage, noise: float
) -> Table:
    settings = [Cell.of(lr, wd, 0.0, b) for (lr, b), wd in itertools.product(places, decays)]
    risk = lambda s: problem.risk(s.lr, max(s.weight_decay, 1e-9), s.batch_size)  # noqa: E731
    return tabulate([study(settings, risk, np.random.default_rng(seed), noise)])[0]


def table(
    places: Sequence[tuple[float, int]],
    seed: int = 0,
    decays: tuple[float, ...] = DECAYS,
    problem: TrackingAverage = PROBLEM,
    noise: float = 0.005,
) -> Table:
    return _table(tuple(places), seed, decays, problem, noise)


PLACES = [(lr, 128) for lr in (0.02, 0.04, 0.08, 0.16)] + [(0.08, b) for b in (64, 256, 512)]
ASKED = {"lr": 0.06, "batch_size": 192, "epochs": 100, "momentum": 0.0}


def test_the_truth_is_predicted_where_it_was_not_measured() -> None:
    found = predict(table(PLACES), "weight_decay", ASKED)
    truth = PROBLEM.optimum(0.06, 192)
    assert found.interval[0] < truth < found.interval[1]
    assert found.estimate == pytest.approx(truth, rel=0.25)
    assert found.outside == ()
    factors = {score.rule: score.factor for score in found.scores}
    assert found.chosen.factor is not None
    assert found.chosen.factor < 1.35
    for baseline in ("5e-4 always", "1/(ηT)", "ηλ constant"):
        assert (factors[baseline] or 0) > found.chosen.factor
    assert factors["zero"] is None
    assert {s.rule for s in found.scores if s.baseline} == {"5e-4 always", "1/(ηT)", "ηλ constant", "zero"}


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(20):
        found = predict(table(PLACES, seed), "weight_decay", ASKED)
        held += found.interval[0] <= PROBLEM.optimum(0.06, 192) <= found.interval[1]
    assert held >= 16  # 90 % of 20, less twice the binomial SD


def test_the_learning_rate_for_a_decay_follows_the_same_law() -> None:
    lrs = [0.01 * 2**i for i in range(8)]
    settings = [Cell.of(lr, wd, 0.0, 128) for wd, lr in itertools.product((0.05, 0.1, 0.2, 0.4, 0.8), lrs)]
    observations = study(
        settings, lambda s: PROBLEM.risk(s.lr, s.weight_decay, s.batch_size), np.random.default_rng(0), 0.005
    )
    asked = {"weight_decay": 0.3, "batch_size": 128, "epochs": 100, "momentum": 0.0}
    found = predict(tabulate([observations])[0], "lr", asked)
    truth = PROBLEM.optimum(1.0, 128) / 0.3  # α = ηλ alone decides
    assert found.interval[0] < truth < found.interval[1]
    assert found.rule == "ηλ constant"
    assert "0.1 always" in {s.rule for s in found.scores if s.baseline}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"lr": 1.0}, "η 1, measured 0.02 to 0.16"),
        ({"epochs": 200}, "E 200, measured 100"),
        ({"momentum": 0.9}, "1-μ 0.1, measured 1"),
        ({"lr": 0.02, "batch_size": 512}, "this combination of η, B lies beyond those measured"),
    ],
)
def test_it_says_what_is_extrapolated(asked: dict[str, float], words: str) -> None:
    found = predict(table(PLACES), "weight_decay", ASKED | asked)
    assert [w for w in found.outside if words in w], found.outside


def test_axes_varied_together_say_so_off_their_line() -> None:
    line = [(0.02 * b / 64, b) for b in (64, 128, 256, 512)]
    on = predict(table(line), "weight_decay", ASKED | {"lr": 0.06, "batch_size": 192})
    assert on.outside == ()
    off = predict(table(line), "weight_decay", ASKED | {"lr": 0.1, "batch_size": 192})
    assert off.outside == ("η, B were only varied together",)


def test_no_decay_is_judged_by_its_own_runs_where_there_are_any() -> None:
    without = predict(table(PLACES), "weight_decay", ASKED)
    measured = predict(table(PLACES, decays=(0.0, *DECAYS)), "weight_decay", ASKED)
    zero = {s.rule: s for s in without.scores}["zero"], {s.rule: s for s in measured.scores}["zero"]
    assert [each.at_least for each in zero] == [True, False]
    assert zero[1].loss > zero[0].loss


def test_too_little_is_refused_and_says_what_is_needed() -> None:
    with pytest.raises(PredictionError, match="settings have an optimum"):
        predict(table(PLACES[:3]), "weight_decay", ASKED)


def test_single_runs_and_plateaus_are_enough_and_are_named() -> None:
    full = table(PLACES)
    once = Observations(full.metric, tuple(run for run in full.runs if run.repetition == "0"))
    found = predict(tabulate([once])[0], "weight_decay", ASKED)
    assert found.interval[0] < PROBLEM.optimum(0.06, 192) < found.interval[1]
    assert "rests on single runs: noise from residuals" in found.notes
    noisy = predict(table(PLACES, noise=2.0), "weight_decay", ASKED)
    assert noisy.interval[0] < PROBLEM.optimum(0.06, 192) < noisy.interval[1]
    assert [note for note in noisy.notes if note.endswith("optima are plateaus")]


RATES = [(lr, 128) for lr in (0.02, 0.04, 0.08, 0.16, 0.32)]


@pytest.mark.parametrize(("batch_size", "drift"), [(512, True), (32, True), (512, False)])
def test_on_an_axis_never_varied_the_interval_holds_what_the_theories_say(batch_size: int, drift: bool) -> None:
    problem = TrackingAverage(q=2e-7, drift_per_example=drift)  # exponent of B: 1, or 1/2 where drift is per step
    found = predict(table(RATES, problem=problem), "weight_decay", ASKED | {"batch_size": batch_size})
    assert found.interval[0] < problem.optimum(0.06, batch_size) < found.interval[1]
    low, high = problem.optimum(0.06, 128), problem.optimum(0.06, 128) * batch_size / 128
    assert found.interval[0] < min(low, high) < max(low, high) < found.interval[1]
    assert {"EMA timescale in epochs", "constant rotation"} <= set(found.theories)
    assert "noisy quadratic" not in found.theories  # the measured exponent of η excludes it
    assert [note for note in found.notes if "constant rotation 0" in note and "Loshchilov-Hutter 0.5" in note]
    fitted = next(score for score in found.scores if score.rule == "fitted exponents")
    assert fitted.says is None
    between = predict(table(RATES, problem=problem), "weight_decay", ASKED | {"batch_size": 128})
    assert between.theories == ()
    assert math.log(between.interval[1] / between.interval[0]) < 0.5 < math.log(found.interval[1] / found.interval[0])


def test_where_no_theory_is_left_an_axis_never_varied_is_refused() -> None:
    settings = [Cell.of(lr, wd, 0.0, 128) for (lr, _), wd in itertools.product(RATES, DECAYS)]
    risk = lambda s: 1 + 0.05 * math.log(s.weight_decay / 0.1 * (s.lr / 0.08) ** 0.5) ** 2  # noqa: E731
    runs = tabulate([study(settings, risk, np.random.default_rng(0), 0.003)])[0]
    assert predict(runs, "weight_decay", ASKED | {"batch_size": 128}).outside == ()
    with pytest.raises(PredictionError, match=r"B was never varied.*at B 512 \(measured so far: 128\)"):
        predict(runs, "weight_decay", ASKED | {"batch_size": 512})


def test_far_outside_the_interval_holds_the_theories_that_are_left() -> None:
    narrow = [(lr, 128) for lr in (0.05, 0.06, 0.07, 0.08)]
    near = predict(table(narrow, noise=0.02), "weight_decay", ASKED | {"lr": 0.065, "batch_size": 128})
    far = predict(table(narrow, noise=0.02), "weight_decay", ASKED | {"lr": 0.5, "batch_size": 128})
    assert near.theories == ()
    assert "EMA timescale in epochs" in far.theories
    assert far.interval[0] < PROBLEM.optimum(0.5, 128) < far.interval[1]
    assert far.interval[1] / far.interval[0] > 2 * near.interval[1] / near.interval[0]


def test_curvature_is_used_within_the_range_and_said() -> None:
    rates = [(0.01 * 2**i, 128) for i in range(8)]

    def best(lr: float) -> float:  # a constant for short runs, 1/η for long ones
        return 0.3 / math.sqrt(1 + (lr / 0.1) ** 2)

    def risk(s: Cell) -> float:
        return 1 + 0.05 * math.log(s.weight_decay / best(s.lr)) ** 2

    settings = [Cell.of(lr, wd, 0.0, b) for (lr, b), wd in itertools.product(rates, DECAYS)]
    runs = tabulate([study(settings, risk, np.random.default_rng(0), 0.001)])[0]
    for lr in (0.015, 0.1, 0.8):
        found = predict(runs, "weight_decay", ASKED | {"lr": lr, "batch_size": 128})
        assert found.rule == "fitted exponents that change"
        assert found.interval[0] < best(lr) < found.interval[1]
        assert found.notes[0].startswith("a straight law in the logarithms misfits")
    outside = predict(runs, "weight_decay", ASKED | {"lr": 5.0, "batch_size": 128})
    assert outside.rule != "fitted exponents that change"


def test_optima_with_an_open_end_bound_the_prediction() -> None:
    places = [(lr, 128) for lr in (0.04, 0.08, 0.16, 0.32)]
    low = [(0.002, 128), (0.001, 128)]  # their optima lie far above all cells
    alone = predict(table(places, noise=0.1), "weight_decay", ASKED | {"lr": 0.01, "batch_size": 128})
    bound = predict(table(places + low, noise=0.1), "weight_decay", ASKED | {"lr": 0.01, "batch_size": 128})
    assert bound.interval[0] > alone.interval[0]
    assert "2 of 6 settings give a bound only" in bound.notes


@pytest.mark.slow
def test_ninety_per_cent_intervals_hold_a_slice_that_was_left_out() -> None:
    held = count = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        simulated = exponents("lr", 0.15, True)(rng, "")
        rates = sorted({cell.lr for cell in simulated.cells})
        asked = simulated.cells[0]._replace(lr=float(np.sqrt(rates[1] * rates[2])))
        rows = simulated.world.run(simulated.cells, simulated.seeds)
        at = {"lr": asked.lr, "batch_size": asked.batch_size, "epochs": 100, "momentum": 0.9}
        try:
            found = predict(tabulate([from_rows(rows, "study")])[0], "weight_decay", at)
        except PredictionError:
            continue
        truth = math.exp(simulated.world.surface.slice_of(asked).log_optimum)
        count += 1
        held += found.interval[0] <= truth <= found.interval[1]
    assert count >= 24
    assert held >= 0.9 * count - 3  # less about twice the binomial SD


def test_leaving_one_out_in_closed_form_is_the_same_as_fitting_the_others() -> None:
    rng = np.random.default_rng(0)
    z = np.column_stack([np.ones(9), rng.normal(size=(9, 2))])
    y, error = z @ rng.normal(size=3) + 0.2 * rng.normal(size=9), rng.uniform(0.01, 0.4, 9)
    for precision in (np.zeros(3), np.array([0.0, 0.0, 9.0])):
        said = regress(z, y, error, precision).left_out()
        for index in range(9):
            rest = np.arange(9) != index
            fit = regress(z[rest], y[rest], error[rest], precision)
            assert said[index] == pytest.approx(float(fit.weight @ fit.mean @ z[index]), abs=1e-9)


def test_a_prediction_is_json_and_can_be_drawn() -> None:
    found = predict(table(PLACES), "weight_decay", ASKED)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["of"] == "weight_decay"
    assert {"estimate", "interval", "rule", "outside", "leave_one_setting_out"} <= set(values)
    axis = agreement.draw(found).axes[0]
    # Factors on a log axis, a row for the rule in use and for each baseline.
    assert axis.get_xscale() == "log"
    assert axis.get_yticklabels()[0].get_text().split("\n")[0] == found.rule
    assert len(found.checks) == len(PLACES)
