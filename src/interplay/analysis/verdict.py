"""Supported, refuted or inconclusive: the rule, the same for every claim."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Word = Literal["supported", "refuted", "inconclusive"]

BAND = 0.2
"""Half-width of the band around a predicted exponent."""


@dataclass(frozen=True)
class Verdict:
    """What the measurements say of one claim.

    ``interval`` is the 90 % interval of ``estimate``; ``needed`` are cells (knob to value) that would settle the claim;
    ``p`` the probability of data as far outside the band, for Holm's correction: 1 within it, and ``None`` where
    nothing was tested.
    """

    id: str
    verdict: Word
    estimate: float | None
    interval: tuple[float | None, float | None]
    reason: str
    needed: tuple[dict[str, Any], ...] = ()
    p: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON types, under the documented names."""
        return {
            "id": self.id,
            "verdict": self.verdict,
            "estimate": self.estimate,
            "interval": list(self.interval),
            "reason": self.reason,
            "needed": list(self.needed),
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
    needed: Sequence[dict[str, Any]] = (),
) -> Verdict:
    """Supported if the 90 % interval lies inside the band, refuted if the 95 % interval is disjoint from it."""
    shown = (_finite(interval90[0]), _finite(interval90[1]))
    if band[0] <= interval90[0] and interval90[1] <= band[1]:
        return Verdict(claim, "supported", estimate, shown, reason, (), p)
    if interval95[1] < band[0] or interval95[0] > band[1]:
        return Verdict(claim, "refuted", estimate, shown, reason, (), p)
    return Verdict(
        claim, "inconclusive", estimate, shown, f"{reason}; the 95 % interval meets the band", tuple(needed), p
    )


def undecided(claim: str, reason: str, needed: Sequence[dict[str, Any]] = ()) -> Verdict:
    """A claim that the data cannot speak to, with the reason and what would help."""
    return Verdict(claim, "inconclusive", None, (None, None), reason, tuple(needed))


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
