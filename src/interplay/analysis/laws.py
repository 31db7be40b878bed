"""The joint fit of λ* over all axes that were varied, which tells theories apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from interplay.analysis.cells import Cell
from interplay.analysis.exponents import Exponents, fit
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.theories import AXES, theories

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """The optimal value of one knob at one setting of all others.

    ``at`` has the other knobs; ``steps`` is T there, if known; ``curve`` the cells that it comes from: positive values
    of the knob and the mean metric (larger is better), and ``none`` that mean without any decay, if it was measured.
    """

    at: Mapping[str, float]
    optimum: Optimum
    members: tuple[Cell, ...]
    curve: tuple[tuple[float, float], ...]
    none: float | None = None
    steps: float | None = None


def measured(
    table: Table, of: str = "weight_decay", *, progress: bool = False
) -> dict[tuple[str, Cell], list[Measured]]:
    """Optima along ``of`` at every setting of the rest, by (schedule, network): what may be fitted together.

    A setting counts with three values or more of ``of``. With ``progress`` a bar is shown on a terminal after a second.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for s in table.all_cells():
        if of not in s and of in MAY_BE_ABSENT:
            continue
        fixed = tuple(_told(s, name) for name in _KNOBS if name != of)
        groups.setdefault((s.schedule, s.network, *fixed), []).append(s)
    steps = {run.cell: run.steps for run in table.runs}
    found: dict[tuple[str, Cell], list[Measured]] = {}
    bar = tqdm(groups.items(), desc="optima", delay=1, leave=False, disable=None if progress else True)
    for (schedule, network, *_), members in bar:
        positive = [s for s in members if getattr(s, of) > 0]
        if len(positive) < 3 or (of == "lr" and members[0].weight_decay == 0):
            continue
        one = members[0]
        given = {
            name: value for name in (*_KNOBS, "schedule") if name != of and (value := _told(one, name)) is not None
        }
        optimum = table.optimum(of, members, given, listed=False)
        level = {s: table.level(s) for s in members if s in table.cells}
        none = next((level[s] for s in members if s in level and getattr(s, of) == 0), None)
        curve = tuple(sorted((getattr(s, of), level[s]) for s in positive if s in level))
        if len(curve) < 2:
            continue
        at = {name: axis(one) for name, axis in AXES.items() if name not in MAY_BE_ABSENT or name in one}
        at |= {"weight_decay": one.weight_decay}
        at.pop(of, None)
        found.setdefault((schedule, network), []).append(
            Measured(at, optimum, tuple(members), curve, none, steps.get(one))
        )
    return found


_KNOBS = ("lr", "weight_decay", "momentum", "batch_size", "epochs")

MAY_BE_ABSENT = ("lr", "batch_size")
"""Knobs that have no value in runs that do not tell it; without decay or momentum a run has 0 of it."""


def _told(cell: Cell, name: str) -> Any:
    """The value of a knob; ``None`` where the runs do not tell it."""
    if name in cell.assumed or (name in MAY_BE_ABSENT and name not in cell):
        return None
    return getattr(cell, name, None)


@dataclass(frozen=True)
class Joint:
    """The exponents of λ* over all axes that were varied, fitted together.

    Axes that were only varied together (η with B under the linear rule) are not told apart: then only combinations of
    their exponents are known, and an axis that is not determined has no entry in ``exponents``. A theory is *inside*
    if its vector, as far as it is determined, lies in the 95 % confidence region.
    """

    schedule: str
    network: Cell
    settings: int
    inside: int
    axes: tuple[str, ...]
    exponents: Mapping[str, tuple[float, tuple[float, float]]]
    """By axis: estimate and 90 % interval."""
    held: tuple[str, ...]
    excluded: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "schedule": self.schedule,
            "of": self.network.words(),
            "settings": self.settings,
            "inside": self.inside,
            "axes": list(self.axes),
            "exponents": {
                name: {"estimate": value, "interval": list(interval)}
                for name, (value, interval) in self.exponents.items()
            },
            "theories_inside": list(self.held),
            "theories_outside": list(self.excluded),
        }


def joint_fit(table: Table) -> Joint | None:
    """Fit log λ* = a + Σ b log(axis) on the largest group of settings; ``None`` where the data cannot determine it."""
    groups = measured(table)
    if not groups:
        return None
    (schedule, network), found = max(groups.items(), key=lambda item: len(item[1]))
    if not table.repeated(s for one in found for s in one.members):
        return None
    axes, basis, scores = span([m.at for m in found])
    if not axes:
        return None
    result = fit([m.optimum for m in found], scores.tolist())
    # Optima that lie inside are a choice of settings where many do not.
    if result is None or 2 * result.inside <= len(found):
        return None
    exponents = {}
    for index, name in enumerate(axes):
        unit = np.eye(len(axes))[index]
        if np.allclose(basis.T @ (basis @ unit), unit, atol=1e-6):
            weights = basis @ unit
            value = float(weights @ result.estimate)
            error = math.sqrt(float(weights @ result.covariance @ weights))
            width = float(stats.norm.ppf(0.95)) * error
            exponents[name] = (value, (value - width, value + width))
    theory = theories(is_coupled(network))
    verdicts = {t.name: contains(result, basis, [t.exponents[name] for name in axes]) for t in theory}
    return Joint(
        schedule,
        network,
        len(found),
        result.inside,
        axes,
        exponents,
        tuple(name for name, held in verdicts.items() if held),
        tuple(name for name, held in verdicts.items() if not held),
    )


def is_coupled(network: Cell) -> bool:
    """Whether the decay of these runs is added to the gradient."""
    return network["optimizer"] not in ("sgdw", "adamw")


def span(at: Sequence[Mapping[str, float]]) -> tuple[tuple[str, ...], Array, Array]:
    """The axes that vary, an orthonormal basis [rank, axes] of the directions in which they do, and the scores in it.

    Scores [settings, rank] are logarithms relative to the mean setting.
    """
    told = [name for name in at[0] if all(name in each for each in at)]
    axes = tuple(name for name in told if len({round(math.log(a[name]), 9) for a in at}) > 1)
    logs = np.log([[a[name] for name in axes] for a in at]).reshape(len(at), len(axes))
    centred = logs - logs.mean(axis=0)
    if not axes:
        return axes, np.empty((0, 0)), centred
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    basis = directions[sizes > 1e-6 * sizes[0]]
    return axes, basis, centred @ basis.T


def contains(found: Exponents, basis: Array, theory: Sequence[float | None], level: float = 0.95) -> bool:
    """Whether the confidence region holds a theory, leaving free the exponents on which it is silent.

    Args:
        found: the fit in the directions of ``basis`` [rank, axes].
        basis: what is determined of the axes.
        theory: an exponent for each axis.
    """
    gap = basis @ np.array([0.0 if x is None else x for x in theory]) - found.estimate
    free = basis[:, [x is None for x in theory]]
    precision = np.linalg.inv(found.covariance)
    if free.shape[1]:
        # The best that the theory can do: least squares over what it leaves open.
        root = np.linalg.cholesky(precision).T
        gap = gap + free @ np.linalg.lstsq(root @ free, -(root @ gap), rcond=None)[0]
    size = len(gap) - int(np.linalg.matrix_rank(free)) if free.shape[1] else len(gap)
    if size <= 0:
        return True
    return float(gap @ precision @ gap) <= float(stats.chi2.ppf(level, size))
