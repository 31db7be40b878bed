"""Rows of other tools' runs, as the text of a table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from interplay.errors import InputError
from interplay.tables.read import TextTable, from_mappings


def text_of(value: object) -> str:
    """The cell of one value: nothing for ``None``, all digits of a number, JSON of lists and mappings."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return repr(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return str(value)


def flat(values: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Cells by ``prefix.a.b`` of a nested mapping, without keys that begin with ``_``, which are a tool's own."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if str(key).startswith("_"):
            continue
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}.{key}")
        else:
            found[f"{prefix}.{key}"] = text_of(value)
    return found


def table_of(rows: Sequence[Mapping[str, str]], source: str, notes: Sequence[str] = ()) -> TextTable:
    """A table of rows that may have different columns; raises `InputError` where there is no row."""
    if not rows:
        raise InputError(f"{source} holds no runs")
    return dataclasses.replace(from_mappings(rows, source), notes=tuple(notes))


def without_library(name: str, package: str | None = None) -> InputError:
    """The error where an optional library is missing."""
    return InputError(f"reading this needs {name}: python -m pip install {package or name}")
