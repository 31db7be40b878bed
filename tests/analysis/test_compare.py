from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from interplay.analysis.cells import Cell
from interplay.analysis.compare import compare
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.words import comparison
from interplay.cli.main import main

SD = 0.3
PROGRAMME = {"model": "resnet18", "dataset": "cifar100"}


def runs(shift: float, spread: float, seeds: int, rng: np.random.Generator, **network: str) -> Observations:
    """A plane of 35 cells; all differ by ``shift`` and each by something of its own from those of another call."""
    found = []
    for lr in (0.01, 0.05, 0.1, 0.2, 0.3):
        for decay in (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2):
            level = 75 - 2 * (np.log(lr * decay / 1e-4) ** 2) + shift + spread * rng.normal()
            cell = Cell.of(lr, decay, 0.9, 128, **network)
            found += [Observation(cell, str(seed), level + SD * rng.normal(), 0.1) for seed in range(seeds)]
    return Observations("final_test_acc", tuple(found))


@pytest.fixture
def _no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what does not look at verdicts, which take most of the time."""
    monkeypatch.setattr("interplay.analysis.compare.conclude", lambda *_: SimpleNamespace(claims=()))


@pytest.mark.usefixtures("_no_verdicts")
def test_equal_cells_agree_as_often_as_they_should() -> None:
    rng = np.random.default_rng(0)
    found = [compare([runs(0, 0, 3, rng, **PROGRAMME)], [runs(0, 0, 2, rng)]) for _ in range(40)]
    assert all(len(each.pairs) == 35 and each.only == (0, 0) for each in found)
    ps = [each.p for each in found]
    assert 0 < sum(p is not None and p < 0.1 for p in ps) < 12  # four of forty are expected
    inside = sum(each.interval90 is not None and each.interval90[0] < 0 < each.interval90[1] for each in found)
    assert inside >= 30
    z = [pair.z for each in found for pair in each.pairs if pair.z is not None]
    assert np.std(z) == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("_no_verdicts")
def test_a_shift_and_a_spread_are_told_from_the_noise() -> None:
    rng = np.random.default_rng(1)
    found = compare([runs(1.0, 0.6, 3, rng)], [runs(0, 0, 3, rng)])
    assert found.interval90 is not None
    assert found.interval90[0] < 1.0 < found.interval90[1]
    assert found.beyond_noise == pytest.approx(0.6, abs=0.2)
    assert found.p is not None
    assert found.p < 1e-6
    assert found.order is not None
    assert found.order > 0.9


@pytest.mark.usefixtures("_no_verdicts")
def test_a_side_without_repetitions_borrows_and_two_without_say_so() -> None:
    rng = np.random.default_rng(2)
    once, often = runs(0, 0, 1, rng), runs(0, 0, 3, rng)
    found = compare([once], [often])
    assert found.notes == ("our cells were not repeated: the other side's noise is taken for both",)
    assert found.pairs[0].error == pytest.approx(SD * (1 + 1 / 3) ** 0.5, rel=0.5)
    neither = compare([once], [runs(0, 0, 1, rng)])
    assert "neither side has repetitions: the scatter about smooth curves" in neither.notes[0]
    assert neither.interval90 is not None
    assert neither.interval90[0] < 0 < neither.interval90[1]


def test_without_noise_of_any_kind_differences_have_no_errors() -> None:
    cells = [Cell.of(0.1, decay, 0.9, 128) for decay in (1e-4, 1e-3, 1e-2)]
    sides = [Observations("final_test_acc", tuple(Observation(c, "0", 70.0 + i) for c in cells)) for i in (0, 1)]
    neither = compare(sides[:1], sides[1:])
    assert "neither side has repetitions, so differences cannot be held against noise" in neither.notes
    assert (neither.mean, neither.p, neither.pairs[0].error) == (None, None, None)
    assert "mean difference" not in comparison(neither)


@pytest.mark.usefixtures("_no_verdicts")
def test_cells_of_another_network_are_not_the_same_cells() -> None:
    rng = np.random.default_rng(3)
    found = compare([runs(0, 0, 2, rng, model="resnet8", dataset="cifar100")], [runs(0, 0, 2, rng)])
    assert found.pairs == ()
    assert found.only == (35, 35)
    assert "0 cells measured by both, 35 by us only, 35 by them only" in comparison(found)


def test_the_published_batches_side_by_side(public_tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, *others = (str(public_tables / f"resnet18_cifar100_seed{name}.csv") for name in ("123", "42", "42_run2"))
    assert main(["compare", one, "--with", *others]) == 0
    said = capsys.readouterr().out
    assert "cells measured by both" in said
    assert "our cells were not repeated" in said


@pytest.mark.usefixtures("_no_verdicts")
def test_the_json_of_a_comparison_holds_every_pair() -> None:
    rng = np.random.default_rng(4)
    found = json.loads(json.dumps(compare([runs(0, 0, 2, rng)], [runs(0, 0, 2, rng)]).to_dict(), allow_nan=False))
    assert len(found["pairs"]) == 35
    assert all(abs(pair["difference"] - (pair["ours"] - pair["theirs"])) < 1e-9 for pair in found["pairs"])
