"""Whole studies with a known truth: exponents of λ*, single optima, orderings, nested grids.

A study is made of runs of a `World`: rows as in results.csv, and what is true of them. The functions here build one at
random; `conditions` names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from interplay.analysis.verify.curves import SHAPES, Shape, Slice
from interplay.analysis.verify.worlds import Cell, Methods, PowerLaw, Row, World

Word = Literal["supported", "refuted", "undecided", ""]
"""What is right to say of a claim: "undecided" where neither word is true, "" where either is forgiven."""

BAND = 0.2
"""Half-width of the band around a predicted exponent, as SCIENCE states it."""

AWAY = 0.15
"""Distance from the edge of the band from which a study counts as decidable."""


@dataclass(frozen=True)
class Truth:
    """What is true of one claim. ``value`` is the exponent, the share or the log ratio that it speaks of."""

    claim: str
    word: Word
    value: float | None = None
    band: tuple[float, float] | None = None
    role: Literal["exponent", "ordering", "direction", "sufficiency"] = "exponent"

    @property
    def distance(self) -> float:
        """Of the value from the nearest edge of the band; infinite where there is none."""
        if self.band is None or self.value is None:
            return math.inf
        return min(abs(self.value - edge) for edge in self.band)

    @property
    def away(self) -> bool:
        """Whether it is far enough from the band's edge to be decided."""
        return self.distance >= AWAY - 1e-9


@dataclass(frozen=True)
class TrueOptimum:
    """The best value of knob ``of`` (a field of `Cell`) where the knobs in ``given`` have these values."""

    of: str
    given: tuple[tuple[str, Any], ...]
    value: float


@dataclass(frozen=True)
class SimulatedStudy:
    """A simulated study. ``cells`` run with every one of ``seeds`` are its ``rows``."""

    condition: str
    world: World
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    truths: tuple[Truth, ...] = ()
    optima: tuple[TrueOptimum, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    finer: tuple[tuple[Cell, ...], ...] = ()
    """Grids that contain ``cells``, each containing the one before."""
    metric: str = "final_test_acc"

    @property
    def rows(self) -> list[Row]:
        """All runs of the study."""
        return self.world.run(self.cells, self.seeds)

    def nested(self) -> list[list[Row]]:
        """The rows of the coarse grid, then those of each finer one, which hold them."""
        return [self.world.run(cells, self.seeds) for cells in (self.cells, *self.finer)]


Rng = np.random.Generator
Builder = Callable[[Rng, str], SimulatedStudy]


# -- parts ------------------------------------------------------------------------------------------------------------

PROGRAMME_LRS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0)
COUPLING_LRS = (0.01, 0.05, 0.1, 0.2, 0.3)
PROGRAMME_DECAYS = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2)
BATCHES = (64, 128, 256, 512)


def geometric(start: float, factor: float, count: int) -> tuple[float, ...]:
    """``count`` values a factor apart, at six significant digits as a table has them."""
    return tuple(float(f"{start * factor**i:.6g}") for i in range(count))


def log_middle(values: Sequence[float]) -> float:
    return 0.5 * (math.log(min(values)) + math.log(max(values)))


def draw_key(rng: Rng) -> int:
    return int(rng.integers(2**31))


def seed_numbers(count: int) -> tuple[int, ...]:
    return tuple(range(42, 42 + count))


def draw_shape(rng: Rng, names: Iterable[str] = ("linex", "cliff", "flat", "quartic")) -> tuple[str, Shape]:
    name = str(rng.choice(list(names)))
    return name, SHAPES[name](rng)


def draw_divergence(rng: Rng) -> float:
    """Half of the worlds have a cliff beyond which runs diverge."""
    return float(rng.uniform(1.2, 3.0)) if rng.random() < 0.5 else math.inf


def exponent_word(value: float, predicted: float) -> Word:
    """Right word for a true exponent."""
    return "supported" if abs(value - predicted) < BAND else "refuted"


