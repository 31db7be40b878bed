"""Measure how learning rate, weight decay, batch size, momentum and schedule act together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec

if TYPE_CHECKING:
    from interplay.analysis.analyze import Analysis

__version__ = "0.1.0"
__all__ = ["EpochMetrics", "RunRecord", "RunSpec", "Status", "__version__", "analyze"]


def analyze(records: Iterable[RunRecord], metric: str = "final_test_acc") -> Analysis:
    """What ``records`` support: noise, optima and verdicts with intervals.

    Raises:
        SpecError: records have no such metric.
    """
    from interplay.analysis.analyze import analyze as engine
    from interplay.analysis.observations import from_records

    return engine([from_records(records, metric)])
