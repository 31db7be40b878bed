"""How long a claim holds without a sign of life; see `leases`. The settings import it, so it needs no library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lease:
    """How a claim is kept alive. All in seconds."""

    beat: float = 5.0
    """Between two signs of life."""
    lapse: float = 60.0
    """Without a new sign of life before another worker may take the run."""
    hang: float = 1800.0
    """Without progress of the training itself before the signs of life cease."""
