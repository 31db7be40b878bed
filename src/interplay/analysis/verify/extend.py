"""A study that a loop extends: analyse, ask what is needed, run it, until the claim is decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from interplay.analysis.verify.judges import Claimed, Judge
from interplay.analysis.verify.studies import SimulatedStudy
from interplay.analysis.verify.worlds import Cell, Row, cell_of

BUDGET = 400
"""Runs after which a loop stops undecided."""

ROUNDS = 15


@dataclass(frozen=True)
class Outcome:
    """How a loop ended."""

    said: Claimed
    runs: int
    rounds: int
    stopped: Literal["decided", "nothing needed", "nothing new", "budget", "rounds"]


def extend(study: SimulatedStudy, claim: str, judge: Judge, budget: int = BUDGET, rounds: int = ROUNDS) -> Outcome:
    """Run what the judge needs for ``claim`` until it is decided, nothing is needed, or the budget is spent."""
    rows = study.rows
    for done in range(rounds):
        said = judge(rows, study.metric).claims.get(claim, Claimed("not asked"))
        if said.decided:
            return Outcome(said, len(rows), done, "decided")
        if not said.needed:
            return Outcome(said, len(rows), done, "nothing needed")
        runs = new_runs(rows, said.needed, study.seeds, said.seeds)
        if not runs:
            return Outcome(said, len(rows), done, "nothing new")
        if len(rows) + len(runs) > budget:
            return Outcome(said, len(rows), done, "budget")
        for cell, seed in runs:
            rows = rows + study.world.run([cell], [seed])
    said = judge(rows, study.metric).claims.get(claim, Claimed("not asked"))
    return Outcome(said, len(rows), rounds, "decided" if said.decided else "rounds")


def new_runs(
    rows: Sequence[Row], needed: Iterable[Mapping[str, Any]], seeds: Sequence[int], further: int = 0
) -> list[tuple[Cell, int]]:
    """Cells and seeds that are not there yet, as `study --extend` adds them.

    A new cell gets the ``seeds`` of the study and ``further`` ones; one that is there ``further`` ones, at least one.
    """
    used: dict[Cell, set[int]] = {}
    for row in rows:
        used.setdefault(cell_of(row), set()).add(int(row["seed"]))
    found: dict[tuple[Cell, int], None] = {}
    for item in needed:
        cell = cell_of(item)
        cell = cell._replace(lr=float(f"{cell.lr:.6g}"), weight_decay=float(f"{cell.weight_decay:.6g}"))
        there = used.get(cell, set())
        last = max((*there, *seeds))
        wanted = [*(seed for seed in seeds if seed not in there), *range(last + 1, last + 1 + max(further, 1))]
        count = max(further, 1) if there else len(seeds) + further
        found |= dict.fromkeys((cell, seed) for seed in wanted[:count])
    return list(found)
