"""Supported, refuted, inconclusive or not asked: the rule, the same for every claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from interplay.study.claims import Claim

Word = Literal["supported", "refuted", "inconclusive", "not asked"]

UNLIKELY = "further runs are unlikely to decide"
"""Said where an interval has two ends and no runs are proposed."""


@dataclass(frozen=True)
class Plan:
    """Runs that are expected to decide a claim: ``cells`` (knob to value), each with so many further ``seeds``.

    ``interval`` is the 90 % interval to expect after them, where that can be said; ``words`` say what they are.
    """

    words: str
    cells: tuple[dict[str, Any], ...] = ()
    seeds: int = 0
    """Further seeds of each cell; 0 where the cells are new and take the seeds of the study."""
    runs: int = 0
    interval: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "words": self.words,
            "cells": list(self.cells),
            "seeds": self.seeds,
            "runs": self.runs,
            "expected_interval": None if self.interval is None else list(self.interval),
        }


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of one claim.

    ``interval`` is the 90 % interval of ``estimate``; ``plan`` the cheapest runs that are expected to settle it;
    ``p`` the probability of data as far outside the band, for Holm's correction: 1 within it, and ``None`` where
    nothing was tested.
    """

    id: str
    verdict: Word
    estimate: float | None
    interval: tuple[float | None, float | None]
    reason: str
    plan: Plan | None = None
    p: float | None = None
    question: str = ""
    own: bool = False
    """Whether the study states the claim itself."""
    other_metric: str = ""
    """What another metric says of it, where that is another word: ``by final_test_loss: refuted``."""
    claim: Claim | None = field(default=None, repr=False, compare=False)
    """The claim itself, where the verdict comes from an analysis."""

    @property
    def needed(self) -> tuple[dict[str, Any], ...]:
        """The cells of the plan."""
        return self.plan.cells if self.plan is not None else ()

    def to_dict(self) -> dict[str, Any]:
        """JSON types, under the documented names."""
        return {
            "id": self.id,
            "question": self.question,
            "own": self.own,
            "verdict": self.verdict,
            "estimate": self.estimate,
            "interval": list(self.interval),
            "reason": self.reason,
            "needed": list(self.needed),
            "plan": None if self.plan is None else self.plan.to_dict(),
            "other_metric": self.other_metric,
        }


def judge(
    claim: str,
    estimate: float,
    interval90: tuple[float, float],
    interval95: tuple[float, float],
    band: tuple[float, float],
    reason: str,
    *,
    p: float | None = None,
) -> Verdict:
    """Supported if the 90 % interval lies inside the band, refuted if the 95 % interval is disjoint from it."""
    shown = (_finite(interval90[0]), _finite(interval90[1]))
    if band[0] <= interval90[0] and interval90[1] <= band[1]:
        return Verdict(claim, "supported", estimate, shown, reason, None, p)
    if interval95[1] < band[0] or interval95[0] > band[1]:
        return Verdict(claim, "refuted", estimate, shown, reason, None, p)
    return Verdict(claim, "inconclusive", estimate, shown, reason, None, p)


def undecided(claim: str, reason: str) -> Verdict:
    """A claim that the data could speak to and do not, with the reason."""
    return Verdict(claim, "inconclusive", None, (None, None), reason)


def not_asked(claim: str, reason: str) -> Verdict:
    """A claim for which nothing was varied; the reason says what it needs."""
    return Verdict(claim, "not asked", None, (None, None), reason)


def holm(verdicts: Sequence[Verdict], level: float = 0.05) -> list[Verdict]:
    """Holm's step-down correction over refutations: one that does not survive it becomes inconclusive.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979). Only refutations are significance tests here; a support
    asks for the whole interval inside the band, which many claims do not make easier.
    """
    tested = sorted((v for v in verdicts if v.p is not None), key=lambda v: v.p or 0.0)
    keep: set[str] = set()
    for rank, verdict in enumerate(tested):
        if (verdict.p or 0.0) > level / (len(tested) - rank):
            break
        keep.add(verdict.id)
    return [
        replace(v, verdict="inconclusive", reason=f"{v.reason}; does not survive Holm's correction")
        if v.verdict == "refuted" and v.p is not None and v.id not in keep
        else v
        for v in verdicts
    ]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
