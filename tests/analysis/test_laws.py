"""Joint fits, the comparison of schedules, and collapse, on simulated studies whose law is known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from interplay.analysis.analyze import analyze
from interplay.analysis.best import best_settings
from interplay.analysis.cells import Cell
from interplay.analysis.collapse import collapse_picture
from interplay.analysis.conclude import tabulate
from interplay.analysis.laws import joint_fit, measured
from interplay.analysis.observations import Observations, from_records
from interplay.analysis.table import Table
from interplay.analysis.theories import along, theories
from interplay.analysis.verify.closed_forms import NoisyQuadratic
from interplay.analysis.verify.problems import study
from interplay.analysis.words import grouped
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.train.timescales import collapse_variables

DECAYS = tuple(1e-5 * 2**i for i in range(12))


def law(lr: float, batch: float, epochs: float, momentum: float) -> Callable[[Cell], float]:
    """A risk whose least decay is a power of each axis, a parabola about it in log λ."""

    def risk(s: Cell) -> float:
        best = (
            5e-4
            * (s.lr / 0.1) ** lr
            * (s.batch_size / 128) ** batch
            * (s.epochs / 100) ** epochs
            * ((1 - s.momentum) / 0.1) ** momentum
        )
        return 1 + 0.05 * math.log(s.weight_decay / best) ** 2

    return risk


def simulated(settings: Sequence[Cell], risk: Callable[[Cell], float], seed: int = 0) -> Table:
    observations = study(list(dict.fromkeys(settings)), risk, np.random.default_rng(seed), 0.003)
    return tabulate([observations])[0]


def all_axes() -> list[Cell]:
    """Each axis varied by itself, and each pair of neighbours once."""
    places = [(0.1, 0.9, 128, 100)]
    places += [(lr, 0.9, 128, 100) for lr in (0.05, 0.2)] + [(0.1, 0.9, b, 100) for b in (64, 256)]
    places += [(0.1, 0.9, 128, e) for e in (50, 200)] + [(0.1, mu, 128, 100) for mu in (0.8, 0.95)]
    return [Cell.of(lr, wd, mu, b, e) for (lr, mu, b, e), wd in itertools.product(places, DECAYS)]


@pytest.mark.parametrize("theory", theories(coupled=True), ids=lambda t: t.name)
def test_the_theory_that_holds_is_inside_and_those_far_from_it_are_outside(theory: object) -> None:
    exponents = dict(theory.exponents)  # type: ignore[attr-defined]
    truth = [exponents[name] or 0.0 for name in ("lr", "batch_size", "epochs", "1-momentum")]
    joint = joint_fit(simulated(all_axes(), law(*truth)))
    assert joint is not None
    assert joint.axes == ("lr", "batch_size", "epochs", "1-momentum")
    assert theory.name in joint.held  # type: ignore[attr-defined]
    assert "noisy quadratic" in joint.excluded or exponents["lr"] == 1
    for name, value in zip(joint.axes, truth, strict=True):
        estimate, (low, high) = joint.exponents[name]
        assert estimate == pytest.approx(value, abs=0.12)
        assert low - 0.1 < value < high + 0.1


def test_every_theory_but_rotation_is_refused_by_a_law_of_no_theory() -> None:
    joint = joint_fit(simulated(all_axes(), law(-0.4, 0.4, 0.5, 0.5)))
    assert joint is not None
    assert joint.held == ()


def test_axes_varied_together_are_told_apart_no_further_than_they_were_varied() -> None:
    settings = [Cell.of(0.1 * b / 128, wd, 0.9, b) for b, wd in itertools.product((64, 128, 256, 512), DECAYS)]
    joint = joint_fit(simulated(settings, law(-1, 1, 0, 1)))
    assert joint is not None
    assert joint.axes == ("lr", "batch_size")
    assert joint.exponents == {}
    # η ∝ B: both theories say that λ* stays where it is, and this study cannot tell them apart.
    assert {"EMA timescale in epochs", "horizon C/S", "converged ridge"} <= set(joint.held)
    assert {"constant rotation", "Loshchilov-Hutter"} <= set(joint.excluded)


def test_the_exponents_of_theories_add_up_along_a_rule() -> None:
    found = along({"lr": 1, "batch_size": 1})
    assert found["EMA timescale in epochs"] == 0
    assert found["constant rotation"] == -1
    assert found["noisy quadratic"] == 0
    assert "constant rotation" not in along({"1-momentum": 1})
    assert along({"1-momentum": 1}, coupled=False)["EMA timescale in epochs"] == 0


def test_the_noisy_quadratic_is_recognised_among_the_theories() -> None:
    problem = NoisyQuadratic(s2=4.0)  # well in the region of small η, where the exponents are exact
    places = [(lr, 0.9, 128) for lr in (0.02, 0.04, 0.08)] + [(0.04, mu, 128) for mu in (0.8, 0.95)]
    places += [(0.04, 0.9, b) for b in (64, 256)]
    decays = [2e-4 * 2**i for i in range(11)]
    settings = [Cell.of(lr, wd, mu, b) for (lr, mu, b), wd in itertools.product(places, decays)]
    observations = study(
        settings,
        lambda s: problem.risk(s.lr, s.weight_decay, s.batch_size, s.momentum),
        np.random.default_rng(1),
        0.0002,
    )
    joint = joint_fit(tabulate([observations])[0])
    assert joint is not None
    assert joint.held == ("noisy quadratic",)


def test_single_runs_tell_theories_apart_by_the_scatter_about_their_curves() -> None:
    table = simulated(all_axes(), law(-1, 1, 0, 1))
    once = tabulate([Observations(table.metric, tuple(run for run in table.runs if run.repetition == "0"))])[0]
    joint = joint_fit(once)
    assert joint is not None
    assert "EMA timescale in epochs" in joint.held
    assert "noisy quadratic" in joint.excluded
    # Four decays a curve leave nothing to tell the noise by.
    few = Observations(table.metric, tuple(run for run in once.runs if run.cell.weight_decay in DECAYS[4:8]))
    assert joint_fit(tabulate([few])[0]) is None
    assert analyze([few]).to_dict()["joint"] is None


# -- schedules --------------------------------------------------------------------------------------------------------


FOUR: list[dict[str, Any]] = [{"schedule": schedule} for schedule in ("cosine", "linear", "constant", "step")]


def scheduled(kept: str, schedules: Sequence[dict[str, Any]] = FOUR) -> Table:
    """Schedules whose best decay keeps ``kept`` (a collapse variable) to one value."""
    target = {"e_folds": 4.0, "window_epochs": 12.0}[kept]
    rng = np.random.default_rng(3)
    records = []
    for schedule in schedules:
        shared: dict[str, Any] = {"dataset": "digits", "model": "mlp", "lr": 0.1, "epochs": 40, "precision": "fp32"}
        specs = [RunSpec(**{**shared, **schedule}, weight_decay=wd) for wd in [2e-4 * 2**i for i in range(12)]]
        variables = [collapse_variables(spec, 8) for spec in specs]
        logs = np.log([spec.weight_decay for spec in specs])
        values = np.log([v[kept] for v in variables])
        order = np.argsort(values)
        best = float(np.interp(math.log(target), values[order], logs[order]))
        for spec, found in zip(specs, variables, strict=True):
            for seed in range(3):
                accuracy = 90 - 0.8 * (math.log(spec.weight_decay) - best) ** 2 + 0.02 * rng.standard_normal()
                last = EpochMetrics(40, 0.01, 0.1, 99.0, 0.5, accuracy)
                records.append(RunRecord(spec.replace(seed=seed), Status.FINISHED, (last,), collapse=found))
    return tabulate([from_records(records)])[0]


@pytest.mark.parametrize(("kept", "window_wins"), [("window_epochs", True), ("e_folds", False)])
def test_sum_of_rates_and_window_are_told_apart_across_schedules(kept: str, window_wins: bool) -> None:
    table = scheduled(kept)
    claims = {c.id: c for c in analyze([Observations(table.metric, table.runs)]).claims}
    claim = claims["schedule.sum_of_rates"]
    assert claim.verdict != ("supported" if window_wins else "refuted")
    assert ("W does better" in claim.reason) is window_wins
    assert "at one peak rate, over 4 schedules" in claim.reason
    assert "at one S" not in claim.reason  # no peak was changed


@pytest.mark.parametrize(("kept", "window_wins"), [("window_epochs", True), ("e_folds", False)])
def test_schedules_with_warm_up_and_those_of_one_sum_are_compared_too(kept: str, window_wins: bool) -> None:
    warm: list[dict[str, Any]] = [{**each, "warmup_epochs": 8} for each in FOUR]
    mean = 41 / 80  # of cosine and linear over 40 epochs, with warm-up or without
    equal: list[dict[str, Any]] = [
        {"schedule": "constant", "lr": 0.1 * mean},
        {"schedule": "step", "lr": 0.1 * mean / 0.5275},
    ]
    other: list[dict[str, Any]] = [
        {"schedule": "constant", "lr": 0.02}
    ]  # of another S and another peak: in neither comparison
    table = scheduled(kept, [*FOUR, *warm, *equal, *other])
    found = analyze([Observations(table.metric, table.runs)])
    claims = {c.id: c for c in found.claims}
    at_one_peak, at_one_sum = claims["schedule.sum_of_rates"].reason.split("at one S, ")
    assert "at one peak rate, over 8 schedules" in at_one_peak
    assert at_one_sum.startswith("over 6 schedules")
    assert ("W does better" in at_one_peak) is window_wins
    assert ("W does better" in at_one_sum) is window_wins
    (best,) = best_settings(table)
    assert best.setting.get("warmup_epochs", 0) == best.cell.get("warmup_epochs", 0)
    assert best.setting.get("schedule", "cosine") == best.cell.schedule
    assert len(found.noises) == 1  # warm-up is a part of the schedule, not another network
    ((_, _, apart, optima),) = [each for each in grouped(found.optima) if each[0] == "weight_decay"]
    assert apart == ["lr", "schedule", "warmup_epochs"]
    assert len({tuple(str(each.given.get(name)) for name in apart) for each in optima}) == len(optima) == 11


# -- collapse ---------------------------------------------------------------------------------------------------------


def test_optima_fall_together_on_the_variable_that_holds() -> None:
    settings = [
        Cell.of(lr, wd, 0.9, b)
        for (lr, b), wd in itertools.product([(0.05, 64), (0.1, 128), (0.2, 128), (0.1, 256)], DECAYS)
    ]
    table = simulated(settings, law(-1, 1, 0, 1))
    steps = {s: float(s.epochs * math.ceil(50_000 / s.batch_size)) for s in settings}
    runs = [
        dataclasses.replace(
            run,
            steps=steps[run.cell],
            sum_of_rates=run.cell.lr * steps[run.cell] * 101 / 200,
            gain=1 - run.cell.momentum,
        )
        for run in table.runs
    ]
    picture = collapse_picture(tabulate([Observations(table.metric, tuple(runs))])[0])
    assert picture is not None
    spread = {fall.variable: fall.spread for fall in picture.falls}
    scatter = {fall.variable: fall.scatter for fall in picture.falls}
    assert spread["tau_epochs"] == pytest.approx(1.0, abs=0.1)
    assert spread["e_folds"] == pytest.approx(spread["tau_epochs"], rel=0.01)
    assert (spread["weight_decay"] or 0) > 1.4
    assert (scatter["tau_epochs"] or 9) < 1.5 < (scatter["weight_decay"] or 0)


def test_what_is_measured_together_shares_everything_else() -> None:
    settings = [
        *(Cell.of(0.1, wd, 0.9, 128) for wd in DECAYS),
        *(Cell.of(0.1, wd, 0.9, 128, nesterov=True) for wd in DECAYS),
        *(Cell.of(0.2, wd, 0.9, 128) for wd in DECAYS[:2]),
    ]
    found = measured(simulated(settings, law(-1, 1, 0, 1)))
    assert {key: len(each) for key, each in found.items()} == {
        ("cosine", Cell({})): 1,
        ("cosine", Cell({"nesterov": True})): 1,
    }


def test_runs_that_differ_in_any_knob_are_never_repetitions_of_each_other() -> None:
    base = RunSpec(dataset="digits", model="mlp", epochs=1)
    others = [
        base.replace(nesterov=True),
        base.replace(augment="flip"),
        base.replace(decay_on="weights"),
        base.replace(warmup_epochs=0, schedule_every="step"),
        base.replace(val_split=10),
        base.replace(precision="fp32"),
    ]
    last = EpochMetrics(1, 0.01, 0.1, 99.0, 0.5, 80.0)
    records = [RunRecord(spec, Status.FINISHED, (last,)) for spec in (base, base.replace(seed=1), *others)]
    cells = from_records(records).cells()
    assert sorted(len(values) for values in cells.values()) == [1, 1, 1, 1, 1, 1, 2]
