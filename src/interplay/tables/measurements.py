"""From rows of text to measurements: typed knobs, a seed, an end, and metrics in per cent and nats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from interplay.errors import InputError, nearest
from interplay.spellings import KNOBS
from interplay.tables import values
from interplay.tables.columns import METRICS, OWN, STANDARD, Columns, Kind, recognise
from interplay.tables.read import Row, TextTable
from interplay.tables.repeats import check_seeds, numbered
from interplay.tables.rows import Measurement, Measurements
from interplay.tables.states import State, state_of
from interplay.tables.values import Value

NEEDED = ("batch_size", "lr")
"""Knobs whose column, where it is there, is filled in every row."""

USUAL = (*NEEDED, "weight_decay", "momentum")
"""Knobs that the runs of a table need not have; a column that is there is filled for every run of the SGD family."""

DOCUMENTED_NAMES = {"weight_decay": "wd"}

NUMBERS = ("sum_of_rates", "window_epochs")


class Parsed:
    """A table whose rows are parsed once, however many metrics its runs are judged by.

    Columns are known in the usual spellings of other tools. Of those that are not known, the ones whose values are
    those of a knob (few, repeated, or short numbers) tell runs apart, under their own names; the others are not read.
    """

    def __init__(self, table: TextTable) -> None:
        self._table = table
        self._columns = _without_empty(table, _without_logged_rate(table, recognise(table.header)))
        self._found: dict[tuple[int, ...], Measurements] = {}

    def by(self, metric: str) -> Measurements:
        """The runs, to be judged by ``metric`` (one of `METRICS`).

        Raises:
            InputError: a column is absent, a cell holds no number where one belongs, two columns of one meaning
                disagree, or two rows of the same settings and seed do.
        """
        table, columns = self._table, self._columns
        if not table.rows:
            return Measurements(table.source, (), (), table.notes)
        names = [table.header[index] for index in columns.others]
        misspelt = [name for name in USUAL if name not in columns.found and get_close_matches(name, names, 1, 0.75)]
        for name in (*misspelt, metric):
            if name not in columns.found:
                raise InputError(f"{table.source}, line {table.rows[0].line}: {_absent(name, table, columns)}")
        table, commas = _with_points(table, columns)
        kept, left_out, states = _by_state(table, columns, metric)
        # Which rows count is all that a metric decides.
        lines = tuple(row.line for row in kept)
        if lines in self._found:
            return self._found[lines]
        knobs, unread = _other_knobs(table, columns, kept)
        fraction = _fractions(kept, columns, table)
        rows = [_measurement(row, table, columns, knobs, scale=100.0 if fraction else 1.0) for row in kept]
        rows, repeats = numbered(table, rows, unread, columns)
        repeats += check_seeds(table, rows, unread, columns)
        notes = [
            *table.notes,
            *_mapping(table, columns),
            *(
                f"{table.source}: no column tells the {name.replace('_', ' ')}; claims about it are not asked"
                for name in USUAL
                if name not in columns.found
            ),
            *([f"{table.source}: numbers have decimal commas"] if commas else []),
            *states,
            *([FRACTIONS.format(source=table.source)] if fraction else _mixed(kept, columns, table)),
            *_other_words(table, columns, knobs, kept),
            *_empty(table, columns, kept),
            *repeats,
        ]
        left = [
            Measurement(row.line, {}, None, 1, State.LEFT_OUT, {}, {}, _text(row, table, columns)) for row in left_out
        ]
        self._found[lines] = Measurements(table.source, tuple(rows), tuple(left), tuple(notes))
        return self._found[lines]


def _absent(name: str, table: TextTable, columns: Columns) -> str:
    """What is said where a column is not there: the nearest, or another metric, and how to name it."""
    shown = DOCUMENTED_NAMES.get(name, name)
    words = f"no column {shown!r}; {nearest(shown, table.header)}"
    if name not in METRICS:
        fixed = f", or --set {name}=128 if all runs had the same" if name == "batch_size" else ""
        return f"{words}. Say which it is with --columns {name}=COLUMN{fixed}"
    others = [each for each in METRICS if each in columns.found]
    if others:
        column = table.header[columns.found[others[0]][0]]
        words += f". {column!r} is {others[0]}: --metric {others[0]} judges by it"
    return f"{words}. Say which it is with --columns metric=COLUMN, and --lower if lower is better"


def _without_logged_rate(table: TextTable, columns: Columns) -> Columns:
    """Of several columns for the learning rate one that is 0 throughout is the rate at the end of a run, no knob."""
    indexes = columns.found.get("lr", ())
    logged = [i for i in indexes if {row.cells[i] for row in table.rows} <= {"", "0", "0.0"}]
    if not logged or len(logged) == len(indexes):
        return columns
    found = {**columns.found, "lr": tuple(i for i in indexes if i not in logged)}
    others = {**columns.others, **dict.fromkeys(logged, Kind.OUTCOME)}
    return Columns(found, others, {**columns.names, **{i: table.header[i] for i in logged}})


def _without_empty(table: TextTable, columns: Columns) -> Columns:
    """Columns of usual knobs in which no row has anything tell no more than if they were not there."""
    empty = {
        name
        for name in USUAL
        if name in columns.found
        and not any(row.cells[index].strip() for row in table.rows for index in columns.found[name])
    }
    return Columns({n: at for n, at in columns.found.items() if n not in empty}, columns.others, columns.names)


MIXED = (
    "{source}: {few} of {all} accuracies are below 1 and others above: all are taken as per cent; where those below 1 "
    "are fractions, their cells are wrong until they are written as the others are"
)
FRACTIONS = "{source}: accuracies are all within 0 and 1: taken as fractions, and shown in per cent"


def _with_points(table: TextTable, columns: Columns) -> tuple[TextTable, bool]:
    """The table with decimal points where all its numbers have commas, and whether that changed anything."""
    names = {*KNOBS, *METRICS} - values.TEXT
    indexes = [index for name in names for index in columns.found.get(name, ())]
    for row in table.rows:
        for index in indexes:
            if "," in row.cells[index]:
                break
        else:
            continue
        break
    else:
        return table, False
    try:
        commas = values.decimal_commas([row.cells[index] for row in table.rows for index in indexes])
    except ValueError as error:
        raise InputError(f"{table.source}: {error}") from error
    if not commas:
        return table, False
    rows = tuple(Row(row.line, tuple(map(values.with_point, row.cells))) for row in table.rows)
    return TextTable(table.source, table.header, rows, table.notes), True


def _by_state(table: TextTable, columns: Columns, metric: str) -> tuple[list[Row], list[Row], list[str]]:
    """Rows whose runs ended, those whose runs did not, and a line about these."""
    if "status" not in columns.found:
        return list(table.rows), [], []
    kept, left, words, unknown = [], [], Counter[str](), Counter[str]()
    for row in table.rows:
        said = [row.cells[index] for index in columns.found["status"] if not values.missing(row.cells[index])]
        meanings = [state_of(word) for word in said]
        if State.LEFT_OUT in meanings:
            words[said[meanings.index(State.LEFT_OUT)]] += 1
        elif State.UNKNOWN in meanings:
            unknown[said[meanings.index(State.UNKNOWN)]] += 1
        elif not said and all(values.missing(row.cells[index]) for index in columns.found[metric]):
            words["without a state or a value"] += 1
        else:
            kept.append(row)
            continue
        left.append(row)
    notes = []
    if words:
        listed = ", ".join(f"{word} {count}" for word, count in sorted(words.items()))
        notes.append(f"{table.source}: {_rows(sum(words.values()))} left out, whose runs did not finish: {listed}")
    if unknown:
        listed = ", ".join(f"{word!r} {count}" for word, count in sorted(unknown.items()))
        notes.append(f"{table.source}: {_rows(sum(unknown.values()))} left out, whose state is not known: {listed}")
    return kept, left, notes


def _other_knobs(table: TextTable, columns: Columns, rows: Sequence[Row]) -> tuple[list[int], list[int]]:
    """Which columns without a standard name tell runs apart, and which are not read."""
    knobs: list[int] = []
    unread: list[int] = []
    for index, kind in columns.others.items():
        cells = [row.cells[index] for row in rows]
        filled = [cell for cell in cells if not values.missing(cell)]
        takes = bool(filled) and (kind is Kind.KNOB or (kind is not Kind.KEEPING and _like_a_knob(kind, cells, filled)))
        (knobs if takes else unread).append(index)
    return knobs, unread


def _like_a_knob(kind: Kind, cells: Sequence[str], filled: Sequence[str]) -> bool:
    """Whether values are those of a knob: few that come again and again, or numbers of a few digits."""
    try:
        numbers = [values.number(cell) for cell in filled]
    except ValueError:
        return len(set(cells)) < len(cells) or len(cells) == 1  # names of runs are all different
    if kind is Kind.OUTCOME:
        return False
    if numbers in ([float(n) for n in range(len(numbers))], [float(n) for n in range(1, len(numbers) + 1)]):
        return len(numbers) == 1  # the rows are counted
    return 2 * len(set(cells)) <= len(cells) or all(float(f"{n:.3g}") == n for n in numbers)


def _fractions(rows: Sequence[Row], columns: Columns, table: TextTable) -> bool:
    """Whether all accuracies lie within 0 and 1; not if all are just 1, which is chance of a hundred classes."""
    said = [value for name in METRICS for value in _accuracies(name, rows, columns)]
    return bool(said) and all(0 <= value <= 1 for value in said) and min(said) < 1


def _mixed(rows: Sequence[Row], columns: Columns, table: TextTable) -> list[str]:
    """A warning where a column may hold fractions among per cent."""
    notes = []
    for name in METRICS:
        said = _accuracies(name, rows, columns)
        few = sum(0 < value < 1 for value in said)
        if few and max(said) > 1:
            notes.append(MIXED.format(source=table.source, few=few, all=len(said)))
    return notes[:1]


def _accuracies(name: str, rows: Sequence[Row], columns: Columns) -> list[float]:
    """The numbers of a column, if it is one of accuracies."""
    if not name.endswith("_acc"):
        return []
    found = [_accuracy(row.cells[index]) for row in rows for index in columns.found.get(name, ())]
    return [value for value in found if value is not None]


def _accuracy(text: str) -> float | None:
    """A number without a sign of per cent, which would say what it is."""
    try:
        return 100.0 if text.endswith("%") else float(text) if not values.missing(text) else None
    except ValueError:
        return None


def _measurement(row: Row, table: TextTable, columns: Columns, others: Iterable[int], scale: float) -> Measurement:
    text, name = _text(row, table, columns), ""
    try:
        knobs: dict[str, Value] = {}
        for name in KNOBS:
            cell = text.get(name, "")
            if name == "schedule" and cell.lower() == "none":
                knobs[name] = "constant"
            elif name in USUAL and name in columns.found and (cell or name in NEEDED or _of_sgd(text)):
                knobs[name] = _needed(name, cell)
            elif not values.missing(cell):
                knobs[name] = values.knob(name, cell)
        knobs |= _method(text, knobs)
        for name in ("own_knobs", "other_knobs"):
            knobs |= values.named(text.get(name, ""))
        for index in others:
            if not values.missing(row.cells[index]):
                name = columns.names[index]
                knobs[name] = values.knob(name, row.cells[index])
        metrics, numbers = {}, {}
        for name in METRICS:
            if name in text:
                metrics[name] = _metric(name, text[name], scale)
        for name in NUMBERS:
            if name in text:
                numbers[name] = _metric(name, text[name], 1.0)
    except (ValueError, OverflowError) as error:
        words = str(error)
        # What is wrong with a cell is said of its column.
        where = f"{DOCUMENTED_NAMES.get(name, name)}: " if words.startswith(("'", '"')) and name else ""
        raise InputError(f"{table.source}, line {row.line}: {where}{words}") from error
    state = None if values.missing(text.get("status", "")) else state_of(text["status"])
    seed = text.get("seed", "")
    return Measurement(row.line, knobs, None if values.missing(seed) else _seed(seed), 1, state, metrics, numbers, text)


def _of_sgd(text: Mapping[str, str]) -> bool:
    """Whether a run is of the SGD family, as all are that do not say otherwise."""
    words = [text.get(name, "").lower() for name in ("optimizer", "method")]
    return not any(word and not word.startswith("sgd") for word in words)


def _text(row: Row, table: TextTable, columns: Columns) -> dict[str, str]:
    """The cells of a row by standard name, and by their own names the others; raises where two disagree."""
    found = {table.header[index]: row.cells[index] for index in columns.others}
    for name, indexes in columns.found.items():
        filled = [index for index in indexes if not values.missing(row.cells[index])]
        if len(filled) > 1 and name != "status" and len({_meaning(name, row.cells[index]) for index in filled}) > 1:
            said = " and ".join(f"{table.header[index]!r} ({row.cells[index]})" for index in filled)
            raise InputError(f"{table.source}, line {row.line}: {said} both mean {name}: remove one column")
        found[name] = row.cells[filled[0] if filled else indexes[0]]
    return found


def _meaning(name: str, text: str) -> object:
    try:
        return values.rounded(float(text))
    except ValueError:
        return values.knob(name, text) if name in values.TEXT else text.lower()


def _needed(name: str, text: str) -> Value:
    if not text:
        raise ValueError(f"{DOCUMENTED_NAMES.get(name, name)} is empty")
    return values.number(text)


def _metric(name: str, text: str, scale: float) -> float | None:
    """A metric; an accuracy in per cent. What is not finite is missing; ValueError for what no run can have."""
    percent = text.endswith("%")
    if values.missing(text.rstrip("%")):
        return None
    value = values.number(text.rstrip("% "))
    if value - value != 0:
        return None
    if not name.endswith("_acc"):
        return value
    value = float(f"{value * scale:.15g}") if not percent and scale != 1 else value
    if not 0 <= value <= 100:
        raise ValueError(f"{name} is {text}, but an accuracy is between 0 and 100 %, or between 0 and 1 in all rows")
    return value


def _seed(text: str) -> str:
    """A seed as text; 1.0, as pandas writes a column with a gap, is 1."""
    return text.removesuffix(".0")


def _method(text: Mapping[str, str], knobs: Mapping[str, Value]) -> dict[str, Value]:
    """The optimiser that a method names, where no column does; a method that is not of the documented kind is a knob.

    Momentum and decay are not read from it: such labels are ambiguous.
    """
    word = text.get("method", "").lower().replace(" ", "").replace("_", "")
    if values.missing(word):
        return {}
    optimizer = METHODS.get(word.removesuffix("+wd"))
    if optimizer is None:
        return {"method": text["method"]}
    return {"optimizer": optimizer} if "optimizer" not in knobs and optimizer != "sgd" else {}


METHODS = {
    **dict.fromkeys(("sgd", "sgdm", "sgd+m", "sgd+momentum", "sgdmomentum"), "sgd"),
    **dict.fromkeys(("sgdw", "sgdmw"), "sgdw"),
    **dict.fromkeys(("sgds", "sgdms"), "sgds"),
    "adam": "adam",
    "adamw": "adamw",
}
"""The optimiser of a method by its label, as `RunSpec.method` writes it, without ``+WD``."""


# -- what is said about how a table was read ---------------------------------------------------------------------------


def _mapping(table: TextTable, columns: Columns) -> list[str]:
    """Columns that were read under another name than their own."""
    words = [
        f"{name} from {table.header[index]!r}"
        for name, indexes in columns.found.items()
        for index in indexes
        if table.header[index].lower() not in (name, *STANDARD.get(name, ()))
    ]
    return [f"{table.source}: read {', '.join(words)}"] if words else []


def _other_words(table: TextTable, columns: Columns, knobs: Sequence[int], rows: Sequence[Row]) -> list[str]:
    """Columns that tell runs apart by their own names, and those that nothing was read from."""
    notes = []
    if knobs:
        counts = {table.header[index]: len({row.cells[index] for row in rows}) for index in knobs}
        words = ", ".join(f"{name!r} ({count} value{'s' * (count > 1)})" for name, count in counts.items())
        notes.append(
            f"{table.source}: taken as knobs, so that rows that differ in them are never averaged: {words}; "
            "remove a column that is no knob"
        )
    unread = [name for index in columns.others if index not in knobs and (name := table.header[index]) not in OWN]
    if {"run_id", "committed_at"} <= set(table.header):
        unread = [name for name in unread if name != "reason"]
    if unread:
        words = ", ".join(repr(name) if name else "one without a name" for name in unread)
        notes.append(f"{table.source}: columns that are not used: {words}")
    return notes


def _empty(table: TextTable, columns: Columns, rows: Sequence[Row]) -> list[str]:
    """Knobs that some rows tell and others do not: these have the documented value."""
    words = []
    for name, documented in (("epochs", "100"), ("schedule", "cosine"), ("optimizer", "sgd")):
        indexes = columns.found.get(name, ())
        lacking = sum(all(not row.cells[index] for index in indexes) for row in rows)
        if indexes and 0 < lacking < len(rows):
            words.append(f"{name} {documented} in {_rows(lacking)}")
    return [f"{table.source}: empty cells are taken as documented: {', '.join(words)}"] if words else []


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"
