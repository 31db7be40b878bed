"""Cells of all runs with their noise, and the curves and optima that are asked of them."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from interplay.analysis.blocks import Blocks, blocks
from interplay.analysis.cells import VARIED, Cell
from interplay.analysis.noise import BINOMIAL, Noise, from_residuals
from interplay.analysis.observations import Observations
from interplay.analysis.optimum import Optimum, locate
from interplay.analysis.shape import REACH, STEPS, WINDOW_SDS, Curve
from interplay.dataset_facts import DATASETS

TUNED = ("lr", "weight_decay")
"""Knobs whose optima are sought wherever they were varied, and along whose curves residuals are taken for noise."""


class Table:
    """Cells of all runs with their noise, and the optima that are asked of it.

    Noise is pooled for each network and data (`Cell.scatter`) by itself: one network tells nothing of the scatter of
    another. Where seeds differ, the level of each is taken off (`blocks`): `level` and `noise_in` are without it.
    ``cells``, the values as measured, are without those in which at least half of the runs diverged.
    """

    def __init__(self, observations: Observations, seed: int = 0, notes: Sequence[str] = ()) -> None:
        self.notes = tuple(notes)
        self.runs = observations.runs
        self.metric = observations.metric
        self.sign = observations.sign
        self.diverged = observations.diverged()
        self.cells = {s: values for s, values in observations.cells().items() if s not in self.diverged}
        self._seed = seed
        self.optima: list[Optimum] = []
        self._slices: dict[tuple[str, int], dict[Cell, list[Cell]]] = {}
        self._listed: set[tuple[str, tuple[Cell, ...]]] = set()
        self._found: dict[tuple[str, tuple[Cell, ...]], Optimum] = {}
        values: dict[Cell, dict[Cell, list[tuple[str, float]]]] = {}
        for run in observations.runs:
            if run.value is not None and run.cell not in self.diverged:
                of_network = values.setdefault(run.cell.scatter, {})
                of_network.setdefault(run.cell, []).append((run.repetition, self.sign * run.value))
        self.blocks: dict[Cell, Blocks] = {network: blocks(list(cells.values())) for network, cells in values.items()}
        self._noise: dict[Cell, Noise | None] = {network: found.noise for network, found in self.blocks.items()}
        self._mean: dict[Cell, float] = {
            cell: float(np.mean(self.blocks[network].adjusted(runs)))
            for network, cells in values.items()
            for cell, runs in cells.items()
        }
        self._guessed: set[Cell] = set()

    def all_cells(self) -> list[Cell]:
        """All cells, those that diverged included, in one order, so that ties are always broken the same way."""
        return self._all

    @cached_property
    def _all(self) -> list[Cell]:
        return sorted(set(self.cells) | self.diverged)

    def level(self, cell: Cell) -> float:
        """Mean of a cell, larger is better, as it would be over all seeds."""
        return self._mean[cell]

    def networks(self) -> dict[Any, int]:
        """What networks and data there are (`Cell.network`) and how many runs of each, the most first."""
        counts = Counter(run.cell.network for run in self.runs)
        return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))

    def kinds(self) -> dict[Cell, int]:
        """As `networks`, where numbers of one's own and warm-up tell none apart (`Cell.scatter`)."""
        counts: Counter[Cell] = Counter()
        for network, runs in self.networks().items():
            counts[network.scatter] += runs
        return dict(counts.most_common())

    def noise_in(self, network: Cell) -> Noise | None:
        """Of one network and its data: from repetitions, or else from residuals; ``None`` where neither tells it."""
        network = network.scatter
        if self._noise.get(network) is None and network not in self._guessed:
            self._guessed.add(network)
            self._noise[network] = from_residuals(self._curves_without_noise(network), self._expected(network))
        return self._noise.get(network)

    def noise_of(self, cell: Cell) -> Noise | None:
        """Of the runs of the same network and data."""
        return self.noise_in(cell)

    def noise_in_all(self, network: Cell) -> Noise | None:
        """As `noise_in`, the levels of seeds included: by how much a run of a new seed scatters."""
        noise = self.noise_in(network)
        found = self.blocks.get(network.scatter)
        return found.in_all if found is not None and found.levels else noise

    def error(self, cell: Cell) -> float:
        """Standard error of the mean of a cell.

        Raises:
            ValueError: nothing tells the noise of its network.
        """
        noise = self.noise_of(cell)
        if noise is None:
            raise ValueError("nothing tells how much the runs of this network scatter")
        return noise.sd(self._mean[cell]) / math.sqrt(len(self.cells[cell]))

    def repeated(self, cells: Iterable[Cell]) -> bool:
        """Whether intervals can be had: there is noise, from repetitions or from residuals, for all of them."""
        return all(self.noise_of(cell) is not None for cell in cells)

    def slices(self, of: str, cells: Iterable[Cell] | None = None, least: int = 3) -> dict[Cell, list[Cell]]:
        """Cells that differ in ``of`` only, by what they share; those with ``least`` positive values or more."""
        if cells is None:
            if (of, least) not in self._slices:
                self._slices[of, least] = self.slices(of, self.all_cells(), least)
            return self._slices[of, least]
        groups: dict[Cell, list[Cell]] = {}
        for cell in cells:
            value = cell.get(of)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                groups.setdefault(cell.without(of), []).append(cell)
        return {
            key: members
            for key, members in groups.items()
            if sum(1 for cell in members if cell[of] > 0 and cell in self.cells) >= least
        }

    def numeric_knobs(self) -> list[str]:
        """Knobs that are numbers greater than 0 and take two values or more, but momentum, whose axis is 1-μ."""
        values: dict[str, set[float]] = {}
        for cell in self.all_cells():
            for name in (*VARIED, *cell):
                value = cell.get(name)
                if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                    values.setdefault(name, set()).add(value)
        return [name for name, found in values.items() if len(found) > 1 and name != "momentum"]

    def optimum(self, of: str, cells: Iterable[Cell], given: dict[str, Any], *, listed: bool = True) -> Optimum:
        """The optimum along knob ``of`` over ``cells`` that differ in nothing else; ``listed`` among the results.

        For the weight decay the same setting without any is looked at, too, if it was measured.

        Raises:
            ValueError: they do differ in something else.
        """
        chosen = sorted(set(cells))
        if of == "weight_decay" and chosen[0][of] > 0:
            none = chosen[0].replace(weight_decay=0.0)
            chosen = [none, *chosen] if none in self.cells or none in self.diverged else chosen
        if len({cell.without(of) for cell in chosen}) > 1:
            raise ValueError(f"cells that differ in more than {of}: their runs are no repetitions")
        key = (of, tuple(chosen))
        if key not in self._found:
            # A stream of its own for each question: one more optimum must not change the draws of the others.
            words = [self._seed, zlib.crc32(of.encode()), *(zlib.crc32(repr(cell).encode()) for cell in chosen)]
            noise = self.noise_of(chosen[0])
            curve = self._curve(of, chosen, noise)
            self._found[key] = locate(curve, np.random.default_rng(words), of, given, self.step(of))
        found = self._found[key]
        if listed and key not in self._listed:
            self._listed.add(key)
            self.optima.append(found)
        return found

    def step(self, of: str) -> float:
        """The step of the grid on which tops along ``of`` are sought, in nats: one for all curves."""
        if of not in self._steps:
            values = [float(cell[of]) for cell in self.all_cells() if isinstance(cell.get(of), int | float)]
            positive = [math.log(value) for value in values if value > 0]
            self._steps[of] = ((max(positive) - min(positive) if positive else 0.0) + 2 * REACH) / STEPS
        return self._steps[of]

    @cached_property
    def _steps(self) -> dict[str, float]:
        return {}

    def _curve(self, of: str, cells: Sequence[Cell], noise: Noise | None) -> Curve:
        """The curve along ``of``; without noise its errors are 0 and nothing but the best cell can be said of it."""
        measured = [cell for cell in cells if cell in self.cells]
        positive = [cell for cell in measured if cell[of] > 0]
        level = np.array([self._mean[cell] for cell in positive])

        def error(cell: Cell) -> float:
            return 0.0 if noise is None else noise.sd(self._mean[cell]) / math.sqrt(len(self.cells[cell]))

        zero = next(((self._mean[cell], error(cell)) for cell in measured if cell[of] == 0), None)
        best = float(level.max()) if len(level) else 0.0
        return Curve(
            np.log([float(cell[of]) for cell in positive]),
            level,
            np.array([error(cell) for cell in positive]),
            self._window(cells[0], noise),
            math.inf if noise is None else noise.freedom(best),
            np.log([float(cell[of]) for cell in cells if cell not in self.cells and cell[of] > 0]),
            zero,
        )

    def _window(self, cell: Cell, noise: Noise | None) -> float:
        """Depth within which cells shape a curve: what seeds share narrows the errors of cells, not the window."""
        in_all = None if noise is None else self.noise_in_all(cell)
        return 0.0 if in_all is None else WINDOW_SDS * in_all.sd(in_all.best)

    def _expected(self, network: Cell) -> float | None:
        """SD of the test accuracy to expect between runs; ``None`` for another metric and for unknown data."""
        facts = DATASETS.get(str(network.get("dataset", "cifar100")))
        levels = [mean for cell, mean in self._mean.items() if cell.scatter == network]
        if facts is None or "acc" not in self.metric or not levels:
            return None
        share = min(max(max(levels) / 100, 0.01), 0.999)
        return BINOMIAL[0] * 100 * math.sqrt(share * (1 - share) / facts.n_test)

    def _curves_without_noise(self, network: Cell) -> list[list[Curve]]:
        """The longest curves along each of the knobs that are tuned."""
        cells = [cell for cell in self.all_cells() if cell.scatter == network]
        found = [[self._curve(of, members, None) for members in self.slices(of, cells, 5).values()] for of in TUNED]
        return [sorted(curves, key=lambda curve: -len(curve.x))[:8] for curves in found]
