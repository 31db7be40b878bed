"""The best setting that was measured: its mean with an interval, how many others may be as good, and its optima."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from interplay.analysis.cells import DOCUMENTED, Cell
from interplay.analysis.claims.exponent import given
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import TUNED, Table

LEVEL = 0.9


@dataclass(frozen=True)
class Best:
    """The cell with the best mean of one network.

    Being the best of many, its mean is a little too good; the interval is that of the mean and knows nothing of the
    choice.
    """

    network: Cell
    cell: Cell
    mean: float
    runs: int
    error: float | None
    """Standard error of the mean; ``None`` where nothing tells the noise."""
    interval: tuple[float, float] | None
    """90 %, by Student's t."""
    cells: int
    """Cells of this network that have a mean."""
    alike: int | None
    """Others whose mean lies below by less than the 90 % interval of the difference."""
    optima: tuple[Optimum, ...]
    """Along η and λ through this cell, where these were varied there."""

    @property
    def setting(self) -> dict[str, Any]:
        """The knobs of the cell that the words for its network do not tell, by name; the usual schedule is left out."""
        shown = given([self.cell], optimum="")
        told = dict(self.network.knobs)
        usual = {"schedule": DOCUMENTED["schedule"]}
        return {name: value for name, value in shown.items() if name not in told and usual.get(name) != value}

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "cell": self.cell.to_dict(),
            "mean": self.mean,
            "runs": self.runs,
            "error": self.error,
            "interval": None if self.interval is None else list(self.interval),
            "cells": self.cells,
            "alike": self.alike,
            "optima": [{"of": o.of, "estimate": o.estimate, "interval": list(o.interval)} for o in self.optima],
        }


def best_settings(table: Table, networks: int = 4) -> tuple[Best, ...]:
    """The best cell of each of the first ``networks`` networks (`Table.kinds`), that with the most runs first.

    A single run at the top of cells that were repeated is passed over where a repeated cell is within its noise: ties
    are broken by the standard error.
    """
    found = []
    for network in list(table.kinds())[:networks]:
        cells = [cell for cell in table.all_cells() if cell.scatter == network and cell in table.cells]
        if cells:
            found.append(_best(table, network, cells))
    return tuple(found)


def _best(table: Table, network: Cell, cells: list[Cell]) -> Best:
    noise = table.noise_in(network)
    errors = {} if noise is None else {cell: table.error(cell) for cell in cells}
    # A mean over few runs is at the top more often than it deserves: what counts is its lower end.
    top = max(cells, key=lambda cell: (table.level(cell) - errors.get(cell, 0.0), -table.all_cells().index(cell)))
    mean = float(np.mean(table.cells[top]))
    error, interval, alike = None, None, None
    if noise is not None:
        level = table.level(top)
        # What it reaches is asked of new seeds, too; which cells are as good is told on the same ones.
        in_all = table.noise_in_all(network) or noise
        error = in_all.sd(level) / math.sqrt(len(table.cells[top]))
        wide = float(stats.t.ppf((1 + LEVEL) / 2, noise.freedom(level)))
        interval = (mean - wide * error, mean + wide * error)
        if "acc" in table.metric:
            interval = (max(interval[0], 0.0), min(interval[1], 100.0))
        alike = sum(
            level - table.level(cell) < wide * math.hypot(errors[top], errors[cell]) for cell in cells if cell != top
        )
    optima = []
    for of in TUNED:
        members = table.slices(of).get(top.without(of))
        if members and top[of] > 0:
            optima.append(table.optimum(of, members, {}, listed=False))
    return Best(network, top, mean, len(table.cells[top]), error, interval, len(cells), alike, tuple(optima))
