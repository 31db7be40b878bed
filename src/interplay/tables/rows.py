"""What a table tells of runs: one `Measurement` a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from interplay.tables.states import State
from interplay.tables.values import Value


@dataclass(frozen=True)
class Measurement:
    """One row. What it does not tell is absent from the mappings; a metric that it has no number for is ``None``."""

    line: int
    knobs: Mapping[str, Value]
    """By standard name, and by their own names those that have none; without the seed."""
    seed: str | None
    repeat: int
    """1 for the first row of its settings and seed, 2 for the second: repetitions in a table without seeds."""
    state: State | None
    """``None`` where the table does not say how the run ended."""
    metrics: Mapping[str, float | None]
    numbers: Mapping[str, float | None]
    """Others that are read: ``sum_of_rates`` and ``window_epochs``."""
    text: Mapping[str, str] = field(default_factory=dict, compare=False)
    """The row as it was written, by standard names."""


@dataclass(frozen=True)
class Measurements:
    """The rows of a table that finished or diverged. ``notes`` say how it was read and what was left out."""

    source: str
    rows: tuple[Measurement, ...]
    left_out: tuple[Measurement, ...] = ()
    """Rows of runs that did not finish, by their text."""
    notes: tuple[str, ...] = ()
