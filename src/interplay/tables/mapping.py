"""Which column is which, where a user says so: ``lr=config.lr metric=val/accuracy``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from interplay.errors import InputError, SpecError, nearest
from interplay.spellings import KNOBS
from interplay.tables.columns import METRICS, standard_name
from interplay.tables.read import Row, TextTable

HIGHER, LOWER = "final_test_acc", "final_test_loss"
"""What a column given as ``metric`` is read as: an accuracy, or a number that is better the lower it is."""


@dataclass(frozen=True)
class ColumnMap:
    """What a user says of the columns of a table.

    Args:
        names: column by the standard name of what it holds; ``metric`` stands for what runs are judged by.
        lower: the metric is better the lower it is.
        ignored: columns that are not read.
        constants: values by standard name that all runs share and no column tells.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    lower: bool = False
    ignored: tuple[str, ...] = ()
    constants: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parsed(
        cls,
        columns: Sequence[str] = (),
        *,
        lower: bool = False,
        ignored: Sequence[str] = (),
        constants: Sequence[str] = (),
    ) -> ColumnMap:
        """From words such as ``lr=config.lr`` (columns) and ``batch_size=128`` (constants).

        Raises:
            SpecError: a word without ``=``, a name that is none, or one that is given twice.
        """
        names = _pairs("columns", columns, "lr=config.lr", [*KNOBS, *METRICS, "seed", "status", "metric"])
        values = _pairs("set", constants, "batch_size=128", list(KNOBS))
        if both := next((name for name in names if name in values), None):
            raise SpecError(f"--columns and --set both give {both}")
        return cls(names, lower, tuple(ignored), values)

    def metric(self, asked: str) -> str:
        """The metric to judge runs by: the one that was mapped, else ``asked``."""
        if "metric" not in self.names:
            return LOWER if self.lower else asked
        return LOWER if self.lower else HIGHER

    def applied(self, table: TextTable) -> TextTable:
        """The table with its columns renamed as was said; other columns of the same meaning are left out.

        Raises:
            InputError: a column that is not there; names the nearest.
        """
        if not (self.names or self.ignored or self.constants):
            return table
        for name in self.constants:
            if other := next((column for column in table.header if standard_name(column) == name), None):
                raise InputError(f"{table.source}: column {other!r} tells {name} already; --set is for what none tells")
        for column in (*self.names.values(), *self.ignored):
            if column not in table.header:
                raise InputError(f"{table.source}: no column {column!r}; {nearest(column, table.header)}")
        renamed = {column: self.metric("") if name == "metric" else name for name, column in self.names.items()}
        taken = set(renamed.values())
        kept = [
            index
            for index, column in enumerate(table.header)
            if column in renamed or (column not in self.ignored and standard_name(column) not in taken)
        ]
        header = tuple(renamed.get(table.header[index], table.header[index]) for index in kept)
        more = tuple(self.constants.values())
        rows = tuple(Row(row.line, (*(row.cells[index] for index in kept), *more)) for row in table.rows)
        header += tuple(self.constants)
        words = [f"{name} from {column!r}" for name, column in self.names.items()]
        said = ", ".join([*words, *(f"{name} {value} in all runs" for name, value in self.constants.items())])
        dropped = [column for index, column in enumerate(table.header) if index not in kept]
        notes = [f"{table.source}: as you say: {said}"] if said else []
        if dropped:
            notes.append(f"{table.source}: columns that are not used: {', '.join(map(repr, dropped))}")
        return TextTable(table.source, header, rows, (*table.notes, *notes))


def _pairs(flag: str, words: Sequence[str], example: str, allowed: Sequence[str]) -> dict[str, str]:
    """Words such as ``lr=config.lr`` by what stands before the sign."""
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not value:
            raise SpecError(f"--{flag} takes pairs such as {example}, not {word!r}")
        if name not in allowed:
            raise SpecError(f"--{flag} knows no {name!r}; {nearest(name, allowed)}")
        if name in found:
            raise SpecError(f"--{flag} gives {name} twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found
