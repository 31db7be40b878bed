"""A function as a trainer: called with its knobs, followed epoch by epoch, its words kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trial_lab import Lab

from interplay.executors.outcomes import End
from interplay.record import Status
from interplay.study.study import Study
from interplay.trial import Trial, trials


def trial_of(function: Any, **options: Any) -> Trial:
    (found,) = trials(Study(train=function, grid={"lr": 0.5}, seeds=[7], **options).specs)
    return found


def test_a_mapping_of_numbers(lab: Lab) -> None:
    def train(lr: float, seed: int, run_dir: Path) -> dict[str, float]:
        (run_dir / "mine").write_text("kept")
        print("words of mine")
        print("more", file=sys.stderr)
        return {"test_acc": lr * seed, "norm": 2.0}

    trial = trial_of(train)
    record = lab.record(trial)
    assert (record.final_test_acc, record.history[0].instruments) == (3.5, {"norm": 2.0})
    assert record.environment["function"].endswith("train")
    assert "words of mine" in lab.text(trial, "stdout.log")
    assert "more" in lab.text(trial, "stderr.log")
    assert lab.text(trial, "trial/mine") == "kept"


def test_one_mapping_an_epoch(lab: Lab) -> None:
    def train(lr: float, seed: int) -> Iterator[dict[str, float]]:
        for epoch in (1, 2, 3):
            yield {"train_loss": 1 / epoch, "test_acc": 10.0 * epoch}

    assert [m.test_acc for m in lab.record(trial_of(train)).history] == [10, 20, 30]
    assert lab.epochs == [1, 2, 3]


def test_it_stops_at_the_end_of_an_epoch_and_goes_on(lab: Lab) -> None:
    def train(lr: float, seed: int, run_dir: Path) -> Iterator[dict[str, float]]:
        state = run_dir / "state"
        first = int(state.read_text()) + 1 if state.exists() else 1
        for epoch in range(first, 5):
            state.write_text(str(epoch))
            yield {"epoch": epoch, "test_acc": float(epoch)}

    trial = trial_of(train)
    assert lab.attempt(trial, lambda: lab.epochs == [1, 2]).end is End.INTERRUPTED
    assert [m.epoch for m in lab.record(trial).history] == [1, 2, 3, 4]
    assert lab.epochs == [3, 4]


def test_what_it_raises_is_its_failure(lab: Lab) -> None:
    def train(lr: float, seed: int) -> dict[str, float]:
        raise OSError("no such disk")

    trial = trial_of(train)
    outcome = lab.attempt(trial)
    assert (outcome.end, outcome.reason) == (End.FAILED, "OSError: no such disk")
    failed = lab.store.record(trial.run_id)
    assert failed is not None
    assert "in train" in str(failed.traceback)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "must return a mapping"), ({}, "it reported no metrics"), ({"reward": 1}, "none under a usual name")],
)
def test_an_answer_that_is_none_is_named(lab: Lab, answer: Any, words: str) -> None:
    def train(lr: float, seed: int) -> Any:
        return answer

    assert words in str(lab.attempt(trial_of(train)).reason)


def test_numbers_that_are_not_finite_end_it_as_diverged(lab: Lab) -> None:
    def train(lr: float, seed: int) -> Iterator[dict[str, float]]:
        yield {"train_loss": 1.0, "test_acc": 1.0}
        yield {"train_loss": float("inf"), "test_acc": 1.0}
        raise AssertionError("not reached")

    record = lab.record(trial_of(train))
    assert (record.status, record.reason) == (Status.DIVERGED, "train_loss is inf in epoch 2")


def test_a_timeout_ends_it(lab: Lab) -> None:
    def train(lr: float, seed: int) -> dict[str, float]:
        time.sleep(60)
        return {"test_acc": 1.0}

    outcome = lab.attempt(trial_of(train, timeout=0.3))
    assert (outcome.end, outcome.reason) == (End.FAILED, "it ran past its timeout of 0.3 s")


def test_it_is_repeated_as_often_as_it_may_be(lab: Lab) -> None:
    calls: list[int] = []

    def train(lr: float, seed: int) -> dict[str, float]:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("not yet")
        return {"test_acc": 1.0}

    assert lab.record(trial_of(train, retries=2)).status is Status.FINISHED
    assert len(calls) == 3
