"""Trials: identity, knobs of any name, and that they stand where a `RunSpec` stands."""

from __future__ import annotations

import dataclasses
import json
import pickle

import pytest

from interplay.errors import SpecError
from interplay.spec import RunSpec, knob_names
from interplay.trial import TrainerIdentity, Trial, TrialOptions, spec_from_dict, trial_id

TRAINER = TrainerIdentity("command", "python train.py --lr {lr}", "2")


def trial(**knobs: object) -> Trial:
    return Trial(TRAINER, knobs or {"lr": 0.1}, 3)  # type: ignore[arg-type]


def test_numbers_that_are_the_same_make_the_same_run() -> None:
    assert trial(lr=0.1 * 3, bs=64.0).run_id == trial(bs=64, lr=0.3).run_id
    assert trial(lr=0.1 * 3) == trial(lr=0.3)
    assert trial(deep=True) != trial(deep=1)
    assert trial(lr=1) != trial(lr="1")


@pytest.mark.parametrize(
    "other",
    [
        Trial(TrainerIdentity("command", "python train.py --lr {lr} --fast", "2"), {"lr": 0.1}, 3),
        Trial(TrainerIdentity("command", "python train.py --lr {lr}", "3"), {"lr": 0.1}, 3),
        Trial(TRAINER, {"lr": 0.1}, 4),
        Trial(TRAINER, {"lr": 0.2}, 3),
        Trial(TRAINER, {"lr": 0.1, "deep": False}, 3),
    ],
)
def test_what_can_change_a_result_changes_the_name(other: Trial) -> None:
    assert other.run_id != trial().run_id


def test_how_it_is_carried_out_is_no_part_of_the_name() -> None:
    elsewhere = Trial(TRAINER, {"lr": 0.1}, 3, TrialOptions("/other", "m.jsonl", "f1", timeout=5.0, retries=2))
    assert elsewhere == trial()
    assert hash(elsewhere) == hash(trial())


def test_the_name_is_kept() -> None:
    """A change here makes every trial of every store another run."""
    assert Trial(TRAINER, {"lr": 0.1, "width": 64, "deep": True, "act": "relu"}, 3).run_id == "a6e664a82d6e59bc"


def test_it_is_written_and_read_back_whole() -> None:
    options = TrialOptions("/code", "m.jsonl", "f1", True, 60.0, 2, 5.0, ("a (?P<b>.)",), (("A", "{lr}"),), b"pickled")
    given = Trial(TRAINER, {"lr": 0.1, "deep": True, "act": "relu"}, 3, options)
    stored = json.loads(json.dumps(given.to_dict()))
    found = spec_from_dict(stored)
    assert isinstance(found, Trial)
    assert (found.trainer, dict(found.knobs), found.seed) == (given.trainer, dict(given.knobs), 3)
    assert found.options == dataclasses.replace(options, pickled=None)
    assert trial_id(stored) == given.run_id
    sent = pickle.loads(pickle.dumps(given))
    assert (sent, sent.options) == (given, options)


def test_knobs_under_usual_names_are_found_by_the_standard_one() -> None:
    found = trial(learning_rate=0.1, bs=32, alpha=0.01, wd=0.5)
    assert (found.lr, found.batch_size, found.weight_decay) == (0.1, 32, 0.5)
    assert found.momentum is None
    assert found.other_knobs == {"alpha": 0.01}
    assert found.replace(lr=0.2, batch_size=64).knobs["learning_rate"] == 0.2
    assert {getattr(found, name) for name in knob_names()} == {0.1, 32, 0.5, 3, None}
    with pytest.raises(AttributeError):
        _ = found.nothing


def test_two_spellings_of_one_knob_are_taken_for_neither() -> None:
    found = trial(base_lr=0.1, max_lr=0.2)
    assert found.lr is None
    assert found.other_knobs == {"base_lr": 0.1, "max_lr": 0.2}
    assert trial(lr=0.3, max_lr=0.2).lr == 0.3


def test_an_unknown_knob_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'width'"):
        trial(width=3).replace(witdh=4)


@pytest.mark.parametrize(
    "knobs", [{"seed": 1}, {"a b": 1}, {"x": float("nan")}, {"x": [1]}, {"x": None}, {"x": "a\nb"}]
)
def test_impossible_knobs_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(SpecError):
        trial(**knobs)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, True, "1"])
def test_impossible_seeds_are_refused(seed: object) -> None:
    with pytest.raises(SpecError, match="seed must be"):
        Trial(TRAINER, {"lr": 0.1}, seed)  # type: ignore[arg-type]


def test_a_spec_of_the_lab_is_read_as_ever() -> None:
    spec = RunSpec()
    assert spec_from_dict(spec.to_dict()) == spec
