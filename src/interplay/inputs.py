"""Measurements from output folders and tables, for the analysis."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from interplay.analysis.observations import InputError, Observations, from_records, from_rows
from interplay.store.store import Store


def read(inputs: Sequence[str | Path], metric: str) -> list[Observations]:
    """Observations of each input: an output folder, or a CSV file with at least the eight documented columns.

    Raises:
        InputError: an input that is neither, is empty, or cannot be understood; names file and line.
    """
    found = []
    names = [Path(each).name for each in inputs]
    for index, each in enumerate(map(Path, inputs)):
        if each.is_dir():
            found.append(from_records(Store(each).records(), metric))
        elif each.is_file():
            # The same file name in two folders is two batches; the same file twice is found by its numbers.
            name = names[index] if names.count(names[index]) == 1 else f"{each}#{index + 1}"
            with each.open(newline="", encoding="utf-8") as file:
                found.append(from_rows(list(csv.DictReader(file)), name, metric))
        else:
            raise InputError(f"{each} is neither an output folder nor a CSV file")
        if not found[-1].runs:
            raise InputError(f"{each} holds no runs that finished or diverged")
    return found
