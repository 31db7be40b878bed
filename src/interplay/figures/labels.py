"""Words that stand in the figures and on the page: names of metrics, and what a mark of an optimum means."""

from __future__ import annotations

from typing import Literal

from interplay.analysis.optimum import Optimum

Mark = Literal["inside", "plateau", "open below", "open above"]

LABELS: dict[Mark, str] = {
    "inside": "measured λ*, 90 % interval",
    "plateau": "plateau: λ* is somewhere in it",
    "open below": "λ* at most this: not bounded below",
    "open above": "λ* at least this: not bounded above",
}

OTHER = "another optimum of the same curve"


def metric_name(metric: str) -> str:
    """Words for a column name."""
    return metric.replace("_", " ").replace("acc", "accuracy")


def metric_label(metric: str) -> str:
    """Words for a column name, with the unit."""
    return f"{metric_name(metric)} (%)" if "acc" in metric else f"{metric_name(metric)} (nats)"


def mark(optimum: Optimum) -> Mark | None:
    """How an optimum is marked; ``None`` where nothing is known of it."""
    if optimum.estimate is not None:
        return "plateau" if optimum.plateau else "inside"
    low, high = optimum.interval
    if (low is None) == (high is None):
        return None
    return "open below" if low is None else "open above"
