"""Seeds as blocks: what all runs of one seed share, such as its images, its wrong labels and its first weights.

A seed by which all cells are better or worse tells none of them apart. Its level is estimated from the cells that were
repeated and taken off, so that it does not count as the scatter of a single run, and so that a cell which has a seed
more than its neighbour is compared fairly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from interplay.analysis.noise import Noise, pool

Array = NDArray[np.float64]

CERTAIN = 0.01
"""Probability of the F test below which seeds are taken to differ: where they do not, nearly all tables stay as they
are."""

LEAST = 8
"""Degrees of freedom that must be left for the noise: of two cells, seeds explain what they like."""

MOST = 200
"""Seeds at most: a table with more of them repeats no grid, and the normal equations grow with their square."""

Values = Sequence[tuple[str, float]]
"""The runs of one cell: the name of the seed, and the value, larger is better."""


@dataclass(frozen=True)
class Blocks:
    """The levels of seeds, by their names: what is to be taken off each run. Empty where seeds do not differ.

    ``noise`` is the scatter of a run about its cell and the level of its seed; ``in_all`` about its cell alone, which
    is what a run of a new seed has.
    """

    levels: Mapping[str, float]
    noise: Noise | None
    in_all: Noise | None

    def adjusted(self, runs: Values) -> list[float]:
        """The values without the levels of their seeds."""
        return [value - self.levels.get(seed, 0.0) for seed, value in runs]


def blocks(cells: Sequence[Values]) -> Blocks:
    """Noise of the runs of one network, with a level for each seed where the F test tells that seeds differ.

    A two-way layout of cells and seeds by weighted least squares, each cell with the precision of its runs (`pool`).
    The levels are shrunk by 1 - 1/F, the share of their variance that is not noise (James and Stein 1961), and are zero
    in the mean over all runs that were repeated.
    """
    noise = in_all = pool([[value for _, value in runs] for runs in cells])
    repeated, seeds = _connected(cells)
    if in_all is None or noise is None or not 2 <= len(seeds) <= MOST:
        return Blocks({}, in_all, in_all)
    levels: dict[str, float] = {}
    spread = 0.0
    for _ in range(2):  # the second time with the precision that the first has found
        found, share, spent = _levels(repeated, seeds, noise)
        if share is None:
            return Blocks({}, in_all, in_all)
        levels = dict(zip(seeds, (float(level) for level in share * found), strict=True))
        spread = float(np.std(found, ddof=1)) * share**0.5
        adjusted = [[value - levels.get(seed, 0.0) for seed, value in runs] for runs in cells]
        if (again := pool(adjusted, spent)) is None:
            return Blocks({}, in_all, in_all)
        noise = again
    return Blocks(levels, replace(noise, of_seeds=spread), in_all)


def _connected(cells: Sequence[Values]) -> tuple[list[Values], list[str]]:
    """What tells the levels of seeds: cells with two runs or more of seeds that other cells have, too; those seeds."""
    counts = Counter(seed for runs in cells if len(runs) > 1 for seed, _ in runs)
    kept = ([(seed, value) for seed, value in runs if counts[seed] > 1] for runs in cells)
    repeated: list[Values] = [runs for runs in kept if len(runs) > 1]
    return repeated, sorted({seed for runs in repeated for seed, _ in runs})


def _levels(cells: Sequence[Values], seeds: Sequence[str], noise: Noise) -> tuple[Array, float | None, int]:
    """Levels, the share of them that is kept (``None``: seeds do not differ), and the degrees of freedom they take."""
    place = {seed: index for index, seed in enumerate(seeds)}
    normal = np.zeros((len(seeds), len(seeds)))
    right = np.zeros(len(seeds))
    counts = np.zeros(len(seeds))
    total, dof = 0.0, 0
    for runs in cells:
        at = np.array([place[seed] for seed, _ in runs])
        values = np.array([value for _, value in runs])
        weight = 1 / noise.sd(float(values.mean())) ** 2
        away = values - values.mean()
        total += weight * float(away @ away)
        dof += len(runs) - 1
        np.add.at(right, at, weight * away)
        np.add.at(normal, (at, at), weight)
        np.add.at(normal, (at[:, None], at[None, :]), -weight / len(runs))
        np.add.at(counts, at, 1)
    rank = int(np.linalg.matrix_rank(normal, hermitian=True))
    found = np.linalg.pinv(normal, hermitian=True) @ right
    explained = float(right @ found)
    free = dof - rank
    if rank < 1 or free < LEAST or total <= explained:
        return found, None, rank
    f = (explained / rank) / ((total - explained) / free)
    if float(stats.f.sf(f, rank, free)) >= CERTAIN:
        return found, None, rank
    return found - float(counts @ found / counts.sum()), 1 - 1 / f, rank
