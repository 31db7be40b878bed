"""Simulated laboratories: a surface of accuracy over the knobs, and runs of it as rows of a table of results."""

from __future__ import annotations

import functools
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from interplay.analysis.verify.curves import CHANCE, Shape, Slice, noise_sd

Row = dict[str, str]
"""One run, with the columns of results.csv, as `csv.DictReader` reads it."""


class Cell(NamedTuple):
    """The knobs that these studies vary; all else has the documented values."""

    lr: float
    weight_decay: float
    momentum: float = 0.9
    batch_size: int = 128

    @property
    def method(self) -> str:
        """As the documents label it."""
        return ("SGDM" if self.momentum else "SGD") + ("+WD" if self.weight_decay else "")


def cell_of(knobs: Mapping[str, object]) -> Cell:
    """A cell from named knobs, with or without others; ``wd`` is another name of ``weight_decay``."""
    numbers = {name: float(str(value)) for name, value in knobs.items() if name in _KNOBS and value is not None}
    decay = numbers.get("weight_decay", numbers.get("wd", 0.0))
    return Cell(numbers["lr"], decay, numbers.get("momentum", 0.9), int(numbers.get("batch_size", 128)))


_KNOBS = ("lr", "weight_decay", "wd", "momentum", "batch_size")


class Surface(ABC):
    """Mean accuracy over all knobs, made of slices along one of them."""

    of: str
    """The knob whose optimum is sought: a field of `Cell`."""

    @abstractmethod
    def slice_of(self, cell: Cell) -> Slice:
        """The slice that a cell lies on."""

    @property
    @abstractmethod
    def best(self) -> float:
        """The best level of all, per cent: what noise is measured from."""

    def log_x(self, cell: Cell) -> float:
        """Position on the slice. No decay at all is like one a factor e⁶ below the best."""
        x = float(getattr(cell, self.of))
        return math.log(x) if x > 0 else self.slice_of(cell).log_optimum - 6

    def accuracy(self, cell: Cell) -> float:
        """Mean accuracy, per cent."""
        return float(self.slice_of(cell).accuracy(self.log_x(cell)))

    def diverged(self, cell: Cell) -> bool:
        """Whether runs of the cell diverge."""
        return bool(self.slice_of(cell).diverged(self.log_x(cell)))

    def sd(self, cell: Cell) -> float:
        """SD of one run, in points."""
        return float(noise_sd(self.best - self.accuracy(cell)))


@dataclass(frozen=True)
class PowerLaw(Surface):
    """The best decay is a power of learning rate and batch size: log λ* = intercept + b_η log(η/0.1) + b_B log(B/128).

    Around the law the optima scatter by ``scatter`` nats (SD), the same for every run of one (η, B). ``steepening``
    multiplies the steepness of a slice by e a nat of ``along``; height falls by ``bow`` points a squared nat of it.
    ``wobble`` is the SD of the heights of slices, in points.
    """

    key: int
    shape: Shape
    intercept: float
    lr_exponent: float
    batch_exponent: float
    scatter: float = 0.0
    along: str = "lr"
    centre: float = 0.0
    """Natural logarithm of ``along`` in the middle of the study."""
    top: float = 77.0
    stretch: float = 1.0
    steepening: float = 0.0
    bow: float = 0.1
    wobble: float = 0.4
    diverges: float = math.inf
    of: str = "weight_decay"

    @property
    def best(self) -> float:
        """Height of the middle of the law."""
        return self.top

    def law(self, lr: float, batch_size: int) -> float:
        """log λ* without scatter."""
        return self.intercept + self.lr_exponent * math.log(lr / 0.1) + self.batch_exponent * math.log(batch_size / 128)

    def slice_of(self, cell: Cell) -> Slice:
        """The curve over λ at the cell's rate and batch size."""
        return self._slice(cell.lr, cell.batch_size)

    @functools.lru_cache(maxsize=256)  # noqa: B019 - a study is short-lived
    def _slice(self, lr: float, batch_size: int) -> Slice:
        rng = generator(self.key, f"slice {lr:.6g} {batch_size}")
        offset, height = rng.standard_normal(2)
        z = math.log(lr if self.along == "lr" else batch_size) - self.centre
        return Slice(
            self.shape,
            self.law(lr, batch_size) + self.scatter * float(offset),
            self.top - self.bow * z**2 - self.wobble * abs(float(height)),
            self.stretch * math.exp(self.steepening * z),
            self.diverges,
        )


