from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interplay.analysis import ridge
from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.claims import judged
from interplay.analysis.conclude import Analysis, tabulate
from interplay.analysis.observations import Observation, Observations, from_records, from_rows
from interplay.analysis.verdict import Verdict, holm, judge
from interplay.analysis.verify.problems import PROBLEMS
from interplay.errors import InputError, SpecError
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.study.claims import PROGRAMME

BATCHES = ("resnet18_cifar100_seed42.csv", "resnet18_cifar100_seed123.csv", "resnet18_cifar100_seed42_run2.csv")


Reference = Callable[..., list[Observations]]


def reading(folder: Path, *names: str) -> list[Observations]:
    found = []
    for index, name in enumerate(names):
        with (folder / name).open(newline="") as file:
            found.append(from_rows(list(csv.DictReader(file)), f"{index}:{name}"))
    return found


@pytest.fixture
def reference(public_tables: Path) -> Reference:
    """Reads some of the three public tables."""
    return lambda *names: reading(public_tables, *names)


def verdicts(analysis: Analysis) -> dict[str, Verdict]:
    return {claim.id: claim for claim in analysis.claims}


@pytest.fixture(scope="module")
def published(public_tables: Path) -> Analysis:
    """All three of them together."""
    return analyze(reading(public_tables, *BATCHES))


def test_three_real_batches_decide_both_orders_and_the_linear_rule(published: Analysis) -> None:
    found = verdicts(published)
    assert found["ordering.sgd>sgd_wd"].verdict == "refuted"
    assert found["ordering.sgd_wd>sgdm_wd"].verdict == "supported"
    assert found["batch.linear_rule"].verdict == "refuted"
    assert published.duplicates == ()


def test_the_exponents_of_the_real_batches_are_those_of_other_estimators(published: Analysis) -> None:
    found = verdicts(published)
    assert found["inverse.profile"].estimate == pytest.approx(-0.87, abs=0.06)
    assert found["batch.linear_rule"].estimate == pytest.approx(-0.1, abs=0.1)
    assert {claim.id for claim in published.claims if claim.verdict == "not asked"} == {
        "batch.step_matched",
        "schedule.sum_of_rates",
        "duration.horizon",
    }


def test_the_optima_of_the_real_batches(published: Analysis) -> None:
    optima = {o.given["method"]: o for o in published.optima if "method" in o.given}
    assert optima["SGD"].estimate == pytest.approx(0.09, rel=0.3)
    assert optima["SGDM+WD"].estimate == pytest.approx(0.09, rel=0.3)
    assert optima["SGD+WD"].status == "open above"  # 2.0, the largest rate, is as good as 0.5
    assert optima["SGD+WD"].interval[0] == pytest.approx(0.43, rel=0.3)
    settings = [(o.of, str(o.given)) for o in published.optima]
    assert len(settings) == len(set(settings))


def test_the_same_file_twice_counts_once_and_repeats_nothing(reference: Reference) -> None:
    once, _ = tabulate(reference(BATCHES[0]))
    twice, (copies,) = tabulate(reference(BATCHES[0], BATCHES[0]))
    assert len(twice.runs) == len(once.runs) == 83  # three of the 86 rows are there twice, for two sets
    assert (copies[0][0], copies[1][0], copies[2]) == ("0", "1", 83)
    assert twice.cells == once.cells
    assert all(len(values) == 1 for values in twice.cells.values())


def test_a_run_listed_for_two_sets_is_one_measurement(published: Analysis) -> None:
    analysis = published
    assert analysis.runs == 83 + 74 + 74
    assert analysis.noise is not None
    # Of three cells most runs ended at chance with nothing learnt: they diverged, and their survivors are no measure.
    # The three batches differ as wholes, which takes two degrees of freedom.
    assert analysis.noise.dof == 2 * (74 - 3) - 2
    assert 0.1 < analysis.noise.of_seeds < 0.25


def test_two_batches_of_one_seed_are_two_when_their_digits_differ(reference: Reference) -> None:
    assert tabulate(reference(BATCHES[0], BATCHES[2]))[1] == []


