"""The same cells measured by two: their difference against the noise of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from interplay.analysis.cells import Cell
from interplay.analysis.conclude import conclude, tabulate
from interplay.analysis.duplicates import COPIES
from interplay.analysis.noise import Noise
from interplay.analysis.observations import Observations
from interplay.analysis.table import Table
from interplay.record import cleaned


@dataclass(frozen=True)
class Pair:
    """One cell that both have. Means over repetitions; ``error`` is the standard error of their difference."""

    cell: Cell
    ours: float
    theirs: float
    runs: tuple[int, int]
    error: float | None
    """``None`` where neither side has repetitions."""

    @property
    def difference(self) -> float:
        """Ours less theirs."""
        return self.ours - self.theirs

    @property
    def z(self) -> float | None:
        """The difference in standard errors."""
        return self.difference / self.error if self.error else None


@dataclass(frozen=True)
class Comparison:
    """Two groups of runs of one metric side by side."""

    metric: str
    pairs: tuple[Pair, ...]
    only: tuple[int, int]
    """Cells that only we, or only they, have measured."""
    mean: float | None
    """Mean difference over cells, weighted by precision; ``None`` without noise."""
    interval90: tuple[float, float] | None
    beyond_noise: float | None
    """SD of true differences between cells that noise leaves unexplained (DerSimonian & Laird 1986), at least 0."""
    p: float | None
    """Of the hypothesis that no cell differs: F test of the differences over their errors, which are estimates."""
    order: float | None
    """Spearman's rank correlation of the cells."""
    claims: tuple[tuple[str, str, str], ...]
    """Claim, our verdict, their verdict."""
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        found = asdict(self)
        for values, pair in zip(found["pairs"], self.pairs, strict=True):
            values |= {"cell": pair.cell.to_dict(), "difference": pair.difference, "z": pair.z}
        plain: dict[str, Any] = cleaned(found)
        return plain


def compare(ours: Sequence[Observations], theirs: Sequence[Observations], seed: int = 0) -> Comparison:
    """Put the cells that both groups have side by side.

    Cells are the same if everything that a table tells of them agrees: rates, decay, momentum, batch size, epochs,
    schedule, network, data. Each side's noise is pooled over its own repetitions; a side without any borrows that of
    the other; where neither has any, residuals about smooth curves stand for it.

    Args:
        ours, theirs: one item a table or store, as `analyze` takes them; all of one metric.
        seed: of the bootstrap behind the verdicts.

    Raises:
        ValueError: no observations, or of different metrics.
    """
    first, copies = tabulate([_documented(each) for each in ours], seed)
    second, other_copies = tabulate([_documented(each) for each in theirs], seed)
    if ours[0].metric != theirs[0].metric:
        raise ValueError("both sides must be measured by one metric")
    notes = [*first.notes, *second.notes]
    notes += [f"{left_out} repeats {kept} and is counted once" for kept, left_out, _ in (*copies, *other_copies)]
    shared = sorted(set(first.cells) & set(second.cells))
    noises = {network: _noises(s, first, second, notes) for network, s in {s.network: s for s in shared}.items()}
    pairs = tuple(_pair(s, first, second, noises[s.network]) for s in shared)
    notes = list(dict.fromkeys(notes))
    lost = (set(first.diverged) & set(second.cells), set(second.diverged) & set(first.cells))
    for cells, whose in zip(lost, ("ours", "theirs"), strict=True):
        if cells:
            notes.append(f"{len(cells)} cells diverged on one side only, {whose}: they have no difference")
    copied = sum(set(first.cells[s]) == set(second.cells[s]) for s in shared)
    if copied >= COPIES and 2 * copied >= len(shared):
        notes.append(f"{copied} of {len(shared)} cells agree to the last digit: these are the same runs")
    only = (len(set(first.cells) - set(shared) - lost[1]), len(set(second.cells) - set(shared) - lost[0]))
    freedom = min((noise.dof for both in noises.values() for noise in both if noise is not None), default=0)
    mean, interval, spread, p = _overall(pairs, freedom)
    order = None
    sides = [x.ours for x in pairs], [x.theirs for x in pairs]
    if len(pairs) > 2 and all(len(set(side)) > 1 for side in sides):
        order = float(stats.spearmanr(*sides).statistic)
    mine = {claim.id: claim.verdict for claim in conclude(first, copies).claims}
    claims = tuple((c.id, str(mine[c.id]), str(c.verdict)) for c in conclude(second, other_copies).claims)
    return Comparison(ours[0].metric, pairs, only, mean, interval, spread, p, order, claims, tuple(notes))


def _documented(observations: Observations) -> Observations:
    """A table of eight columns does not name network and data; it has those of the documented programme."""
    runs = []
    for run in observations.runs:
        named = [name for name, value in _PROGRAMME.items() if run.cell.get(name) == value]
        runs.append(replace(run, cell=run.cell.without(*named)))
    return observations.where(runs)


_PROGRAMME = {"model": "resnet18", "dataset": "cifar100"}


def _noises(cell: Cell, first: Table, second: Table, notes: list[str]) -> tuple[Noise | None, Noise | None]:
    """The noise of each side: from its repetitions, else from those of the other, else from residuals."""
    both = first.noise_in_all(cell), second.noise_in_all(cell)  # the seeds of the sides may be others
    one, other = (None if noise is None or noise.residual else noise for noise in both)
    if one is None and other is None:
        one, other = both
        if one is None and other is None:
            notes.append("neither side has repetitions, so differences cannot be held against noise")
        else:
            notes.append("neither side has repetitions: the scatter about smooth curves is taken for noise")
    elif one is None or other is None:
        who = "our" if one is None else "their"
        notes.append(f"{who} cells were not repeated: the other side's noise is taken for both")
    return one or other, other or one


def _pair(cell: Cell, first: Table, second: Table, noises: tuple[Noise | None, Noise | None]) -> Pair:
    values = (first.cells[cell], second.cells[cell])
    means = [float(np.mean(each)) for each in values]
    variances = [
        noise.sd(first.sign * mean) ** 2 / len(each)
        for noise, mean, each in zip(noises, means, values, strict=True)
        if noise is not None
    ]
    error = math.sqrt(sum(variances)) if len(variances) == 2 else None
    return Pair(cell, means[0], means[1], (len(values[0]), len(values[1])), error or None)


def _overall(
    pairs: Sequence[Pair], freedom: int
) -> tuple[float | None, tuple[float, float] | None, float | None, float | None]:
    known = [(pair.difference, pair.error) for pair in pairs if pair.error is not None]
    if len(known) < 2:
        return None, None, None, None
    d, e = np.array(known).T
    weights = 1 / e**2
    fixed = float(np.sum(weights * d) / np.sum(weights))
    heterogeneity = float(np.sum(weights * (d - fixed) ** 2))
    scale = float(np.sum(weights) - np.sum(weights**2) / np.sum(weights))
    between = max(0.0, (heterogeneity - (len(d) - 1)) / scale)
    weights = 1 / (e**2 + between)
    mean = float(np.sum(weights * d) / np.sum(weights))
    half = float(stats.norm.ppf(0.95)) / math.sqrt(float(np.sum(weights)))
    p = float(stats.f.sf(float(np.mean((d / e) ** 2)), len(d), freedom))
    return mean, (mean - half, mean + half), math.sqrt(between), p
