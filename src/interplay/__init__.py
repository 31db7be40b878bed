"""Measure how learning rate, weight decay, batch size, momentum and schedule act together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec

if TYPE_CHECKING:
    from interplay.analysis.analyze import Analysis
    from interplay.study.claims import Claim

__version__ = "0.1.0"
__all__ = ["Claim", "EpochMetrics", "RunRecord", "RunSpec", "Status", "__version__", "analyze"]


def analyze(
    records: Iterable[RunRecord], metric: str = "final_test_acc", claims: Sequence[str | Claim] = ()
) -> Analysis:
    """What ``records`` support: noise, optima and verdicts with intervals; of ``claims`` first.

    Raises:
        SpecError: records have no such metric, or a claim that is not known.
    """
    from interplay.analysis.analyze import analyze as engine
    from interplay.analysis.observations import from_records
    from interplay.study.claims import known_claims

    return engine([from_records(records, metric)], own=known_claims(tuple(claims)))


def __getattr__(name: str) -> Any:
    """`Claim` on demand: those who only read records need no studies."""
    if name == "Claim":
        from interplay.study.claims import Claim

        return Claim
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
