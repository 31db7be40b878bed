"""Curves with a known optimum: accuracy over the logarithm of one knob, and the noise of one run.

A shape says how many points of accuracy are lost ``u`` nats above the optimum (below it for negative ``u``). Every
shape has its only minimum at ``u = 0``, where nothing is lost: by construction, so the optimum of a simulated study is
known to the last digit. None is a parabola, and none is fitted to an estimator.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CHANCE = 1.0
"""Accuracy of guessing, per cent: 100 classes."""

NOISE = ((0.0, 0.31), (3.0, 0.43), (10.0, 1.1), (40.0, 2.7))
"""Points below the best level, and the SD of one run there: as measured on CIFAR-100."""


def noise_sd(lost: Array | float) -> Array:
    """SD of one run, in points, of cells that lie ``lost`` points below the best level: log-linear between `NOISE`."""
    levels, sds = zip(*NOISE, strict=True)
    return np.asarray(np.exp(np.interp(np.maximum(lost, 0.0), levels, np.log(sds))))


@dataclass(frozen=True)
class Shape(ABC):
    """Points lost over ``u = log x - log x*``. All fields are positive numbers unless said otherwise."""

    @abstractmethod
    def lost(self, u: Array) -> Array:
        """Points lost at each ``u``: zero at zero, positive elsewhere, unbounded (a `Slice` saturates it at chance)."""

    def parameters(self) -> tuple[float, ...]:
        """What a fit of this family would have to find, besides the optimum and the height."""
        return tuple(float(getattr(self, field.name)) for field in fields(self))

    def with_parameters(self, values: tuple[float, ...]) -> Self:
        """The same family with other parameters."""
        return replace(self, **dict(zip((field.name for field in fields(self)), values, strict=True)))


@dataclass(frozen=True)
class Linex(Shape):
    """``c (e^{bu} - bu - 1)``: a linear rise of ``cb`` points a nat, then an exponential fall.

    ``rate`` b is in 1/nats; a negative one mirrors the curve. ``scale`` c is in points. Source: Varian 1975.
    """

    scale: float
    rate: float

    def lost(self, u: Array) -> Array:
        """Points lost at each ``u``."""
        v = np.clip(self.rate * u, -700, 700)
        return np.asarray(self.scale * (np.expm1(v) - v))


@dataclass(frozen=True)
class LogisticCliff(Shape):
    """A rise of ``rise`` points a nat that ends in a logistic cliff of ``fall`` points a nat, ``width`` nats wide.

    With saturation this is accuracy ∝ e^{rt} / (1 + e^{t/w}), whose maximum is where the logistic equals
    rise/(rise + fall).
    """

    rise: float
    fall: float
    width: float

    def lost(self, u: Array) -> Array:
        """Points lost at each ``u``."""
        share = self.rise / (self.rise + self.fall)
        at = math.log(share / (1 - share))
        both = (self.rise + self.fall) * self.width
        return np.asarray(both * (np.logaddexp(0, at + u / self.width) - np.logaddexp(0, at)) - self.rise * u)


@dataclass(frozen=True)
class FlatTop(Shape):
    """``a (√(1 + (u/w)⁴) - 1)``: a quartic top about ``w`` nats to each side, parabolic flanks."""

    height: float
    width: float

    def lost(self, u: Array) -> Array:
        """Points lost at each ``u``."""
        return self.height * (np.sqrt(1 + (u / self.width) ** 4) - 1)


@dataclass(frozen=True)
class AsymmetricQuartic(Shape):
    """``½ku² + cu³ + qu⁴`` with ``c = skew · √(16kq/9)``: no second stationary point as long as |skew| < 1.

    ``skew`` may have either sign; a positive one is steeper above the optimum.
    """

    curvature: float
    quartic: float
    skew: float

    def lost(self, u: Array) -> Array:
        """Points lost at each ``u``."""
        cubic = self.skew * math.sqrt(16 * self.curvature * self.quartic / 9)
        return 0.5 * self.curvature * u**2 + cubic * u**3 + self.quartic * u**4


@dataclass(frozen=True)
class Slice:
    """One curve: a shape put at an optimum and a height."""

    shape: Shape
    log_optimum: float
    """Natural logarithm of the best x."""
    top: float = 75.0
    """Accuracy there, per cent."""
    stretch: float = 1.0
    """Steepness: ``u`` is multiplied by it."""
    diverges: float = math.inf
    """Runs more than so many nats above the optimum diverge."""

    @property
    def optimum(self) -> float:
        """The best x."""
        return math.exp(self.log_optimum)

    def accuracy(self, log_x: Array | float) -> Array:
        """Mean accuracy, per cent, saturating at chance; the cliff of divergence aside."""
        u = (np.asarray(log_x, dtype=float) - self.log_optimum) * self.stretch
        depth = self.top - CHANCE
        return CHANCE + depth * np.exp(-self.shape.lost(u) / depth)

    def diverged(self, log_x: Array | float) -> NDArray[np.bool_]:
        """Where runs diverge or learn nothing."""
        above = np.asarray(log_x, dtype=float) - self.log_optimum > self.diverges
        return above | (self.accuracy(log_x) < 3 * CHANCE)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _linex(rng: np.random.Generator) -> Shape:
    rate = _between(rng, 1.0, 2.2)
    return Linex(_between(rng, 0.8, 2.2) / rate, rate)


def _mirrored(rng: np.random.Generator) -> Shape:
    rate = _between(rng, 0.8, 1.6)
    return Linex(_between(rng, 0.8, 2.2) / rate, -rate)


def _cliff(rng: np.random.Generator) -> Shape:
    return LogisticCliff(_between(rng, 0.6, 2.0), _between(rng, 30, 150), _between(rng, 0.2, 0.5))


def _flat(rng: np.random.Generator) -> Shape:
    return FlatTop(_between(rng, 2.0, 6.0), _between(rng, 0.7, 1.1))


def _quartic(rng: np.random.Generator) -> Shape:
    return AsymmetricQuartic(_between(rng, 1.0, 3.5), _between(rng, 0.2, 1.2), rng.uniform(-0.8, 0.8))


SHAPES: dict[str, Callable[[np.random.Generator], Shape]] = {
    "linex": _linex,
    "cliff": _cliff,
    "flat": _flat,
    "quartic": _quartic,
    "mirrored": _mirrored,
}
"""Draw a shape of each kind. Ranges: the curves of ResNet-18 on CIFAR-100 lose 0.5 to 3 points a factor of two off the
best decay, and rise by 0.5 to 2 points a nat."""
