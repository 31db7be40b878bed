"""results.csv: the eight documented columns, then everything else that fits in a cell. Derived from the records."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from interplay.record import RunRecord, shortened

LONGEST_CELL = 4096
"""Characters of a cell, which is what a path may have; readers of CSV refuse cells of more than 131,072."""

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
    "own_knobs": _knob("own_words"),
    "other_knobs": _knob("other_words"),
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
    "reason": lambda r: None if r.reason is None else shortened(r.reason),
}


def header() -> str:
    """The first line of results.csv."""
    return _line(COLUMNS)


def row(record: RunRecord) -> str:
    """The line of one record; a missing number is an empty cell. Floats are written in full (``repr``)."""
    return _line(_cell(value(record)) for value in COLUMNS.values())


@dataclass(frozen=True)
class ForeignRow:
    """A line of results.csv that no record stands behind."""

    line: int
    """Number of the line in the file, the header being 1."""
    text: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}: {self.text[:80]}"


@dataclass(frozen=True)
class OwnRow:
    """A line of results.csv that names a run."""

    line: int
    text: str
    """The line with its end."""
    run_id: str
    status: str
    accuracy: float | None = None
    """Final test accuracy (%); ``None`` where there is none, or no number."""

    def foreign(self, *, recorded: bool) -> ForeignRow:
        """The same line, once it is known that the run has no sound record, or (``recorded``) one that differs."""
        why = "the record of run {} says something else" if recorded else "there is no sound record of run {}"
        return ForeignRow(self.line, self.text.rstrip("\n"), why.format(self.run_id[:40]))


@dataclass
class Rows:
    """The lines of a table: those that name a run, and the others."""

    own: list[OwnRow] = field(default_factory=list)
    foreign: list[ForeignRow] = field(default_factory=list)
    outdated: bool = False
    """Whether the columns are those of another version of this lab."""


def parse(text: str) -> Rows:
    """Sort the lines of a table. Rows of this lab never hold a line break, so every line stands for itself."""
    rows = Rows()
    lines = text.splitlines(keepends=True)
    columns = list(COLUMNS)
    first = cells_of(lines[0]) or [] if lines else []
    if first != columns and first[: len(DOCUMENTED)] == list(DOCUMENTED) and {"run_id", "status"} <= set(first):
        # Of another version: its rows are read as they are, and give way to those of this one.
        columns, rows.outdated = first, True
    run_id, status, accuracy = map(columns.index, ("run_id", "status", "final_test_acc"))
    for number, line in enumerate(lines, start=1):
        if number == 1 and (line == header() or rows.outdated):
            continue
        cells = cells_of(line)
        bare = line.rstrip("\r\n")
        if cells is None:
            rows.foreign.append(
                ForeignRow(number, bare, "no row of a table: a quote stays open, or a cell is too long")
            )
        elif number == 1 and cells[: len(DOCUMENTED)] == list(DOCUMENTED):
            rows.foreign.append(ForeignRow(number, bare, "the header is of another version"))
        elif len(cells) != len(columns) or not line.endswith("\n"):
            rows.foreign.append(ForeignRow(number, bare, f"{len(cells)} cells where {len(columns)} belong"))
        else:
            rows.own.append(OwnRow(number, line, cells[run_id], cells[status], _number(cells[accuracy])))
    return rows


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def without(text: str, run_id: str) -> str:
    """``text`` less the row of ``run_id``."""
    dropped = {row.line for row in parse(text).own if row.run_id == run_id}
    lines = text.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, start=1) if number not in dropped)


def cells_of(line: str) -> list[str] | None:
    """The cells of one line; ``None`` where it is no line of a table: a quote stays open, or a cell is endless.

    Every line is read by itself, so that a quote that is left open in one swallows no other.
    """
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return None


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else " ".join(str(value).split())[:LONGEST_CELL]


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