def test_the_json_has_the_documented_names(published: Analysis) -> None:
    found = json.loads(json.dumps(published.to_dict(), allow_nan=False))
    assert {"noise", "duplicates", "optima", "claims"} <= set(found)
    assert {"of", "given", "estimate", "interval", "status", "plateau", "other_maxima"} == set(found["optima"][0])
    names = {"id", "question", "own", "verdict", "estimate", "interval", "reason", "needed", "plan", "other_metric"}
    assert names == set(found["claims"][0])
    assert {"words", "cells", "seeds", "runs", "expected_interval"} == set(plan(found["claims"]))
    assert [c["id"] for c in found["claims"]] == [
        "ordering.sgd>sgd_wd",
        "ordering.sgd_wd>sgdm_wd",
        "inverse.direction",
        "inverse.profile",
        "inverse.sufficiency",
        "batch.linear_rule",
        "batch.fixed_lr",
        "batch.step_matched",
        "schedule.sum_of_rates",
        "duration.horizon",
    ]


def plan(claims: list[dict[str, Any]]) -> dict[str, Any]:
    """The first one that a claim has."""
    return next(found for claim in claims if (found := claim["plan"]) is not None)


def test_cells_that_determine_no_surface_say_nothing_about_sufficiency() -> None:
    """Noise around one level: whatever is fitted to the other cells predicts the one left out worse than their mean."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        runs = [
            Observation(Cell.of(lr, wd, 0.9, 128), str(repetition), level + 0.1 * rng.standard_normal())
            for lr in (0.05, 0.1, 0.2)
            for wd in (1e-4, 3e-4, 1e-3, 3e-3)
            for level in [90 + rng.standard_normal()]
            for repetition in (0, 1)
        ]
        table, _ = tabulate([Observations("final_test_acc", tuple(runs))])
        found.append(judged(next(each for each in PROGRAMME if each.id == "inverse.sufficiency"), table))
    assert not any(each.verdict == "supported" for each in found)
    silent = [each for each in found if each.verdict == "inconclusive"]
    assert len(silent) >= 3
    assert all("noise too large to tell" in each.reason and each.estimate is None for each in silent)


def test_the_order_of_the_files_changes_nothing_but_names(reference: Reference, published: Analysis) -> None:
    other = analyze(reference(*reversed(BATCHES)))
    assert [(c.id, c.verdict) for c in published.claims] == [(c.id, c.verdict) for c in other.claims]
    for ours, theirs in zip(published.claims, other.claims, strict=True):
        assert ours.estimate == pytest.approx(theirs.estimate)


def rows(count: int = 1) -> list[dict[str, str]]:
    names = ("method", "batch_size", "lr", "wd", "momentum", "final_test_acc", "final_train_loss", "best_test_acc")
    return [dict(zip(names, ("SGD", "128", "0.1", "5e-4", "0.9", "70.5", "0.1", "71"), strict=True))] * count


def test_tables_of_eight_columns_have_the_documented_rest() -> None:
    (run,) = from_rows(rows(), "a.csv").runs
    assert (run.cell.epochs, run.cell.schedule, run.cell.weight_decay) == (100, "cosine", 5e-4)
    assert run.sum_of_rates == pytest.approx(0.1 * 391 * 101 / 2)
    assert run.value == 70.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": "fast"}, "a.csv, line 3: lr: 'fast' is not a number"),
        ({"wd": None}, "a.csv, line 3: wd is empty"),
    ],
)
def test_unreadable_rows_are_named_by_line(change: dict[str, str | None], message: str) -> None:
    broken = [*rows(), {**rows()[0], **change}]
    with pytest.raises(InputError, match=message):
        from_rows(broken, "a.csv")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="unknown metric 'final_test_ac'; did you mean 'final_test_acc'"):
        from_rows(rows(), "a.csv", "final_test_ac")


def test_missing_numbers_are_diverged_runs_and_never_zero() -> None:
    empty = {**rows()[0], "final_test_acc": ""}
    observations = from_rows([empty, {**empty, "final_test_acc": "nan", "lr": "0.2"}], "a.csv")
    assert [run.value for run in observations.runs] == [None, None]
    assert len(observations.diverged()) == 2
    assert observations.cells() == {}


def test_records_bring_what_tables_lack_and_failed_ones_are_left_out() -> None:
    spec = RunSpec(dataset="digits", model="mlp", epochs=1)
    history = (EpochMetrics(1, 0.1, 0.5, 90.0, 0.4, 88.0),)
    records = [
        RunRecord(spec, Status.FINISHED, history, collapse={"sum_of_rates": 12.0}),
        RunRecord(spec.replace(lr=0.2), Status.DIVERGED, history),
        RunRecord(spec.replace(lr=0.3), Status.FAILED),
    ]
    first, second = from_records(records).runs
    assert (first.value, first.sum_of_rates, first.repetition) == (88.0, 12.0, "42")
    assert second.value is None
    assert from_records(records, "final_test_loss").sign == -1
    with pytest.raises(SpecError, match="unknown metric 'accuracy'"):
        from_records(records, "accuracy")


def test_broken_evaluation_is_noted() -> None:
    odd = {**rows()[0], "lr": "0.2", "final_test_acc": "1.0", "final_train_loss": "0.01"}
    (note,) = analyze([from_rows([odd, *rows()], "a.csv")]).notes
    assert "its evaluation is broken" in note


def test_many_broken_evaluations_are_one_line_about_the_table() -> None:
    odd = {**rows()[0], "final_test_acc": "0.7", "final_train_loss": "0.01"}
    table = [*rows(), *({**odd, "lr": str(0.2 + 0.1 * step)} for step in range(9))]
    mixed, note = analyze([from_rows(table, "a.csv")]).notes
    assert note.startswith("9 runs are left out")
    assert "a.csv, line 3" in note
    assert "9 of" in mixed  # that they are fractions is another thing that may be wrong with them


def test_the_rule_of_verdicts() -> None:
    def word(low90: float, high90: float, low95: float, high95: float) -> str:
        return judge("x", 0.0, (low90, high90), (low95, high95), (-1.2, -0.8), "r").verdict

    assert word(-1.1, -0.9, -1.15, -0.85) == "supported"
    assert word(-0.7, -0.5, -0.75, -0.45) == "refuted"
    assert word(-0.85, -0.5, -0.9, -0.45) == "inconclusive"
    assert word(-0.79, -0.5, -0.81, -0.45) == "inconclusive"  # disjoint at 90 % only


def test_holm_keeps_what_survives_the_number_of_claims() -> None:
    def refuted(name: str, p: float) -> Verdict:
        return Verdict(name, "refuted", 0.0, (None, None), "r", None, p)

    claims = [refuted("a", 0.001), refuted("b", 0.04), refuted("c", 0.02), refuted("d", 0.03)]
    words = {v.id: v.verdict for v in holm(claims)}
    assert words == {"a": "refuted", "b": "inconclusive", "c": "inconclusive", "d": "inconclusive"}
    assert [v.verdict for v in holm([dataclasses.replace(claims[0], p=0.04)])] == ["refuted"]


def test_each_known_problem_is_simulated_as_written() -> None:
    for problem in PROBLEMS:
        one, other = (problem.simulate(np.random.default_rng(0)) for _ in range(2))
        assert one == other
        assert len({run.repetition for run in one.runs}) == 3


def test_cells_near_the_best_are_counted_in_the_unit_of_the_metric() -> None:
    """Five points are far in accuracy and nothing in nats: a loss of 5 nats more would let in every cell there is."""
    assert ridge.within("final_test_acc") == (5.0, "5 points")
    assert ridge.within("final_test_loss") == (0.5, "0.5 nats")
    runs = [
        Observation(
            Cell.of(lr, decay, 0.9, 128),
            str(seed),
            1 + 0.1 * np.log(lr * decay / 1e-4) ** 2 + (3 if decay > 1e-2 else 0) + 0.01 * seed,
        )
        for lr in (0.01, 0.03, 0.1, 0.3)
        for decay in (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
        for seed in (0, 1)
    ]
    claim = verdicts(analyze([Observations("final_test_loss", tuple(runs))]))["inverse.direction"]
    near = sum(
        0.1 * np.log(lr * d / 1e-4) ** 2 <= 0.5 for lr in (0.01, 0.03, 0.1, 0.3) for d in (3e-4, 1e-3, 3e-3, 1e-2)
    )
    assert f"from {near} cells near the best" in claim.reason


def test_a_small_loss_is_no_broken_evaluation() -> None:
    """A test loss of 1.4 nats beside a training loss below 1 is what learning by heart looks like."""
    setting = Cell.of(0.1, 1e-3, 0.9, 128)
    runs = [Observation(setting, str(seed), 1.4 + 0.01 * seed, 0.8) for seed in (0, 1)]
    assert analyze([Observations("final_test_loss", tuple(runs))]).notes == ()
    assert len(analyze([Observations("final_test_acc", tuple(runs))]).notes) == 2  # 1.4 per cent is one
