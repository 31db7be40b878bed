"""Predictions on simulated studies whose law is known, and what they say of themselves."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from interplay.analysis.analyze import tabulate
from interplay.analysis.cells import Cell
from interplay.analysis.observations import Observations
from interplay.analysis.predict import PredictionError, predict
from interplay.analysis.table import Table
from interplay.analysis.verify.closed_forms import TrackingAverage
from interplay.analysis.verify.problems import study
from interplay.figures import agreement

PROBLEM = TrackingAverage(q=2e-7, drift_per_example=True)
DECAYS = tuple(0.005 * 2**i for i in range(10))


def table(places: list[tuple[float, int]], seed: int = 0, decays: tuple[float, ...] = DECAYS) -> Table:
    settings = [Cell.of(lr, wd, 0.0, b) for (lr, b), wd in itertools.product(places, decays)]
    risk = lambda s: PROBLEM.risk(s.lr, max(s.weight_decay, 1e-9), s.batch_size)  # noqa: E731
    return tabulate([study(settings, risk, np.random.default_rng(seed), 0.005)])[0]


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
    full = table(PLACES)
    once = Observations(full.metric, tuple(run for run in full.runs if run.repetition == "0"))
    with pytest.raises(PredictionError, match="second seed"):
        predict(tabulate([once])[0], "weight_decay", ASKED)


def test_a_prediction_is_json_and_can_be_drawn() -> None:
    found = predict(table(PLACES), "weight_decay", ASKED)
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["of"] == "weight_decay"
    assert {"estimate", "interval", "rule", "outside", "leave_one_setting_out"} <= set(values)
    axis = agreement.draw(found).axes[0]
    assert axis.get_xscale() == axis.get_yscale() == "log"
    assert len(found.checks) == len(PLACES)
