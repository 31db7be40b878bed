"""Where tables come from: a file, or the runs of another tool, read by that tool's own library."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from interplay.errors import InputError, SpecError, nearest
from interplay.tables import mlflow, optuna, tensorboard, wandb
from interplay.tables import read as files
from interplay.tables.read import TextTable

KINDS = ("csv", "mlflow", "optuna", "tensorboard", "wandb")
"""What `load` reads."""

FOLDER = "tables"
"""Below an output folder: tables that were imported, which are read with its runs."""


def load(kind: str, source: str, study: str | None = None) -> TextTable:
    """The table of runs at ``source``, one of `KINDS`.

    Args:
        kind: the tool whose runs they are.
        source: a file, a folder, a URL: see the ``read`` of each tool.
        study: name of the study (Optuna) or experiment (MLflow), where there are several.

    Raises:
        SpecError: no such kind.
        UnreadableError, InputError: see the ``read`` of each tool.
    """
    match kind:
        case "csv":
            return files.read(Path(source))
        case "mlflow":
            return mlflow.read(source, study)
        case "optuna":
            return optuna.read(source, study)
        case "tensorboard":
            return tensorboard.read(source)
        case "wandb":
            return wandb.read(source)
        case _:
            raise SpecError(f"{kind!r} is not known; {nearest(kind, KINDS)}")


def written(table: TextTable) -> str:
    """The table as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(table.header)
    rows.writerows(row.cells for row in table.rows)
    return text.getvalue()


def no_runs(source: str | Path, notes: Sequence[str]) -> InputError:
    """The error of a table or folder without a run to read: which were left out, or else how it was read."""
    left_out = [note.removeprefix(f"{Path(source).name}: ") for note in notes if "left out" in note]
    return InputError("; ".join([f"{source} holds no runs that finished or diverged", *(left_out or notes)]))


def tables_of(folder: Path) -> list[Path]:
    """The tables that were imported into an output folder, by name."""
    return sorted((folder / FOLDER).glob("*.csv"))
