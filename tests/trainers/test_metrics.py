"""What scripts report, in whatever form, becomes epochs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interplay.record import EpochMetrics
from interplay.trainers.metrics import Curve, Lines, numbers_of


def curve(*lines: dict[str, Any], metric: str = "", lower: bool = False) -> Curve:
    found = Curve(metric, lower)
    for line in lines:
        found.add(line, 0.0)
    return found


def test_usual_names_are_understood() -> None:
    (only,) = curve(
        {"Train Loss": 1.5, "val/accuracy": 80, "test_accuracy": 0.9, "learning_rate": 0.1, "f1": 0.7, "note": "text"}
    ).finished()
    assert (only.train_loss, only.val_acc, only.test_acc, only.lr) == (1.5, 80.0, 0.9, 0.1)
    assert only.instruments == {"f1": 0.7}


def test_loss_alone_is_that_of_training() -> None:
    assert curve({"loss": 2.0}).finished()[0].train_loss == 2.0
    other = curve({"loss": 2.0, "train_loss": 1.0}).finished()[0]
    assert (other.train_loss, other.instruments) == (1.0, {"loss": 2.0})


@pytest.mark.parametrize(("lower", "field"), [(False, "test_acc"), (True, "test_loss")])
def test_a_run_is_judged_by_the_key_that_was_named(lower: bool, field: str) -> None:
    found = curve({"epoch": 1, "f1": 0.5, field: 9.0}, {"epoch": 2, "f1": 0.7}, metric="f1", lower=lower)
    assert [getattr(each, field) for each in found.finished()] == [0.5, 0.7]
    assert found.finished()[0].instruments == {field: 9.0}
    assert found.missing() is None


def test_a_key_that_was_not_reported_is_named_with_the_nearest() -> None:
    found = curve({"f1_score": 0.5}, metric="f1_scor")
    found.finished()
    assert "no 'f1_scor', by which it is to be judged; did you mean 'f1_score'" in str(found.missing())
    other = curve({"reward": 3.0})
    other.finished()
    assert "reported reward, none under a usual name; say metric =" in str(other.missing())


def test_the_last_value_of_each_name_is_final() -> None:
    lines = [{"epoch": 1, "val_acc": 50, "train_loss": 2}, {"epoch": 2, "train_loss": 1}, {"test_acc": 60}]
    history = curve(*lines).finished()
    assert [(m.epoch, m.val_acc, m.train_loss, m.test_acc) for m in history] == [(1, 50, 2, None), (2, 50, 1, 60)]


def test_lines_of_one_epoch_are_put_together_and_told_once() -> None:
    found = Curve()
    told = [found.add(line, 0.0) for line in ({"epoch": 1, "train_loss": 1}, {"epoch": 1, "val_acc": 50})]
    assert [each is not None for each in told] == [True, False]
    (only,) = found.finished()
    assert (only.train_loss, only.val_acc) == (1, 50)


@pytest.mark.parametrize(("stated", "epochs"), [([0, 1, 2], [1, 2, 3]), ([1, 2], [1, 2]), ([0.5, 1.0, 1.5], [1, 2])])
def test_epochs_may_begin_at_nought_or_be_fractions(stated: list[float], epochs: list[int]) -> None:
    found = curve(*({"epoch": each, "test_acc": 1.0} for each in stated))
    assert [each.epoch for each in found.finished()] == epochs


def test_a_training_that_goes_on_from_its_checkpoint_begins_anew_from_there() -> None:
    lines = [(1, 10), (2, 20), (3, 30), (2, 21), (3, 31)]
    history = curve(*({"epoch": e, "test_acc": a} for e, a in lines)).finished()
    assert [(m.epoch, m.test_acc) for m in history] == [(1, 10), (2, 21), (3, 31)]


def test_epochs_of_earlier_attempts_are_kept() -> None:
    before = [EpochMetrics(e, 0.1, None, None, None, 10.0 * e, seconds=2.0) for e in (1, 2, 3)]
    found = Curve(before=before)
    assert found.add({"epoch": 1, "test_acc": 10.0}, 0.0, old=True) is None
    assert found.last == 3
    assert found.add({"epoch": 3, "test_acc": 31.0}, 0.0) is None
    assert found.add({"epoch": 4, "test_acc": 40.0}, 0.0) is not None
    assert [(m.epoch, m.test_acc) for m in found.finished()] == [(1, 10), (2, 20), (3, 31), (4, 40)]
    assert found.seconds_before == 6.0


@pytest.mark.parametrize(
    ("line", "metric", "words"),
    [
        ({"epoch": 3, "train_loss": float("nan")}, "", "train_loss is nan in epoch 3"),
        ({"epoch": 3, "val_loss": float("inf")}, "", "val_loss is inf in epoch 3"),
        ({"test_acc": float("nan")}, "", "test_acc is nan"),
        ({"epoch": 1, "f1": float("nan")}, "f1", "f1 is nan in epoch 1"),
        ({"epoch": 1, "grad_norm": float("inf"), "test_acc": 1}, "", None),
    ],
)
def test_a_loss_or_the_judged_metric_that_is_not_finite_is_a_divergence(
    line: dict[str, Any], metric: str, words: str | None
) -> None:
    assert curve(line, metric=metric).diverged == words


def test_numbers_are_found_whatever_they_come_as() -> None:
    values = {"a": np.float32(1.5), "b": True, "c": "3", "d": {"acc": 2, "deep": {"er": 4}}, "e": np.ones(3), 5: 6}
    assert numbers_of(values) == {"a": 1.5, "d/acc": 2.0, "d/deep/er": 4.0, "5": 6.0}


def test_a_file_is_read_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = Lines(path)
    assert list(lines.new()) == []
    path.write_text('{"a": 1}\nno json\n[1]\n{"a": 2')
    assert list(lines.new()) == [{"a": 1}]
    with path.open("a") as file:
        file.write('2}\n{"a": 3}')
    assert list(lines.new()) == [{"a": 22}]
    assert list(lines.new(last=True)) == [{"a": 3}]
    path.write_text('{"a": 4}\n')  # written anew, and shorter
    assert list(lines.new()) == [{"a": 4}]
    other = tmp_path / "other"
    other.write_text('{"a": 5}\n{"a": 6}\n{"a": 7}\n')
    other.replace(path)
    assert list(lines.new()) == [{"a": 5}, {"a": 6}, {"a": 7}]


@pytest.mark.parametrize("text", ['{"a": 9}\n{"a": 8}\n', '{"a": 9}\n{"a": 8}\n{"a": 7}\n'])
def test_a_file_that_was_written_anew_between_two_looks_is_read_again(tmp_path: Path, text: str) -> None:
    """As long as it was, or longer: by its length nobody could tell."""
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    lines = Lines(path)
    assert list(lines.new()) == [{"a": 1}, {"a": 2}]
    path.write_text(text)
    assert list(lines.new(last=True)) == [json.loads(line) for line in text.splitlines()]


def test_a_file_that_is_one_document_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"test_acc": 5}, indent=2))
    lines = Lines(path)
    assert list(lines.new(last=True)) == []
    assert lines.whole() == [{"test_acc": 5}]