def draw_exponent(rng: Rng, predicted: float) -> float:
    """A true exponent: the prediction, others that theories name, and values around the edges of the band."""
    kind = rng.choice(["predicted", "near", "zero", "opposite", "half", "edge"], p=[0.3, 0.1, 0.15, 0.1, 0.15, 0.2])
    values = {
        "predicted": predicted,
        "near": predicted + rng.uniform(-0.05, 0.05),
        "zero": 0.0,
        "opposite": -predicted,
        "half": 0.5 * predicted,
        "edge": predicted + rng.choice([-1, 1]) * (BAND + rng.uniform(-0.15, 0.25)),
    }
    return float(values[str(kind)])


def exponent_truth(claim: str, value: float, predicted: float) -> Truth:
    return Truth(claim, exponent_word(value, predicted), value, (predicted - BAND, predicted + BAND))


# -- exponents --------------------------------------------------------------------------------------------------------


def exponents(axis: str, scatter: float, several: bool) -> Builder:
    """Studies of λ* over ``axis``: "lr", "linear_rule" (η = 0.1 B/128) or "fixed_lr"; one seed or two to five."""

    def build(rng: Rng, condition: str) -> SimulatedStudy:
        grid = str(rng.choice(["programme", "x2", "x2.5"]))
        if axis == "lr":
            lrs = COUPLING_LRS if grid == "programme" else geometric(0.02, 2, int(rng.integers(4, 6)))
            points = [(lr, 128) for lr in lrs]
            claim, predicted, along = "inverse.profile", -1.0, "lr"
        else:
            batches = BATCHES if grid == "programme" else (*BATCHES, 1024)[: int(rng.integers(4, 6))]
            tied = axis == "linear_rule"
            points = [(float(f"{0.1 * b / 128:.6g}") if tied else 0.1, b) for b in batches]
            claim, predicted, along = f"batch.{axis}", 1.0, "batch_size"
        decays = PROGRAMME_DECAYS if grid == "programme" else geometric(1e-4, 2, 8)
        decays = geometric(1e-4, 2.5, 6 + (axis == "lr")) if grid == "x2.5" else decays
        decays = decays[:-1] if grid == "programme" and axis != "lr" else decays
        value = draw_exponent(rng, predicted)
        world, tags = law_world(rng, axis, value, points, decays, scatter, along)
        count = int(rng.integers(2, 6)) if several else 1
        cells = tuple(Cell(lr, wd, 0.9, b) for lr, b in points for wd in decays)
        tags |= {"grid": grid, "seeds": count, "exponent": value, "scatter": scatter}
        return SimulatedStudy(
            condition, world, cells, seed_numbers(count), (exponent_truth(claim, value, predicted),), (), tags
        )

    return build


def law_world(
    rng: Rng,
    axis: str,
    value: float,
    points: Sequence[tuple[float, int]],
    decays: Sequence[float],
    scatter: float,
    along: str,
) -> tuple[World, dict[str, Any]]:
    """A world in which λ* has the exponent ``value`` along ``axis``, the law centred near the grid."""
    name, shape = draw_shape(rng)
    steepening = float(rng.choice([0.0, rng.uniform(0.1, 0.35), -rng.uniform(0.1, 0.25)], p=[0.5, 0.35, 0.15]))
    other = float(rng.choice([-1.0, -0.5, 0.0]))
    by_lr = value if axis == "lr" else other
    by_batch = {"lr": 1.0, "linear_rule": value - other, "fixed_lr": value}[axis]
    centres = [by_lr * math.log(lr / 0.1) + by_batch * math.log(b / 128) for lr, b in points]
    intercept = log_middle(decays) - 0.5 * (min(centres) + max(centres)) + rng.uniform(-0.5, 0.5)
    z = [lr if along == "lr" else b for lr, b in points]
    key = draw_key(rng)
    surface = PowerLaw(
        key=key,
        shape=shape,
        intercept=float(intercept),
        lr_exponent=by_lr,
        batch_exponent=by_batch,
        scatter=scatter,
        along=along,
        centre=log_middle(z),
        top=float(rng.uniform(70, 80)),
        steepening=steepening,
        bow=float(rng.uniform(0, 0.5)),
        diverges=draw_divergence(rng),
    )
    return World(surface, key), {"shape": name, "steepening": round(steepening, 3)}


