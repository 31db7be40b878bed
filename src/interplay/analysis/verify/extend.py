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
        runs = new_runs(rows, said.needed, study.seeds)
        if not runs:
            return Outcome(said, len(rows), done, "nothing new")
        if len(rows) + len(runs) > budget:
            return Outcome(said, len(rows), done, "budget")
        for cell, seed in runs:
            rows = rows + study.world.run([cell], [seed])
    said = judge(rows, study.metric).claims.get(claim, Claimed("not asked"))
    return Outcome(said, len(rows), rounds, "decided" if said.decided else "rounds")


def new_runs(rows: Sequence[Row], needed: Iterable[Mapping[str, Any]], seeds: Sequence[int]) -> list[tuple[Cell, int]]:
    """Cells and seeds that are not there yet.

    A cell that names its ``seeds`` (or ``seed``) gets those. Any other gets the seeds of the study, or where it has
    been run with all of them, the next one.
    """
    there = {(cell_of(row), int(row["seed"])) for row in rows}
    found: dict[tuple[Cell, int], None] = {}
    for item in needed:
        cell = cell_of(item)
        cell = cell._replace(lr=float(f"{cell.lr:.6g}"), weight_decay=float(f"{cell.weight_decay:.6g}"))
        asked = item.get("seeds", item.get("seed"))
        if asked is not None:
            wanted = [int(seed) for seed in (asked if isinstance(asked, Iterable) else (asked,))]
        else:
            wanted = [seed for seed in seeds if (cell, seed) not in there]
            if not wanted:
                wanted = [max(seed for known, seed in there if known == cell) + 1]
        found |= dict.fromkeys((cell, seed) for seed in wanted if (cell, seed) not in there)
    return list(found)
