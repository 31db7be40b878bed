"""Optimisers in one table: which one the claims speak of, and the others beside it."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import Analysis
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.words import report

BATCHES = (64, 128, 256, 512)


def runs(optimizer: str, exponent: float, shift: float = 0.0, batches: tuple[int, ...] = BATCHES) -> list[Observation]:
    """Set 3 with λ* = 1e-3 (B/128)^exponent and noise of 0.05 points."""
    rng = np.random.default_rng(len(optimizer))
    network = {"model": "resnet18", "dataset": "cifar100", "optimizer": optimizer}
    found = []
    for batch in batches:
        best = 1e-3 * (batch / 128) ** exponent
        for decay in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2):
            cell = Cell.of(0.1 * batch / 128, decay, 0.9, batch, **network)
            level = 75 + shift - 3 * math.log10(decay / best) ** 2
            found += [Observation(cell, str(seed), level + 0.05 * rng.normal(), 0.1) for seed in range(2)]
    return found


def analysed(*groups: list[Observation]) -> Analysis:
    return analyze([Observations("final_test_acc", tuple(run for group in groups for run in group))])


def claim(found: Analysis, name: str) -> object:
    return next(each for each in found.claims if each.id == name).estimate


@pytest.mark.parametrize("more", [0, 1])
def test_a_claim_speaks_of_one_optimiser_and_optima_are_those_of_all(more: int) -> None:
    """Of that with the most curves; of equals of the documented one. Another's runs change nothing of it."""
    sgd, stable = runs("sgd", 0.0), runs("sgds", 0.5, batches=(64, 128, 256, 512, 1024)[: 4 + more])
    both, alone = analysed(stable, sgd), analysed(stable if more else sgd)
    assert claim(both, "batch.linear_rule") == claim(alone, "batch.linear_rule")
    assert any("2 networks or data" in note and "optimizer=sgds" in note for note in both.notes)
    assert len(both.optima) == 8 + more
    assert [o.given.get("optimizer", "sgd") for o in both.optima].count("sgds") == 4 + more


def test_the_other_is_compared_cell_by_cell_and_claim_by_claim() -> None:
    found = analysed(runs("sgd", 0.0), runs("sgds", 1.0, shift=2.0))
    (beside,) = found.beside
    assert (beside.optimizer, beside.against, beside.cells) == ("sgds", "sgd", 20)
    assert beside.interval90 is not None
    assert ("batch.linear_rule", "supported", "refuted") in beside.claims
    said = report(found)
    assert "sgds beside sgd: 20 cells measured with both; sgds less sgd +" in said
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["optimizers"][0]["against"] == "sgd"


def test_a_shift_is_measured() -> None:
    (beside,) = analysed(runs("sgd", 0.0), runs("sgdw", 0.0, shift=0.5)).beside
    assert beside.mean == pytest.approx(0.5, abs=0.05)


def test_without_a_common_cell_nothing_is_compared() -> None:
    elsewhere = [run for run in runs("sgds", 0.0) if run.cell.batch_size == 64]
    (beside,) = analysed([run for run in runs("sgd", 0.0) if run.cell.batch_size > 64], elsewhere).beside
    assert (beside.cells, beside.mean) == (0, None)


def test_one_optimiser_has_none_beside_it() -> None:
    found = analysed(runs("sgds", 0.0))
    assert found.beside == ()
    assert not any("optimisers" in note for note in found.notes)
