"""Rows of the same settings: repetitions, copies, or runs that differ in something that is not read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

from interplay.errors import InputError
from interplay.tables import values
from interplay.tables.columns import Columns, Kind
from interplay.tables.read import TextTable
from interplay.tables.rows import Measurement


def numbered(
    table: TextTable, rows: Sequence[Measurement], unread: Sequence[int], columns: Columns
) -> tuple[list[Measurement], list[str]]:
    """Rows with the number of each among those of its settings without a seed; a row that is there twice is one.

    Raises:
        InputError: rows without seeds differ in a number that is not read, so that they may be no repetitions.
    """
    kept: list[Measurement] = []
    before: dict[tuple[object, str | None], list[Measurement]] = {}
    for row in rows:
        group = before.setdefault((_cell(row), row.seed), [])
        if any(_same(row, other) for other in group):
            continue
        group.append(row)
        kept.append(row if row.seed is not None else replace(row, repeat=len(group)))
    repeated = [group for (_, seed), group in before.items() if seed is None and len(group) > 1]
    if not repeated:
        return kept, []
    numeric = [i for i in unread if columns.others[i] is Kind.OTHER and _numeric(row.cells[i] for row in table.rows)]
    for group in repeated:
        if names := _different(table, group, numeric):
            first, second = group[0].line, group[1].line
            raise InputError(
                f"{table.source}, lines {first} and {second} have the same settings and no seed, and differ in "
                f"{names}, which is not read: add a column seed, or remove what is no knob"
            )
    count = sum(map(len, repeated))
    words = f"{count} rows that repeat settings are taken as repetitions, {len(repeated)} settings in all"
    return kept, [f"{table.source}: there is no seed for them, so {words}"]


def check_seeds(table: TextTable, rows: Sequence[Measurement], unread: Sequence[int], columns: Columns) -> list[str]:
    """A line for columns that are not read in which repetitions differ.

    Raises:
        InputError: two rows of the same settings and the same seed have different results; names the columns in which
            they differ.
    """
    cells: dict[object, list[Measurement]] = {}
    for row in rows:
        cells.setdefault(_cell(row), []).append(row)
    others = [index for index in unread if columns.others[index] is Kind.OTHER]
    differing: list[str] = []
    for group in cells.values():
        seeds: dict[str, Measurement] = {}
        for row in group:
            first = seeds.setdefault(row.seed, row) if row.seed is not None else row
            if first is not row:
                raise InputError(_contradiction(table, first, row, others, unread))
        if len(group) > 1:
            differing += [table.header[index] for index in others if _differs(table, group, index)]
    if not differing:
        return []
    words = ", ".join(repr(name) for name in dict.fromkeys(differing))
    return [f"{table.source}: rows that are averaged as repetitions differ in {words}, which is not read"]


def _contradiction(
    table: TextTable, first: Measurement, second: Measurement, others: Sequence[int], unread: Sequence[int]
) -> str:
    names = _different(table, (first, second), others) or _different(table, (first, second), unread)
    where = f"they differ in {names}, which is not read" if names else "no other column tells them apart"
    return (
        f"{table.source}, lines {first.line} and {second.line} have the same settings and seed {first.seed} but "
        f"different results: {where}; give them seeds of their own, or a column of a knob, or remove one"
    )


def _cell(row: Measurement) -> tuple[tuple[str, object], ...]:
    return tuple(sorted((name, values.rounded(v) if isinstance(v, float) else v) for name, v in row.knobs.items()))


def _same(one: Measurement, other: Measurement) -> bool:
    """Whether two rows of the same settings and seed say the same, but for how many digits they were written with."""
    if one.metrics.keys() != other.metrics.keys() or one.state is not other.state:
        return False
    return all(_close(value, other.metrics[name]) for name, value in one.metrics.items())


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=1e-6)


def _numeric(cells: Iterable[str]) -> bool:
    try:
        return bool([values.number(cell) for cell in cells if not values.missing(cell)])
    except ValueError:
        return False


def _differs(table: TextTable, group: Sequence[Measurement], index: int) -> bool:
    name = table.header[index]
    return any(one.text.get(name) != other.text.get(name) for one, other in pairwise(group))


def _different(table: TextTable, group: Sequence[Measurement], indexes: Sequence[int]) -> str:
    return ", ".join(repr(table.header[index]) for index in indexes if _differs(table, group, index))
