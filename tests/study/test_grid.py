from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from interplay.cli.study import StudyFlags
from interplay.errors import SpecError
from interplay.spec import RunSpec, knob_names
from interplay.study.files import parse
from interplay.study.grid import evaluate, expand
from interplay.study.names import FLAGS


def test_lists_multiply_and_single_values_stay() -> None:
    specs = list(expand({"model": "mlp"}, {"lr": [0.1, 0.2], "weight_decay": [0, 1e-3, 1e-2], "momentum": 0.5}))
    assert len(specs) == 6
    assert {(s.lr, s.weight_decay) for s in specs} == {(a, b) for a in (0.1, 0.2) for b in (0, 1e-3, 1e-2)}
    assert {(s.model, s.momentum) for s in specs} == {("mlp", 0.5)}


def test_zipped_lists_move_together_and_are_one_axis() -> None:
    specs = list(expand({}, {"lr": [0.1, 0.2]}, zips=[{"batch_size": [64, 128], "epochs": [50, 100]}]))
    assert len(specs) == 4
    assert {(s.batch_size, s.epochs) for s in specs} == {(64, 50), (128, 100)}


def test_derived_values_follow_the_others_and_each_other() -> None:
    specs = list(
        expand(
            {},
            {"batch_size": [64, 256]},
            derived={"epochs": "round(100 * batch_size / 128)", "lr": "0.1 * batch_size / 128", "wd": "lr / epochs"},
        )
    )
    assert [(s.epochs, s.lr) for s in specs] == [(50, 0.05), (200, 0.2)]
    assert specs[1].weight_decay == pytest.approx(0.001)
    assert specs[0].run_id == RunSpec(batch_size=64, epochs=50, lr=0.05, weight_decay=0.001).run_id


def test_a_knob_that_is_a_list_takes_a_list_of_lists_as_axis() -> None:
    assert len(list(expand({}, {"milestones": [0.3, 0.6]}))) == 1
    specs = list(expand({}, {"milestones": [[0.3, 0.6], [0.5]]}))
    assert [s.milestones for s in specs] == [(0.3, 0.6), (0.5,)]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 + 2 * 3", 7),
        ("-(2 ** 3) // 3", -3),
        ("sqrt(batch_size / 32)", 2),
        ("max(lr, 1e-3)", 0.1),
        ("log2(batch_size)", 7),
        ("wd * 2", 1e-3),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert evaluate(expression, RunSpec().to_dict()) == pytest.approx(value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("__import__('os').system('true')", "only arithmetic"),
        ("(lambda: 1)()", "only arithmetic"),
        ("lr.real", "only arithmetic"),
        ("[1][0]", "only arithmetic"),
        ("'a' * 3", "only arithmetic"),
        ("True + 1", "only arithmetic"),
        ("open(1)", "only arithmetic"),
        ("batchsize / 2", "unknown 'batchsize'; did you mean 'batch_size'"),
        ("dataset * 2", "dataset is 'cifar100', not a number"),
        ("1 / 0", "division by zero"),
        ("1 +", "is not an expression"),
    ],
)
def test_nothing_but_arithmetic_is_understood(expression: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        evaluate(expression, RunSpec().to_dict())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"axes": {"learning_rate": [1]}}, "unknown key 'learning_rate'"),
        ({"axes": {"test_every": 5}}, "test_every is no knob; it is a flag of the command: --test_every"),
        ({"axes": {"lr": []}}, "lr is an empty list"),
        ({"axes": {"lr": [0.1]}, "derived": {"lr": "1"}}, "lr is set twice"),
        ({"axes": {"wd": [0.1], "weight_decay": [0.2]}}, "weight_decay is set twice"),
        ({"axes": {}, "zips": [{"lr": [1, 2], "epochs": [1]}]}, "must have the same length"),
        ({"axes": {}, "zips": [{"lr": 0.1}]}, "must have the same length"),
        ({"axes": {"lr": [0.1, -1]}}, "grid: lr must be greater than 0"),
    ],
)
def test_faulty_grids_are_refused_with_the_place(words: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        list(expand({}, **words))  # type: ignore[arg-type]


def test_all_flags_that_are_no_knobs_are_known_as_flags() -> None:
    names = {field.name for field in dataclasses.fields(StudyFlags)}
    assert names - {*knob_names(), "names", "seeds"} == FLAGS


@pytest.mark.parametrize("name", ["test_every", "autotune", "metric"])
def test_a_flag_in_a_study_file_is_told_as_one(name: str) -> None:
    message = f"{name} is no knob; it is a flag of the command: --{name}"
    with pytest.raises(SpecError, match=f"grid: {message}"):
        list(expand({}, axes={name: [1]}))
    with pytest.raises(SpecError, match=f"s.toml: {message}"):
        parse({name: 1, "grid": [{"lr": [0.1]}]}, Path("s.toml"))
