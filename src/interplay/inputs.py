"""Measurements from output folders and tables, for the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interplay.analysis.observations import Observations, from_records, from_table
from interplay.errors import InputError, UnreadableError
from interplay.store.store import Store
from interplay.tables.mapping import ColumnMap
from interplay.tables.read import read as read_table
from interplay.tables.sources import tables_of
from interplay.text import given


def read(inputs: Sequence[str | Path], metric: str, columns: ColumnMap | None = None) -> list[Observations]:
    """Observations of each input: an output folder with runs of this lab or imported tables, or a CSV file.

    ``columns`` says which columns of the tables are which, where their names do not.

    Raises:
        UnreadableError: an input that is neither, or cannot be read.
        InputError: an input that is empty or cannot be understood; names file and line.
    """
    found = []
    columns = columns or ColumnMap()
    metric = columns.metric(metric)
    for name, each in named(inputs):
        if each.is_dir():
            found.append(from_records(Store(each).records(), metric, name if len(inputs) > 1 else None))
            if not any(run.value is not None for run in found[-1].runs) and metric == "final_val_acc":
                raise InputError(f"no run of {each} has {metric}: none held out images (val_split)")
        else:
            found.append(from_table(columns.applied(read_table(each, name)), metric))
        if not found[-1].runs:
            raise InputError("; ".join([f"{each} holds no runs that finished or diverged", *found[-1].notes]))
    return found


def named(inputs: Sequence[str | Path]) -> list[tuple[str, Path]]:
    """Each input with the name of its repetitions; raises `UnreadableError` for what is neither folder nor file."""
    paths = [part for each in inputs for part in _parts(given("the name of an input", each))]
    for path in paths:
        if not path.is_dir() and not path.is_file():
            raise UnreadableError(f"{path} is neither an output folder nor a CSV file")
    names = [path.name for path in paths]
    # The same file name in two folders is two batches; the same file twice is found by its numbers.
    return [
        (path.name if names.count(path.name) == 1 else f"{path}#{index}", path)
        for index, path in enumerate(paths, start=1)
    ]


def _parts(path: Path) -> list[Path]:
    """What an input stands for: an output folder for its runs, if it has any, and for the tables imported into it."""
    tables = tables_of(path) if path.is_dir() else []
    return [*([path] if not tables or (path / "runs").is_dir() else []), *tables]
