"""Optimisers side by side: which one the claims speak of, and the same cells and claims under the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.analysis.observations import Observation, Observations


@dataclass(frozen=True)
class Beside:
    """One optimiser against the one that the claims speak of, over the cells that both have."""

    optimizer: str
    against: str
    cells: int
    mean: float | None
    """Mean difference of the metric, ``optimizer`` less ``against``; ``None`` without repetitions of either."""
    interval90: tuple[float, float] | None
    claims: tuple[tuple[str, str, str], ...]
    """Claim, verdict of ``optimizer``, verdict of ``against``; those that both leave undecided are left out."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "optimizer": self.optimizer,
            "against": self.against,
            "cells": self.cells,
            "mean_difference": self.mean,
            "interval90": None if self.interval90 is None else list(self.interval90),
            "claims": [{"id": name, self.optimizer: ours, self.against: theirs} for name, ours, theirs in self.claims],
        }


def optimizer_of(run: Observation) -> str:
    """Name of the optimiser; a table that does not say has the documented one."""
    return str(run.cell["optimizer"])


def optimizers(runs: Sequence[Observation]) -> list[str]:
    """Those that occur, the one with the most runs first; of equals the documented one."""
    counts = Counter(map(optimizer_of, runs))
    return sorted(counts, key=lambda name: (-counts[name], name != "sgd", name))


def of_one(observations: Observations, name: str) -> Observations:
    """The runs of one optimiser."""
    return observations.where(run for run in observations.runs if optimizer_of(run) == name)
