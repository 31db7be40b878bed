"""Names of knobs in study files, and how many runs a study may have."""

from __future__ import annotations

from interplay.errors import SpecError
from interplay.text import shown

ALIASES = {"wd": "weight_decay"}
"""Short names that study files may use."""

OF_THE_COMMAND = frozenset("test_every output_dir data_dir workers gpus path executor".split())
"""Flags of `interplay study` that look like knobs and are none, since they change no result."""

MAX_RUNS = 100_000
"""Runs of one study at most, seeds included: far above what is useful, far below what fills the memory."""


def refuse_too_many(runs: int, where: str) -> None:
    """Raise `SpecError` if a study asks for more than `MAX_RUNS`; before the first of them is made."""
    if runs > MAX_RUNS:
        raise SpecError(f"{where} asks for {shown(runs)} runs; at most {MAX_RUNS} are allowed")
