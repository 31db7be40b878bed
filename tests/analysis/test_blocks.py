"""Seeds as blocks, on runs of which it is known what they share."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from interplay.analysis.best import best_settings
from interplay.analysis.blocks import LEAST, MOST, blocks
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import conclude
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.table import Table
from interplay.analysis.words import noise_words

SEEDS = ("42", "43", "44")
LEVELS = np.array([-1.0, 0.2, 0.8])


def runs(rng: np.random.Generator, cells: int, of_seeds: float, sd: float = 0.3) -> list[list[tuple[str, float]]]:
    """Cells at levels from 60 to 70, three seeds each."""
    levels = of_seeds * LEVELS
    return [
        [(seed, float(mean + level + rng.normal(0, sd))) for seed, level in zip(SEEDS, levels, strict=True)]
        for mean in np.linspace(60, 70, cells)
    ]


def test_what_seeds_share_is_taken_off_and_told() -> None:
    found = blocks(runs(np.random.default_rng(0), 30, 1.0))
    assert found.noise is not None
    assert found.in_all is not None
    assert found.noise.sd(65) == pytest.approx(0.3, rel=0.2)
    assert found.in_all.sd(65) == pytest.approx(math.hypot(0.3, np.std(LEVELS, ddof=1)), rel=0.25)
    assert found.noise.of_seeds == pytest.approx(np.std(LEVELS, ddof=1), rel=0.15)
    assert found.noise.dof == 30 * 2 - 2
    assert [found.levels[seed] for seed in SEEDS] == pytest.approx(LEVELS, abs=0.2)
    assert sum(found.levels.values()) == pytest.approx(0, abs=1e-9)  # means of whole cells stay as they are


def test_where_seeds_share_nothing_nothing_is_taken_off() -> None:
    rng = np.random.default_rng(1)
    taken = sum(bool(blocks(runs(rng, 20, 0.0)).levels) for _ in range(300))
    assert taken <= 9  # of 300, one in a hundred expected


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [[("42", 1.0)], [("42", 2.0)]],
        [[("42", 1.0), ("43", 2.0)], [("42", 3.0), ("43", 4.0)]],  # two cells, which seeds explain to the last digit
        [[("42", 1.0), ("43", 1.0)], [("42", 3.0), ("43", 3.0)]],
        [[(f"{cell} {run}", cell + run / 10) for run in range(3)] for cell in range(20)],  # no seed twice
        [[(f"{cell}", cell), (f"{cell + 1}", cell + 0.1)] for cell in range(2 * MOST)],
        [[(seed, float(cell)) for seed in SEEDS] for cell in range(LEAST + 2)],
    ],
)
def test_too_little_to_tell_levels_from_noise(cells: list[list[tuple[str, float]]]) -> None:
    assert blocks(cells).levels == {}
    assert blocks(cells).noise == blocks(cells).in_all


def test_seeds_that_share_no_cell_are_each_compared_with_their_own() -> None:
    rng = np.random.default_rng(2)
    first = runs(rng, 20, 1.0)
    second = [[(f"other {seed}", value) for seed, value in cell] for cell in runs(rng, 20, 1.0)]
    found = blocks([*first, *second])
    assert found.noise is not None
    assert found.noise.dof == 40 * 2 - 4
    assert found.noise.sd(65) == pytest.approx(0.3, rel=0.2)


def observed(of_seeds: float, extra: bool) -> Observations:
    """Seven decays with their best at 1e-3; some have seed 42 alone, by which all runs are worse."""
    rng = np.random.default_rng(3)
    found = []
    for lr in (0.05, 0.1, 0.2):
        for step in range(-3, 4):
            cell = Cell.of(lr, 1e-3 * 2.0**step, 0.9, 128)
            alone = extra and step == 0
            for seed, level in list(zip(SEEDS, LEVELS, strict=True))[: 1 if alone else 3]:
                value = 75 - 0.4 * step**2 + of_seeds * level + rng.normal(0, 0.1)
                found.append(Observation(cell, seed, float(value)))
    return Observations("final_test_acc", tuple(found))


def test_a_cell_without_the_seeds_of_its_neighbours_is_compared_fairly() -> None:
    table = Table(observed(2.0, extra=True))
    best = Cell.of(0.1, 1e-3, 0.9, 128)
    assert len(table.cells[best]) == 1
    assert table.cells[best] == [pytest.approx(73, abs=0.4)]  # as measured: the seed is a bad one
    assert table.level(best) == pytest.approx(75, abs=0.3)
    (found,) = best_settings(table)
    assert found.cell.weight_decay == 1e-3


def test_intervals_are_those_of_runs_without_their_seeds_levels() -> None:
    def width(of_seeds: float) -> float:
        analysis = conclude(Table(observed(of_seeds, extra=False)), ())
        (claim,) = (each for each in analysis.claims if each.id == "inverse.profile")
        assert claim.interval is not None
        low, high = claim.interval
        assert low is not None
        assert high is not None
        return float(high) - float(low)

    assert width(3.0) < 1.1 * width(0.0)  # a little less: the window within which cells shape a curve is wider


def test_the_best_setting_is_as_uncertain_as_a_run_of_a_new_seed() -> None:
    (same,), (other,) = (
        best_settings(Table(observed(0.0, extra=False))),
        best_settings(Table(observed(3.0, extra=False))),
    )
    assert same.error is not None
    assert other.error is not None
    assert other.error > 8 * same.error
    assert other.alike == same.alike  # the same seeds tell which cells are better


def test_it_is_said() -> None:
    (line,) = noise_words(conclude(Table(observed(3.0, extra=False)), ()))
    assert "about the level of its seed" in line
    assert re.search(r"seeds differ by 2\.\d\d points in all cells alike, which is taken off", line)
    assert "seed" not in noise_words(conclude(Table(observed(0.0, extra=False)), ()))[0]
