"""Cells of all runs with their noise, and the optima that are asked of them."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.noise import Noise, pool
from interplay.analysis.observations import Observations
from interplay.analysis.optimum import Optimum, curve_of, locate


class Table:
    """Cells of all runs with their noise, and the optima that are asked of it.

    Noise is pooled for each network and data (`Cell.network`) by itself: one network tells nothing of the scatter of
    another. ``cells`` are without the settings in which at least half of the runs diverged.
    """

    def __init__(self, observations: Observations, seed: int = 0, notes: Sequence[str] = ()) -> None:
        self.notes = tuple(notes)
        self.runs = observations.runs
        self.metric = observations.metric
        self.sign = observations.sign
        self.diverged = observations.diverged()
        self.cells = {s: values for s, values in observations.cells().items() if s not in self.diverged}
        self._repetitions: dict[Cell, set[str]] = {}
        for run in self.runs:
            if run.cell in self.cells and run.value is not None:
                self._repetitions.setdefault(run.cell, set()).add(run.repetition)
        values: dict[Cell, list[list[float]]] = {}
        for cell, found in self.cells.items():
            values.setdefault(cell.network, []).append([self.sign * v for v in found])
        self._noise = {network: pool(cells) for network, cells in values.items()}
        self._seed = seed
        self.optima: list[Optimum] = []

    def all_cells(self) -> list[Cell]:
        """All settings, those that diverged included, in one order, so that ties are always broken the same way."""
        return sorted(set(self.cells) | self.diverged)

    def networks(self) -> dict[Cell, int]:
        """What networks and data there are (`Cell.network`) and how many runs of each, the most first."""
        counts = Counter(run.cell.network for run in self.runs)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def noise_in(self, network: Cell) -> Noise | None:
        """Of one network and its data; ``None`` without repetitions."""
        return self._noise.get(network)

    def noise_of(self, cell: Cell) -> Noise | None:
        """Of the runs of the same network and data; ``None`` without repetitions."""
        return self.noise_in(cell.network)

    def error(self, cell: Cell) -> float:
        """Standard error of the mean of a cell.

        Raises:
            ValueError: there is no noise model of its network.
        """
        noise = self.noise_of(cell)
        if noise is None:
            raise ValueError(f"no cell of {cell.network.words()!r} was repeated")
        values = self.cells[cell]
        return noise.sd(self.sign * float(np.mean(values))) / math.sqrt(len(values))

    def repeated(self, settings: Iterable[Cell]) -> bool:
        """Whether intervals can be had: one of these settings was repeated at least, and there is noise for all."""
        chosen = list(settings)
        often = any(len(self._repetitions.get(s, ())) > 1 for s in chosen)
        return often and all(self.noise_of(s) is not None for s in chosen)

    def optimum(self, of: str, settings: Iterable[Cell], given: dict[str, Any], *, listed: bool = True) -> Optimum:
        """The optimum along knob ``of`` over ``settings`` that differ in nothing else; ``listed`` among the results.

        For the weight decay the same setting without any is looked at, too, if it was measured.

        Raises:
            ValueError: they do differ in something else.
        """
        chosen = sorted(set(settings))
        if of == "weight_decay" and (none := chosen[0].replace(weight_decay=0.0)) not in chosen:
            chosen = [none, *chosen] if none in self.cells or none in self.diverged else chosen
        if len({getattr(s, of) for s in chosen}) < len(chosen):
            raise ValueError(f"settings with the same {of} differ in something else: their runs are no repetitions")
        values: dict[float, Sequence[float]] = {getattr(s, of): self.cells[s] for s in chosen if s in self.cells}
        lost = [getattr(s, of) for s in chosen if s not in self.cells]
        curve = curve_of(values, lost, self.sign)
        # A stream of its own for each question: one more optimum must not change the draws of the others, and whoever
        # asks again gets the same answer.
        words = [self._seed, zlib.crc32(of.encode()), *(zlib.crc32(repr(s).encode()) for s in chosen)]
        found = locate(curve, self.noise_of(chosen[0]), np.random.default_rng(words), of, given)
        if listed:
            self.optima.append(found)
        return found
