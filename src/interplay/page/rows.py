"""The runs as the page keeps them: columns instead of rows, what all share written once, long curves thinned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from interplay.analysis.cells import Cell
from interplay.page.content import COLUMNS, HISTORY, Page, Run
from interplay.record import EpochMetrics, cleaned

NUMBERS = 180_000
"""Numbers of all training curves of a page together. More runs have fewer points each."""

LEAST, MOST = 8, 100
"""Points of a curve: no fewer however many runs there are, and no more than can be told apart."""


class Cells:
    """Numbers for the cells of the analysis, by which points of a figure and rows of the table find each other."""

    def __init__(self, page: Page) -> None:
        settings = [run.cell for run in page.runs if run.cell is not None]
        self._index = {setting: number for number, setting in enumerate(dict.fromkeys(settings))}
        self._values: dict[Cell, list[float]] = {}
        for run in page.runs:
            value = run.values.get(page.metric)
            if run.cell is not None and value is not None:
                self._values.setdefault(run.cell, []).append(value)

    def index(self, cell: Cell | None) -> int | None:
        """The number of a cell; ``None`` if no row is of it."""
        return None if cell is None else self._index.get(cell)

    def values(self, cell: Cell | None) -> Sequence[float]:
        """The metric of each run of a cell."""
        return self._values.get(cell, ()) if cell is not None else ()


def columns(page: Page, cells: Cells) -> dict[str, Any]:
    """All runs, best first, as JSON types.

    ``runs`` has a list for each property; ``values`` and ``spec`` a list for each of ``columns`` and ``spec_names``.
    What all specifications share is in ``shared``. ``history`` has, for each run, the epochs and the series of
    ``history_names``, or ``None``.
    """
    runs = _best_first(page)
    # The rows of a table are named by it already.
    several = len({run.source for run in runs}) > 1 and any(run.spec for run in runs)
    shown = [
        name
        for name in COLUMNS
        if (several if name == "source" else any(run.values.get(name) is not None for run in runs))
    ]
    specs = [_words(run.spec) for run in runs]
    names = list(dict.fromkeys(name for spec in specs for name in spec))
    shared = {name: runs[0].spec.get(name) for name in names if specs and len({spec.get(name) for spec in specs}) == 1}
    apart = [name for name in names if name not in shared]
    collapse = list(dict.fromkeys(name for run in runs for name in run.collapse))
    environments: dict[str, int] = {}
    machines = [
        environments.setdefault(json.dumps(cleaned(dict(run.environment)), sort_keys=True), len(environments))
        if run.environment
        else None
        for run in runs
    ]
    states = list(dict.fromkeys(run.status for run in runs))
    series = [name for name in HISTORY if any(getattr(m, name) is not None for run in runs for m in run.history[-1:])]
    points = min(MOST, max(LEAST, NUMBERS // max(1, len(runs) * (len(series) + 1))))
    return {
        "columns": [{"name": name, "label": COLUMNS[name]} for name in shown],
        "states": states,
        "spec_names": apart,
        "shared": shared,
        "collapse_names": collapse,
        "history_names": series,
        "environments": [json.loads(machine) for machine in environments],
        "runs": {
            "id": [run.id for run in runs],
            "status": [states.index(run.status) for run in runs],
            "note": {number: run.note for number, run in enumerate(runs) if run.note},
            "cell": [cells.index(run.cell) for run in runs],
            "values": [
                [run.source if name == "source" else _short(run.values.get(name), 7) for run in runs] for name in shown
            ],
            "spec": [[run.spec.get(name) for run in runs] for name in apart],
            "has_spec": [int(bool(run.spec)) for run in runs],
            "collapse": [
                [_short(run.collapse.get(name), 5) for name in collapse] if run.collapse else None for run in runs
            ],
            "environment": machines,
            "history": [_history(run.history, series, points) for run in runs],
        },
    }


def _best_first(page: Page) -> list[Run]:
    """By the metric, the best first; then those without it in the order in which they ended."""
    sign = 1 if "loss" in page.metric else -1

    def key(run: Run) -> tuple[bool, float]:
        value = run.values.get(page.metric)
        return (value is None, 0.0 if value is None else sign * value)

    return sorted(page.runs, key=key)


def _words(spec: Any) -> dict[str, str]:
    return {name: json.dumps(cleaned(value), sort_keys=True) for name, value in spec.items()}


def _history(history: Sequence[EpochMetrics], names: Sequence[str], points: int) -> list[list[float | None]] | None:
    """Epochs, then each series; evenly thinned to ``points``, first and last kept."""
    if not history:
        return None
    kept = [history[i] for i in np.unique(np.linspace(0, len(history) - 1, points).round().astype(int))]
    return [[m.epoch for m in kept], *([_short(getattr(m, name), 5) for m in kept] for name in names)]


def _short(value: Any, digits: int) -> Any:
    """So many digits of a number with a fraction: more than a curve or a table can show, at half the size."""
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
