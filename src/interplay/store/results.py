"""results.csv: the eight documented columns, then everything else that fits in a cell. Derived from the records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

from interplay.record import RunRecord

DOCUMENTED = ("method", "batch_size", "lr", "wd", "momentum", "final_test_acc", "final_train_loss", "best_test_acc")


def _knob(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: getattr(record.spec, name)


def _collapse(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.collapse.get(name)


def _environment(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.environment.get(name)


COLUMNS: dict[str, Callable[[RunRecord], Any]] = {
    "method": lambda r: r.spec.method,
    "batch_size": _knob("batch_size"),
    "lr": _knob("lr"),
    "wd": _knob("weight_decay"),
    "momentum": _knob("momentum"),
    "final_test_acc": lambda r: r.final_test_acc,
    "final_train_loss": lambda r: r.final_train_loss,
    "best_test_acc": lambda r: r.best_test_acc,
    "seed": _knob("seed"),
    "epochs": _knob("epochs"),
    "model": _knob("model"),
    "dataset": _knob("dataset"),
    "status": lambda r: str(r.status),
    "run_id": lambda r: r.run_id,
    "final_test_loss": lambda r: r.final_test_loss,
    "final_val_acc": lambda r: r.final_val_acc,
    "train_limit": _knob("train_limit"),
    "val_split": _knob("val_split"),
    "label_noise": _knob("label_noise"),
    "optimizer": _knob("optimizer"),
    "nesterov": _knob("nesterov"),
    "decay_on": _knob("decay_on"),
    "schedule": _knob("schedule"),
    "warmup_epochs": _knob("warmup_epochs"),
    "precision": _knob("precision"),
    "sum_of_rates": _collapse("sum_of_rates"),
    "e_folds": _collapse("e_folds"),
    "tau_epochs": _collapse("tau_epochs"),
    "window_epochs": _collapse("window_epochs"),
    "parameters": lambda r: r.parameters,
    "wall_seconds": lambda r: round(r.wall_seconds, 3),
    "images_per_second": lambda r: None if r.images_per_second is None else round(r.images_per_second, 1),
    "device": _environment("device_name"),
    "commit": _environment("commit"),
    "committed_at": lambda r: r.committed_at,
    "reason": lambda r: r.reason,
}


def header() -> str:
    """The first line of results.csv."""
    return _line(COLUMNS)


def row(record: RunRecord) -> str:
    """The line of one record; a missing number is an empty cell. Floats are written in full (``repr``)."""
    return _line(_cell(value(record)) for value in COLUMNS.values())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
