"""Numbers in words, as the page prints them; see `analysis.phrases` for what it shares with the terminal."""

from __future__ import annotations

DASH = "–"
"""What stands where nothing is known."""


def metric_value(metric: str, value: float) -> str:
    """A value of the metric with as many digits as it deserves, and its unit."""
    return f"{value:.2f} %" if "acc" in metric else f"{value:.4f} nats"
