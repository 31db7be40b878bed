"""Measure how learning rate, weight decay, batch size, momentum and schedule act together."""

from __future__ import annotations

from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec

__version__ = "0.1.0"
__all__ = ["EpochMetrics", "RunRecord", "RunSpec", "Status", "__version__"]
