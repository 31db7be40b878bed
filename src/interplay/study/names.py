"""Names of knobs in study files."""

from __future__ import annotations

ALIASES = {"wd": "weight_decay"}
"""Short names that study files may use."""
