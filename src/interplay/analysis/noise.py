"""How much one run scatters around the mean of its cell: pooled over repetitions, by level."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

BLOCK_DOF = 8
"""Degrees of freedom pooled before levels are compared: an SD from fewer is itself known to worse than 25 %."""


@dataclass(frozen=True)
class Noise:
    """Standard deviation of a single run as a step function of the level of its cell.

    ``levels`` rise; a cell takes the SD of the nearest level. The SD never rises with the level (better cells are
    better repeatable), which is imposed by isotonic regression of the pooled variances.
    """

    levels: tuple[float, ...]
    sds: tuple[float, ...]
    dof: int
    """Degrees of freedom in all: repetitions less cells."""
    free: tuple[int, ...]
    """Degrees of freedom that each of ``sds`` rests on."""

    def sd(self, level: float) -> float:
        """SD of one run in a cell whose mean is ``level`` (sign-adjusted: larger is better)."""
        return self.sds[self._nearest(level)]

    def freedom(self, level: float) -> int:
        """Degrees of freedom behind the SD of such a cell."""
        return self.free[self._nearest(level)]

    def _nearest(self, level: float) -> int:
        right = bisect.bisect_left(self.levels, level)
        beside = [index for index in (right - 1, right) if 0 <= index < len(self.levels)]
        return min(beside, key=lambda index: abs(self.levels[index] - level))


def pool(cells: Iterable[Sequence[float]]) -> Noise | None:
    """Noise from the cells that were repeated; ``None`` without repetitions, or where these do not scatter at all.

    Args:
        cells: the values of each cell, sign-adjusted so that larger is better.
    """
    groups = sorted(
        (float(np.mean(values)), float(np.var(values, ddof=1)), len(values) - 1) for values in cells if len(values) > 1
    )
    dof = sum(each[2] for each in groups)
    if dof == 0 or all(variance <= (1e-9 * abs(level)) ** 2 for level, variance, _ in groups):
        return None  # a training that is repeated never gives the same number in every cell
    blocks = _blocks(groups)
    variances = np.array([variance for _, variance, _ in blocks])
    weights = np.array([each for *_, each in blocks], dtype=float)
    smooth = isotonic_regression(variances, weights=weights, increasing=False).x
    # Blocks that the regression has given one variance share their degrees of freedom.
    free = tuple(int(weights[smooth == variance].sum()) for variance in smooth)
    return Noise(tuple(level for level, *_ in blocks), tuple(float(v) ** 0.5 for v in smooth), dof, free)


def _blocks(groups: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Neighbouring levels put together until each block has `BLOCK_DOF`, from the best level down."""
    blocks: list[list[tuple[float, float, int]]] = []
    for group in reversed(groups):
        if not blocks or sum(each[2] for each in blocks[-1]) >= BLOCK_DOF:
            blocks.append([])
        blocks[-1].append(group)
    if len(blocks) > 1 and sum(each[2] for each in blocks[-1]) < BLOCK_DOF:
        few = blocks.pop()
        blocks[-1] += few
    merged = []
    for block in reversed(blocks):
        dof = sum(each[2] for each in block)
        level = sum(each[0] * each[2] for each in block) / dof
        merged.append((level, sum(each[1] * each[2] for each in block) / dof, dof))
    return merged
