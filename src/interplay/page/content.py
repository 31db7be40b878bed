"""What a page shows: its runs, and everything that is said about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from interplay.analysis.best import Best
from interplay.analysis.cells import Cell
from interplay.analysis.collapse import Collapse
from interplay.analysis.compare import Comparison
from interplay.analysis.conclude import Analysis
from interplay.analysis.importance import Importance
from interplay.analysis.pictures import Heatmap, Ordering, Scaling
from interplay.analysis.predict import Prediction
from interplay.analysis.verdict import Verdict
from interplay.record import EpochMetrics


@dataclass(frozen=True)
class Run:
    """One row of the table of runs. What is not known is absent or ``None``, never 0."""

    id: str
    """The run_id, or file and line of a table without one."""
    source: str
    """Name of the folder or file it is from."""
    status: str
    """finished, diverged, failed, running or interrupted."""
    values: Mapping[str, Any]
    """Knobs and results by the names of `COLUMNS`."""
    cell: Cell | None = None
    """Its cell in the analysis; ``None`` where it is not part of that."""
    note: str | None = None
    """Why it diverged or failed, or how far it is."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    collapse: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[EpochMetrics, ...] = ()


@dataclass(frozen=True)
class Side:
    """What one of several studies says by itself."""

    name: str
    claims: tuple[Verdict, ...]
    best: tuple[Best, ...]


@dataclass(frozen=True)
class Page:
    """Everything that is shown. ``analysis`` is ``None`` while nothing has finished."""

    title: str
    """Name of the study, or of what was read."""
    question: str
    created: str
    """Date and time, as they are to be printed."""
    metric: str
    analysis: Analysis | None
    ordering: Ordering | None
    heatmap: Heatmap | None
    scaling: Scaling | None
    runs: tuple[Run, ...]
    best: tuple[Best, ...] = ()
    """The best setting of each network."""
    collapse: Collapse | None = None
    importance: Importance | None = None
    """Which knob matters; ``None`` where too little was varied to say."""
    prediction: Prediction | None = None
    """The rules checked against each other; ``None`` with too few optima."""
    sides: tuple[Side, ...] = ()
    """Each study by itself, where the page is about several output folders."""
    comparison: Comparison | None = None
    """The settings that both of two studies measured."""
    refresh: float | None = None
    """Seconds after which the page looks again; ``None`` for a page that stays as it is."""
    live: str = ""
    """Name of the small file beside a page that looks again, which tells whether there is a newer one."""
    next: str = ""
    """Name of the file beside it which is that newer one, without the libraries that an open page has."""


COLUMNS = {
    "source": "source",
    "method": "method",
    "lr": "lr η",
    "weight_decay": "decay λ",
    "momentum": "mom. μ",
    "batch_size": "batch B",
    "epochs": "epochs",
    "schedule": "schedule",
    "seed": "seed",
    "final_test_acc": "test acc %",
    "best_test_acc": "best test %",
    "final_val_acc": "val acc %",
    "final_train_loss": "train loss",
    "final_test_loss": "test loss",
    "wall_seconds": "seconds",
    "model": "model",
    "dataset": "data",
}
"""Columns of the table of runs besides the run and its status, with their headings."""

HISTORY = ("train_loss", "test_loss", "val_loss", "train_acc", "test_acc", "val_acc")
"""What the training curves of a run are drawn from, besides the epoch."""