@dataclass(frozen=True)
class Methods(Surface):
    """A curve over the learning rate for each method, told apart by momentum and decay."""

    slices: tuple[tuple[str, Slice], ...]
    of: str = "lr"

    @property
    def best(self) -> float:
        """Height of the best method."""
        return max(each.top for _, each in self.slices)

    def slice_of(self, cell: Cell) -> Slice:
        """The curve of the cell's method."""
        return dict(self.slices)[cell.method]


def generator(key: int, words: str) -> np.random.Generator:
    """A generator that depends on nothing else than its arguments: the same run is the same number, whoever asks."""
    return np.random.default_rng([key, zlib.crc32(words.encode())])


@dataclass(frozen=True)
class World:
    """A laboratory: ask it for runs of cells and seeds.

    The same cell with the same seed gives the same row, in whatever order and however often it is asked, as with real
    training.
    """

    surface: Surface
    key: int
    of_seeds: float = 0.0
    """SD of what all runs of one seed share, over the noise of a run at the best level."""

    def run(self, cells: Iterable[Cell | Mapping[str, object]], seeds: Sequence[int] = (42,)) -> list[Row]:
        """One row a cell and seed, seeds outermost."""
        asked = [cell if isinstance(cell, Cell) else cell_of(cell) for cell in cells]
        return [self._row(cell, seed) for seed in seeds for cell in asked]

    def _row(self, cell: Cell, seed: int) -> Row:
        words = f"{cell.lr:.6g} {cell.weight_decay:.6g} {cell.momentum:g} {cell.batch_size} {seed}"
        accuracy, own, peak, train = generator(self.key, words).standard_normal(4)
        row = {
            "method": cell.method,
            "batch_size": str(cell.batch_size),
            "lr": f"{cell.lr:.6g}",
            "wd": f"{cell.weight_decay:.6g}",
            "momentum": f"{cell.momentum:g}",
            "final_test_acc": "",
            "final_train_loss": "",
            "best_test_acc": "",
            "seed": str(seed),
            "epochs": "100",
            "status": "diverged",
            "final_test_loss": "",
        }
        if self.surface.diverged(cell):
            return row
        mean, sd = self.surface.accuracy(cell), self.surface.sd(cell)
        if self.of_seeds:
            mean += self.of_seeds * float(noise_sd(0.0) * generator(self.key, f"seed {seed}").standard_normal())
        value = min(max(mean + sd * float(accuracy), CHANCE), 100.0)
        lost = self.surface.best - mean
        fitted = 0.006 * math.exp(min(lost, 70) * math.log(4.5 / 0.006) / 70)  # 4.5 nats is guessing
        mixed = 0.7 * float(accuracy) + 0.71 * float(own)
        row |= {
            "final_test_acc": f"{value:.2f}",
            "final_train_loss": f"{fitted * math.exp(0.15 * float(train)):.8g}",
            "best_test_acc": f"{min(value + 0.1 + 0.3 * sd * abs(float(peak)), 100):.2f}",
            "status": "finished",
            "final_test_loss": f"{0.95 + LOSS_PER_POINT * (lost - sd * mixed):.8g}",
        }
        return row


LOSS_PER_POINT = 0.035
"""Nats of test loss for each point of accuracy; the loss has the same optimum, and noise of its own for half of it."""
