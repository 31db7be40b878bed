"""Cramér-Rao bounds: the least standard error that any unbiased estimator can have on a simulated study.

The bound is that of the family the curves were drawn from: heights of all slices free, parameters of the shape common
to them and free, noise and scatter known. An estimator that does not know the family cannot reach it; how near it comes
is the share of the bound. Heights, positions m of the optima and parameters of the shape have the Fisher information
JᵀWJ, where J is the derivative of the cells' means and W their precisions; heights and shape are eliminated. For an
exponent, m = a + bz + N(0, τ²) over the slices, so the information about (a, b) is Zᵀ(C + τ²)⁻¹Z with C the covariance
of m.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from interplay.analysis.verify.curves import Slice
from interplay.analysis.verify.studies import MARGIN, SimulatedStudy, Truth
from interplay.analysis.verify.worlds import Cell, Methods, PowerLaw, Surface

Array = NDArray[np.float64]

NINETY, NINETY_FIVE = 1.6449, 1.9600
"""Two-sided normal quantiles."""


UNDETERMINED = 20.0
"""A standard error beyond it is the rounding of a zero information: as many parameters as cells."""


def information(
    slices: Sequence[Slice], points: Sequence[Array], precisions: Sequence[Array], steepness: Array | None = None
) -> Array:
    """Fisher information about the log optima of slices that share a shape, the rest eliminated.

    Args:
        slices: the true curves.
        points: log x of the cells of each.
        precisions: of the mean of each cell (runs over variance).
        steepness: position of each slice on the axis along which the shape is stretched exponentially, if its rate is
            to be found, too.

    Returns:
        Matrix of as many rows and columns as there are slices; singular where a cell is missing to tell.
    """
    count = len(slices)
    shape = slices[0].shape.parameters()
    free = len(shape) + (steepness is not None)

    def means(parameters: Array) -> Array:
        tops, logs, rest = parameters[:count], parameters[count : 2 * count], parameters[2 * count :]
        found = []
        for i, (each, x) in enumerate(zip(slices, points, strict=True)):
            stretch = each.stretch
            if steepness is not None:
                stretch *= math.exp(rest[-1] * float(steepness[i]))
            moved = dataclasses.replace(
                each,
                shape=each.shape.with_parameters(tuple(rest[: len(shape)])),
                top=float(tops[i]),
                log_optimum=float(logs[i]),
                stretch=stretch,
            )
            found.append(moved.accuracy(x))
        return np.concatenate(found)

    start = np.array(
        [s.top for s in slices] + [s.log_optimum for s in slices] + list(shape) + [0.0] * (free > len(shape))
    )
    jacobian = _jacobian(means, start)
    full = jacobian.T @ (np.concatenate(precisions)[:, None] * jacobian)
    nuisance = [*range(count), *range(2 * count, len(start))]
    wanted = slice(count, 2 * count)
    cross = full[wanted, :][:, nuisance]
    return full[wanted, wanted] - cross @ np.linalg.pinv(full[np.ix_(nuisance, nuisance)], hermitian=True) @ cross.T


def _jacobian(function: Callable[[Array], Array], at: Array) -> Array:
    """Central differences."""
    columns = []
    for i in range(len(at)):
        step = np.zeros_like(at)
        step[i] = 1e-5 * max(1.0, abs(float(at[i])))
        columns.append((function(at + step) - function(at - step)) / (2 * step[i]))
    return np.stack(columns, axis=1)


def slope_bound(about: Array, z: Array, scatter: float) -> float:
    """Least SD of b in m = a + bz + N(0, scatter²), where ``about`` is the information about m."""
    design = np.stack([np.ones_like(z), z], axis=1)
    # (C + τ²)⁻¹ written with the information C⁻¹, which may be singular: a slice may say nothing.
    within = about @ np.linalg.inv(np.eye(len(z)) + scatter**2 * about)
    return _least_sd(design.T @ within @ design, 1)


def _least_sd(about: Array, index: int) -> float:
    """Of one parameter; infinite where the information leaves it undetermined."""
    scale = np.sqrt(np.maximum(np.diag(about), 1e-300))
    values, vectors = np.linalg.eigh(about / np.outer(scale, scale))
    known = values > 1e-9
    if np.abs(vectors[index, ~known]).max(initial=0.0) > 1e-4:
        return math.inf
    sd = float(np.sqrt(np.sum(vectors[index, known] ** 2 / values[known])) / scale[index])
    return sd if sd < UNDETERMINED else math.inf


def _cells(surface: Surface, cells: Sequence[Cell], runs: int) -> tuple[Array, Array]:
    """log x and precision of the cells of one slice that have a value."""
    known = [cell for cell in dict.fromkeys(cells) if not surface.diverged(cell)]
    x = np.array([surface.log_x(cell) for cell in known])
    return x, np.array([runs / surface.sd(cell) ** 2 for cell in known])


def exponent_bound(study: SimulatedStudy, cells: Sequence[Cell] | None = None) -> float:
    """Least SD of the exponent of a study of `PowerLaw` along what it varies.

    Raises:
        TypeError: the study has no law.
    """
    surface = study.world.surface
    if not isinstance(surface, PowerLaw):
        raise TypeError(f"{study.condition} has no power law")
    groups: dict[float, list[Cell]] = {}
    for cell in cells or study.cells:
        groups.setdefault(cell.lr if surface.along == "lr" else float(cell.batch_size), []).append(cell)
    measured = [_cells(surface, group, len(study.seeds)) for group in groups.values()]
    z = np.log(list(groups)) - surface.centre
    about = information(
        [surface.slice_of(group[0]) for group in groups.values()],
        [x for x, _ in measured],
        [precision for _, precision in measured],
        z if surface.steepening else None,
    )
    return slope_bound(about, z, surface.scatter)


def optimum_bound(study: SimulatedStudy, method: str, cells: Sequence[Cell] | None = None) -> float:
    """Least SD of the logarithm of a method's best rate, in nats.

    Raises:
        TypeError: the study is not one of methods.
    """
    surface = study.world.surface
    if not isinstance(surface, Methods):
        raise TypeError(f"{study.condition} does not compare methods")
    x, precision = _cells(surface, [c for c in cells or study.cells if c.method == method], len(study.seeds))
    return _least_sd(information([dict(surface.slices)[method]], [x], [precision]), 0)


def bound_of(study: SimulatedStudy, truth: Truth) -> float | None:
    """Least SD of what a claim speaks of: an exponent, or the log ratio of two best rates; ``None`` for others."""
    if truth.role == "exponent":
        return exponent_bound(study)
    if truth.role == "ordering":
        methods = {"ordering.sgd>sgd_wd": ("SGD", "SGD+WD"), "ordering.sgd_wd>sgdm_wd": ("SGD+WD", "SGDM+WD")}
        first, second = methods[truth.claim]
        return math.hypot(optimum_bound(study, first), optimum_bound(study, second))
    return None


def attainable(truth: Truth, sd: float) -> float:
    """Probability that an unbiased normal estimate with this SD earns the right word, by the rule of the four words.

    Supported if its 90 % interval lies inside the band, refuted if its 95 % interval is disjoint from it. Of two
    optima: if with 95 % the first is above, or below, the other by more than the margin.
    """
    if truth.role == "ordering" and truth.value is not None:
        margin, scale = math.log(MARGIN), max(sd, 1e-12)
        above, below = (float(norm.sf((margin - gap) / scale + NINETY)) for gap in (truth.value, -truth.value))
        if not math.isfinite(sd):
            above = below = 0.0
        return {"supported": above, "refuted": below}.get(truth.word, 1 - above - below)
    if truth.band is None or truth.value is None or not math.isfinite(sd):
        return 0.0
    low, high = ((edge - truth.value) / max(sd, 1e-12) for edge in truth.band)
    if truth.word == "supported":
        return float(max(0.0, norm.cdf(high - NINETY) - norm.cdf(low + NINETY)))
    return float(norm.sf(high + NINETY_FIVE) + norm.cdf(low - NINETY_FIVE))