# -- one optimum ------------------------------------------------------------------------------------------------------

RATE_SHAPES = ("linex", "mirrored", "cliff", "flat", "quartic")


def _method_slice(rng: Rng, optimum: float, top: float) -> tuple[str, Slice]:
    """A curve over the learning rate; these are wider than those over the decay."""
    name, shape = draw_shape(rng, RATE_SHAPES)
    diverges = float(rng.uniform(1.5, 3.5)) if rng.random() < 0.5 else math.inf
    return name, Slice(shape, math.log(optimum), top, float(rng.uniform(0.7, 1.0)), diverges)


def optimum_grid(rng: Rng, name: str) -> tuple[tuple[float, ...], float]:
    """A grid of learning rates ("x1.2" to "x5", or "programme") and a true optimum well inside it, at any offset."""
    if name == "programme":
        return PROGRAMME_LRS, float(math.exp(rng.uniform(math.log(0.008), math.log(0.7))))
    factor = float(name[1:])
    count = max(5, round(4.5 / math.log(factor)) + 1)
    lrs = geometric(float(f"{math.exp(rng.uniform(math.log(0.004), math.log(0.02))):.2g}"), factor, count)
    margin = max(1.0, 1.3 * math.log(factor))
    half = max(0.5 * math.log(lrs[-1] / lrs[0]) - margin, 0.5 * math.log(factor))
    return lrs, float(math.exp(log_middle(lrs) + rng.uniform(-half, half)))


def single_optimum(grid: str) -> Builder:
    """SGD without decay over learning rates, one to five seeds."""

    def build(rng: Rng, condition: str) -> SimulatedStudy:
        lrs, optimum = optimum_grid(rng, grid)
        name, curve = _method_slice(rng, optimum, float(rng.uniform(68, 76)))
        count = int(rng.integers(1, 6))
        world = World(Methods((("SGD", curve),)), draw_key(rng))
        cells = tuple(Cell(lr, 0.0, 0.0) for lr in lrs)
        true = TrueOptimum("lr", (("method", "SGD"),), optimum)
        tags = {"shape": name, "grid": grid, "seeds": count}
        return SimulatedStudy(condition, world, cells, seed_numbers(count), (), (true,), tags)

    return build


# -- orderings --------------------------------------------------------------------------------------------------------

METHODS = (("SGD", 0.0, 0.0), ("SGD+WD", 0.0, 5e-4), ("SGDM+WD", 0.9, 5e-4))
"""Set 1: label, momentum, weight decay."""

MARGIN = 1.1
"""Ratio of two best rates up to which they are the same."""

ORDERINGS = ("ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd")


def method_world(rng: Rng, ratio: float, middle: float) -> tuple[World, dict[str, float], list[str]]:
    optima = dict(zip((m[0] for m in METHODS), (middle * ratio, middle, middle / ratio), strict=True))
    drawn = [_method_slice(rng, optima[m[0]], 72 + 2 * i + rng.uniform(-1, 1)) for i, m in enumerate(METHODS)]
    slices = tuple((m[0], curve) for m, (_, curve) in zip(METHODS, drawn, strict=True))
    return World(Methods(slices), draw_key(rng)), optima, [name for name, _ in drawn]


def method_cells(lrs: Sequence[float]) -> tuple[Cell, ...]:
    return tuple(Cell(lr, wd, momentum) for _, momentum, wd in METHODS for lr in lrs)


