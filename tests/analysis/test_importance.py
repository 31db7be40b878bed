"""Shares of a variance whose true decomposition is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from interplay.analysis.importance import importance
from interplay.analysis.observations import from_rows
from interplay.analysis.table import Table

RATES = [0.01 * 2**i for i in range(7)]
DECAYS = [1e-4 * 2**i for i in range(7)]


def _table(height: Callable[[float, float, int], float], seeds: int = 2, noise: float = 0.02) -> Table:
    """Cells over η, λ and B; ``height`` is of u, v from -1 to 1 and of B."""
    rng = np.random.default_rng(1)
    rows = [
        {
            "method": "SGDM+WD",
            "lr": f"{lr:g}",
            "wd": f"{wd:g}",
            "batch_size": str(batch),
            "momentum": "0.9",
            "seed": str(seed),
            "final_test_acc": f"{90 + height(u, v, batch) + noise * rng.standard_normal():.4f}",
        }
        for (u, lr), (v, wd) in itertools.product(
            zip(np.linspace(-1, 1, 7), RATES, strict=True), zip(np.linspace(-1, 1, 7), DECAYS, strict=True)
        )
        for batch in (64, 128)
        for seed in range(seeds)
    ]
    return Table(from_rows(rows, "table"))


def _shares(table: Table) -> dict[tuple[str, ...], tuple[float, tuple[float, float]]]:
    found = importance(table)
    assert found is not None
    for each in found.shares:
        assert -1e-9 <= each.interval[0] <= each.interval[1] <= 1 + 1e-9
    return {each.knobs: (each.share, each.interval) for each in found.shares}


def test_one_knob_has_it_all() -> None:
    shares = _shares(_table(lambda u, v, b: -2 * u * u))
    assert shares["lr",][0] > 0.9
    assert all(share < 0.05 for knobs, (share, _) in shares.items() if knobs != ("lr",))


def test_two_knobs_that_add_share_alike_and_have_nothing_together() -> None:
    shares = _shares(_table(lambda u, v, b: -u * u - v * v))
    for knob in ("lr", "weight_decay"):
        assert shares[knob,][0] == pytest.approx(0.5, abs=0.08)  # trees make a little of an interaction out of two sums
    assert shares["lr", "weight_decay"][0] < 0.1


def test_a_ridge_along_the_product_is_an_interaction() -> None:
    shares = _shares(_table(lambda u, v, b: -2 * u * v))
    assert shares["lr", "weight_decay"][0] > 0.7
    assert shares["lr", "weight_decay"][0] > 5 * max(shares["lr",][0], shares["weight_decay",][0])


def test_nothing_is_said_of_noise_or_of_few_cells_or_of_one_knob() -> None:
    assert importance(_table(lambda u, v, b: 0.0, noise=1.0)) is None
    whole = _table(lambda u, v, b: -u * u)
    few = Table(from_rows([{"lr": f"{r:g}", "wd": "1e-4", "final_test_acc": f"{90 - r}"} for r in RATES], "t"))
    assert importance(few) is None
    assert importance(whole) is not None


def test_settings_that_failed_do_not_outweigh_the_question() -> None:
    """Twenty points below the best is no worse than ten."""

    def cliff(u: float, v: float, batch: int) -> float:
        return -40.0 if batch == 64 and u > 0.9 else -2 * v * v

    shares = _shares(_table(cliff))
    assert shares["weight_decay",][0] > 0.2
    found = importance(_table(cliff))
    assert found is not None
    assert found.worst == pytest.approx(85, abs=1)
    assert math.isfinite(found.explained)
