"""Training curves: the mean over repetitions of each epoch, for the best decay at each learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from interplay.analysis.cells import Cell, cell_of
from interplay.analysis.claims.plane import plane
from interplay.analysis.table import Table
from interplay.record import EpochMetrics, RunRecord


@dataclass(frozen=True)
class History:
    """One setting. Each series has one value an epoch: the mean over runs; ``low`` and ``high`` are their range."""

    cell: Cell
    runs: int
    epochs: tuple[int, ...]
    train_loss: tuple[float, ...]
    test: tuple[float, ...]
    """Accuracy on the test images in per cent, or the loss there in nats where the study is judged by that."""
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """Histories of the settings chosen, by rising learning rate; ``metric`` says which decay is the best."""

    histories: tuple[History, ...]
    metric: str
    by_loss: bool = False
    """Whether ``test`` is the loss: where the metric is one, and every epoch has it."""


def training_picture(records: Iterable[RunRecord], table: Table) -> Training | None:
    """The best decay at each learning rate of set 2, or else of all settings; ``None`` without records."""
    by_setting: dict[Cell, list[RunRecord]] = {}
    for record in records:
        if record.final_test_acc is not None:
            by_setting.setdefault(cell_of(record.spec), []).append(record)
    chosen = _chosen(table, by_setting)
    # Where the loss decides, the accuracy of the same runs may show nothing.
    losses = "loss" in table.metric and all(
        m.test_loss is not None for s in chosen for record in by_setting[s] for m in record.history[-1:]
    )
    found = [_history(s, by_setting[s], losses) for s in chosen]
    return Training(tuple(found), table.metric, losses) if found else None


def _chosen(table: Table, there: Iterable[Cell]) -> list[Cell]:
    level = {s: table.level(s) for s in there if s in table.cells}
    members = [s for s in plane(table) if s in level] or [s for s in sorted(level) if "lr" in s]
    best: dict[float, Cell] = {}
    for s in members:
        if s.lr not in best or level[s] > level[best[s.lr]]:
            best[s.lr] = s
    # More lines than colours that can be told apart would show nothing.
    kept = sorted(best.values(), key=lambda s: -level[s])[:6]
    return sorted(kept)


def _history(cell: Cell, records: Sequence[RunRecord], losses: bool) -> History:
    length = min(len(r.history) for r in records)
    epochs = [[r.history[i] for r in records] for i in range(length)]

    def test(metrics: EpochMetrics) -> float | None:
        return metrics.test_loss if losses else metrics.test_acc

    whole = [(i, group) for i, group in enumerate(epochs) if all(_complete(m.train_loss, test(m)) for m in group)]
    tested = [[test(m) or 0.0 for m in group] for _, group in whole]
    return History(
        cell,
        len(records),
        tuple(group[0].epoch for _, group in whole),
        tuple(float(np.mean([m.train_loss or 0.0 for m in group])) for _, group in whole),
        tuple(float(np.mean(values)) for values in tested),
        tuple(min(values) for values in tested),
        tuple(max(values) for values in tested),
    )


def _complete(*values: float | None) -> bool:
    return all(value is not None for value in values)
