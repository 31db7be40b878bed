"""Across schedules: does λ* keep the sum of learning rates to a constant, or the window of epochs?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from interplay.analysis.cells import Cell
from interplay.analysis.claims.exponent import SCHEDULE, curves, given
from interplay.analysis.table import Table
from interplay.study.claims import Claim

Array = NDArray[np.float64]

SAME_SUM = 0.01
"""Sums of rates whose logarithms differ by less are one: peaks are rounded."""


@dataclass(frozen=True)
class Comparison:
    """Root mean square distance of log λ* from each law, whose one constant is fitted, and how sure the order is."""

    by_sum: float
    by_window: float
    share: float
    """Share of the bootstrap draws of the optima in which the window does better."""
    schedules: int

    def words(self) -> str:
        """One line."""
        laws = f"λ* ∝ 1/S by a factor of {math.exp(self.by_sum):.2f}, from W = const by {math.exp(self.by_window):.2f}"
        better = "the window W does better" if self.by_window < self.by_sum else "the window W does no better"
        return f"{self.schedules} schedules λ* is off {laws}: {better} ({100 * self.share:.0f} % of draws)"


def compare(
    table: Table,
    members: Sequence[Cell],
    sums: Mapping[Cell, float],
    windows: Mapping[Cell, float],
) -> Comparison | None:
    """Both laws on the schedules that have an interior optimum; ``None`` with fewer than two, or without windows.

    Both have one free constant and are judged in the same unit, log λ. The λ that keeps W to a constant is found by
    interpolation between the runs of each schedule, whose W is known from their specifications.

    Args:
        table: of the runs.
        members: cells that differ in the decay, the schedule, its warm-up and its peak only.
        sums: S of each.
        windows: W of each.
    """
    groups: dict[Cell, list[Cell]] = {}
    for s in members:
        groups.setdefault(s.without("weight_decay"), []).append(s)
    best, draws, logs, paths = [], [], [], []
    for group in groups.values():
        one = group[0]
        optimum = table.optimum("weight_decay", group, given(group, "weight_decay"), listed=False)
        path = sorted((math.log(windows[s]), math.log(s.weight_decay)) for s in group if s in windows)
        if optimum.estimate is None or len(path) < 2:
            continue
        best.append(math.log(optimum.estimate))
        draws.append(optimum.draws)
        logs.append(math.log(sums[one]))
        paths.append(np.array(path))
    if len(best) < 2:
        return None
    total = np.array(logs)
    by_sum, by_window = _by_sum(np.array(best), total), _by_window(np.array(best), paths)
    wins = []
    for row in np.array(draws).T[:200] if all(len(each) for each in draws) else []:
        if np.isfinite(row).all():
            wins.append(_by_window(row, paths) < _by_sum(row, total))
    share = float(np.mean(wins)) if wins else float(by_window < by_sum)
    return Comparison(by_sum, by_window, share, len(best))


def _by_sum(best: Array, total: Array) -> float:
    return float(np.std(best + total))


def _by_window(best: Array, paths: Sequence[Array]) -> float:
    """Least distance over the constant, tried on a fine grid of windows that all schedules reach."""
    low, high = max(p[0, 0] for p in paths), min(p[-1, 0] for p in paths)
    if low >= high:
        return math.inf
    trial = np.linspace(low, high, 400)
    implied = np.array([np.interp(trial, p[:, 0], p[:, 1]) for p in paths])
    return float(np.sqrt(((implied - best[:, None]) ** 2).mean(axis=0)).min())


def across_schedules(table: Table, claim: Claim) -> str:
    """Both laws in words, over schedules of one peak rate and over those of one S; empty where neither can be said."""
    found = curves(table, claim)
    if found is None:
        return ""
    strata = {
        stratum: [cell for cells, s in zip(found.members, found.strata, strict=True) if s == stratum for cell in cells]
        for stratum in found.strata
    }
    members = [cell for cell in max(strata.values(), key=len) if cell.weight_decay > 0]
    sums = {run.cell: float(f"{run.sum_of_rates:.6g}") for run in table.runs if run.sum_of_rates}
    windows = {run.cell: run.window_epochs for run in table.runs if run.window_epochs}
    said = []
    for kept, group in (("one peak rate", members), ("one S", _of_one_sum(table, members, sums))):
        comparison = compare(table, group, sums, windows)
        if comparison is not None:
            said.append(f"at {kept}, over {comparison.words()}")
    return "; ".join(said)


def _of_one_sum(table: Table, members: Sequence[Cell], sums: Mapping[Cell, float]) -> list[Cell]:
    """The cells, of any peak rate, whose S is that of some of ``members``: the most schedules that agree in it.

    They differ from ``members`` in the schedule, its warm-up and its peak only. Empty where no peak was changed so
    that S stays, for then it is a part of ``members``.
    """
    free = (*SCHEDULE, "lr", "weight_decay")
    rest = members[0].without(*free)
    alike = [cells for key, cells in table.slices("weight_decay").items() if key.without(*free) == rest]
    peak = members[0].lr
    groups = []
    for total in {sums[cell] for cell in members if cell in sums}:
        equal = [cells for cells in alike if cells[0] in sums and abs(math.log(sums[cells[0]] / total)) < SAME_SUM]
        if any(cells[0].lr != peak for cells in equal):
            groups.append([cell for cells in equal for cell in cells if cell.weight_decay > 0])
    return max(groups, key=len, default=[])