def orderings(ratio: float, grid: str, seeds: int = 0) -> Builder:
    """Three methods whose best rates are each ``ratio`` times the next; ``seeds`` of 0 draws one to five."""

    def build(rng: Rng, condition: str) -> SimulatedStudy:
        middle = float(math.exp(rng.uniform(math.log(0.05), math.log(0.3))))
        chosen = str(rng.choice(["programme", "x2", "x3"])) if grid == "any" else grid
        others = {"x2": geometric(0.005, 2, 9), "x3": geometric(0.003, 3, 7)}
        lrs = others.get(chosen, PROGRAMME_LRS)
        world, optima, shapes = method_world(rng, ratio, middle)
        count = seeds or int(rng.integers(1, 6))
        word: Word = "undecided" if ratio == 1 else "" if ratio == MARGIN else "supported" if ratio > 1 else "refuted"
        truths = tuple(Truth(claim, word, math.log(ratio), None, "ordering") for claim in ORDERINGS)
        true = tuple(TrueOptimum("lr", (("method", label),), value) for label, value in optima.items())
        tags = {"shapes": shapes, "grid": chosen, "seeds": count, "ratio": ratio}
        return SimulatedStudy(condition, world, method_cells(lrs), seed_numbers(count), truths, true, tags)

    return build


# -- density ----------------------------------------------------------------------------------------------------------


def _every(values: Sequence[float], step: int) -> tuple[float, ...]:
    return tuple(values[::step])


def dense_optimum(rng: Rng, condition: str) -> SimulatedStudy:
    """One curve at rates ×4 apart, and ×2, ×1.41, ×1.19 with the same runs among them."""
    fine = geometric(0.004, 2**0.25, 33)
    optimum = float(math.exp(rng.uniform(math.log(0.02), math.log(0.25))))
    name, curve = _method_slice(rng, optimum, float(rng.uniform(68, 76)))
    count = int(rng.integers(1, 6))
    grids = [tuple(Cell(lr, 0.0, 0.0) for lr in _every(fine, step)) for step in (8, 4, 2, 1)]
    world = World(Methods((("SGD", curve),)), draw_key(rng))
    true = TrueOptimum("lr", (("method", "SGD"),), optimum)
    tags = {"shape": name, "seeds": count}
    return SimulatedStudy(condition, world, grids[0], seed_numbers(count), (), (true,), tags, tuple(grids[1:]))


def dense_exponent(rng: Rng, condition: str) -> SimulatedStudy:
    """λ* over four rates at decays ×2.8 apart, and ×1.7, ×1.3 with the same runs among them."""
    fine = geometric(1e-4, 2**0.375, 21)
    lrs = geometric(0.03, 2, 4)
    value = draw_exponent(rng, -1.0)
    points = [(lr, 128) for lr in lrs]
    world, tags = law_world(rng, "lr", value, points, fine, float(rng.choice([0.0, 0.15])), "lr")
    count = int(rng.integers(1, 4))
    grids = [tuple(Cell(lr, wd) for lr in lrs for wd in _every(fine, step)) for step in (4, 2, 1)]
    truths = (exponent_truth("inverse.profile", value, -1.0),)
    return SimulatedStudy(
        condition, world, grids[0], seed_numbers(count), truths, (), tags | {"seeds": count}, tuple(grids[1:])
    )


def dense_ordering(rng: Rng, condition: str) -> SimulatedStudy:
    """Three methods, a factor of two apart, at rates ×3.2 apart, and ×1.8, ×1.3 with the same runs among them."""
    fine = geometric(0.003, 10**0.125, 25)
    world, optima, _ = method_world(rng, 2.0, float(math.exp(rng.uniform(math.log(0.05), math.log(0.2)))))
    count = int(rng.integers(2, 5))
    grids = [method_cells(_every(fine, step)) for step in (4, 2, 1)]
    truths = tuple(Truth(claim, "supported", math.log(2), None, "ordering") for claim in ORDERINGS)
    true = tuple(TrueOptimum("lr", (("method", label),), value) for label, value in optima.items())
    return SimulatedStudy(
        condition, world, grids[0], seed_numbers(count), truths, true, {"seeds": count}, tuple(grids[1:])
    )
