"""On which variable do the runs fall together: λ, the memory τ, the e-folds of decay, or the window of epochs?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.laws import Measured, measured
from interplay.analysis.observations import Observation
from interplay.analysis.ridge import DEGREE, within
from interplay.analysis.table import Table

VARIABLES: dict[str, tuple[str, Callable[[Observation], float | None]]] = {
    "weight_decay": ("weight decay λ", lambda run: run.cell.weight_decay),
    "product": ("ηλ", lambda run: run.cell.lr * run.cell.weight_decay),
    "tau_epochs": ("memory τ = m/(ηλM), epochs", lambda run: run.tau_epochs),
    "e_folds": ("e-folds of decay Λ = λS/m", lambda run: run.e_folds),
}
"""By name: words for an axis, and the value for one run."""


@dataclass(frozen=True)
class Bar:
    """One setting: what a variable is at its optimum, and at both ends of the 90 % interval of that."""

    cell: Cell
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Fall:
    """All cells against one variable.

    ``points`` are (value, mean of the metric, setting); ``scatter`` is the root mean square distance from one cubic in
    the logarithm, over the cells near the best (`ridge.within`), in units of the noise of a cell: 1 is a perfect
    collapse of the whole curve. ``spread`` is the factor by which the optima of the settings scatter on this variable
    (one standard deviation): 1 is a perfect collapse of the optima. ``None`` where that cannot be said.
    """

    variable: str
    label: str
    points: tuple[tuple[float, float, Cell], ...]
    scatter: float | None
    spread: float | None
    optima: tuple[float, ...] = ()
    """What the variable is at the optimum of each setting that has one, in rising order."""
    bars: tuple[Bar, ...] = ()
    """The same with intervals, one a setting, whether its optimum is inside or not, in the order of the settings."""


@dataclass(frozen=True)
class Collapse:
    """The largest set of runs that differ in η, λ, B and E only, where a setting has three decays or more."""

    metric: str
    falls: tuple[Fall, ...]


def collapse_picture(table: Table) -> Collapse | None:
    """All variables, or ``None`` where fewer than two learning rates or batch sizes were run with decay."""
    groups: dict[tuple[str, Cell, float], list[Measured]] = {}
    for (schedule, network), found in measured(table).items():
        for one in found:
            groups.setdefault((schedule, network, one.at["1-momentum"]), []).append(one)
    settings = max(groups.values(), key=len, default=[])
    if len(settings) < 2:
        return None
    members = [s for one in settings for s in one.members if s in table.cells and s.weight_decay > 0]
    runs = {run.cell: run for run in table.runs}
    falls = []
    for name, (label, value) in VARIABLES.items():
        known = [(x, float(np.mean(table.cells[s])), s) for s in members if (x := value(runs[s])) is not None]
        if known:
            points = tuple(sorted(known, key=lambda p: p[0]))
            bars = _bars(settings, runs, value)
            optima = tuple(sorted(bar.value for bar in bars if bar.value is not None))
            spread = math.exp(float(np.std(np.log(optima), ddof=1))) if len(optima) > 1 else None
            falls.append(Fall(name, label, points, _scatter(table, known), spread, optima, bars))
    return Collapse(table.metric, tuple(falls))


def _bars(
    settings: Sequence[Measured], runs: Mapping[Cell, Observation], value: Callable[[Observation], float | None]
) -> tuple[Bar, ...]:
    """Every variable is λ or 1/λ times something that the setting fixes, so two runs tell its value at any λ."""
    bars = []
    for one in settings:
        near, far = sorted((s for s in one.members if s.weight_decay > 0), key=lambda s: s.weight_decay)[:2]
        x, y = value(runs[near]), value(runs[far])
        if x is None or y is None:
            return ()
        power = math.log(y / x) / math.log(far.weight_decay / near.weight_decay)

        def at(decay: float | None, x: float = x, power: float = power, near: Cell = near) -> float | None:
            return None if decay is None else x * (decay / near.weight_decay) ** power

        low, high = (at(end) for end in one.optimum.interval)
        if power < 0:
            low, high = high, low
        bars.append(Bar(near.without("weight_decay"), at(one.optimum.estimate), low, high))
    return tuple(sorted(bars, key=lambda bar: bar.cell))


def _scatter(table: Table, points: list[tuple[float, float, Cell]]) -> float | None:
    if any(table.noise_of(s) is None for _, _, s in points):
        return None
    level = np.array([table.level(s) for _, _, s in points])
    near = level >= level.max() - within(table.metric)[0]
    logs = np.log([x for x, _, _ in points])[near]
    free = int(near.sum()) - DEGREE - 1
    if free < 3 or np.ptp(logs) == 0:
        return None
    error = np.array([table.error(s) for (_, _, s), kept in zip(points, near, strict=True) if kept])
    if not (error > 0).all():
        return None
    design = np.vander((logs - logs.mean()) / np.ptp(logs), DEGREE + 1) / error[:, None]
    target = level[near] / error
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return math.sqrt(float((residual**2).sum()) / free)
