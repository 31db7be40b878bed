"""From a file to a header and rows of text. What cannot be read is one line with file, line and counts."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from interplay.errors import InputError, UnreadableError
from interplay.tables.columns import known

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}

LONGEST_CELL = 1_000_000
"""Characters; a longer cell is an unbalanced quotation mark."""


@dataclass(frozen=True)
class Row:
    """One row: the number of its line in the file (the header is line 1), and as many cells as there are columns."""

    line: int
    cells: tuple[str, ...]


@dataclass(frozen=True)
class TextTable:
    """A table as it was written. ``notes`` say what was not as in a plain CSV file."""

    source: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def read(path: Path, source: str | None = None) -> TextTable:
    """The table in a file; ``source`` is the name that messages call it by, if not its own.

    Raises:
        UnreadableError: the file is not there, or the system does not let it be read.
        InputError: it is not text in UTF-8 or UTF-16, or is no table; see `parse`.
    """
    name = source or path.name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    if data.startswith(b"SQLite format 3\0"):
        raise InputError(f"{path} is a database, not a table; interplay import optuna {path}, or mlflow, reads it")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8: {error}") from error
    return parse(text, name)


def parse(text: str, source: str) -> TextTable:
    """The table in ``text``. Commas, semicolons, tabs or bars separate cells, as the header or a line ``sep=`` says.

    Empty lines, and lines of comment that begin with ``#``, are passed over.

    Raises:
        InputError: there is no header, a row is longer or shorter than the header, a column is there twice, or there
            are bytes in it that no text has.
    """
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{source}, line {line}: has NUL bytes: a crash may have cut the file short")
    every = enumerate(re.split(r"\r\n|\r|\n", text), start=1)
    lines = [(number, line) for number, line in every if line.strip()]
    notes = []
    delimiter = None
    if lines and (found := re.fullmatch(r'"?sep=(.)"?', lines[0][1].strip(" ")) or _tab(lines[0][1])):
        delimiter = found if isinstance(found, str) else found.group(1)
        lines = lines[1:]
    first = next((index for index, (_, text) in enumerate(lines) if not text.lstrip().startswith("#")), len(lines))
    comments = first
    if first and first < len(lines) and _is_header(lines[first - 1][1]) and not _is_header(lines[first][1]):
        # numpy and gnuplot write the header as a comment.
        number, above = lines[first - 1]
        comments, first = first - 1, first - 1
        lines[first] = (number, above.lstrip().lstrip("#").lstrip(" "))
    if comments:
        notes.append(f"{source}: {_count(comments, 'line')} of comment above the header passed over")
    lines = lines[first:]
    if not lines:
        raise InputError(f"{source} is empty: it has no header")
    delimiter = delimiter or _delimiter(lines[0][1])
    if delimiter != ",":
        notes.append(f"{source}: cells are separated by {DELIMITERS.get(delimiter, repr(delimiter))}")
    header, rows, later = _cells(lines, delimiter, source)
    if later:
        notes.append(f"{source}: {_count(later, 'line')} of comment between rows passed over")
    return _checked(TextTable(source, header, rows, tuple(notes)))


def from_mappings(rows: Sequence[Mapping[str, str | None]], source: str) -> TextTable:
    """Rows by column, as `csv.DictReader` gives them; what one row lacks is an empty cell."""
    header = tuple(dict.fromkeys(name for row in rows for name in row))
    cells = [tuple(row.get(name) or "" for name in header) for row in rows]
    return TextTable(source, header, tuple(Row(line, each) for line, each in enumerate(cells, start=2)))


def _tab(line: str) -> str | None:
    return "\t" if line.strip('"') in ("sep=\t", "sep=\\t") else None


def _is_header(line: str) -> bool:
    """Whether two words of a line at least are names of columns."""
    words = re.split(r"[,;\t|]", line.strip().lstrip("#"))
    return sum(known(word.strip().strip('"')) for word in words) >= 2


def _delimiter(header: str) -> str:
    """What separates the most names that are known, or else the most words; a comma where nothing tells."""

    def names(delimiter: str) -> tuple[int, int]:
        words = next(csv.reader([header], delimiter=delimiter), [])
        return sum(known(word.strip()) for word in words), len(words)

    return max(DELIMITERS, key=names)


def _cells(
    lines: Sequence[tuple[int, str]], delimiter: str, source: str
) -> tuple[tuple[str, ...], tuple[Row, ...], int]:
    """Header, rows, and how many lines between them were comments."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    begins, skipped, line = True, 0, 1

    def plain() -> Iterator[str]:
        nonlocal begins, skipped, line
        for number, text in lines:
            if begins and header and text.lstrip().startswith("#"):  # within a quotation it is no comment
                skipped += 1
                continue
            if begins:
                begins, line = False, number
            yield text + "\n"

    header: tuple[str, ...] = ()
    rows: list[Row] = []
    try:
        for words in csv.reader(plain(), delimiter=delimiter, skipinitialspace=delimiter != "\t"):
            cells, begins = tuple(word.strip() for word in words), True
            if not header:
                header = cells
            elif not any(cells):
                continue  # a spreadsheet writes rows of empty cells below a table
            elif len(cells) != len(header):
                raise InputError(_ragged(source, line, cells, header))
            else:
                rows.append(Row(line, cells))
    except csv.Error as error:
        raise InputError(f"{source}, line {line}: {error}: a quotation mark may be missing") from error
    return header, tuple(rows), skipped


def _ragged(source: str, line: int, cells: Sequence[str], header: Sequence[str]) -> str:
    words = f"{source}, line {line} has {_count(len(cells), 'cell')} where the header has {len(header)}"
    if any("\n" in cell for cell in cells):
        return f"{words}: a quotation mark may be missing"
    if len(cells) > len(header) and not any(cells[len(header) :]):
        return f"{words}: it ends with too many separators"
    if len(cells) > len(header):
        return f"{words}: are numbers written with decimal commas? Then separate cells by semicolons"
    return f"{words}: the file may be cut short"


def _checked(table: TextTable) -> TextTable:
    """Without columns that have neither name nor content; raises `InputError` where two have one name."""
    empty = {
        index for index, name in enumerate(table.header) if not name and not any(row.cells[index] for row in table.rows)
    }
    if empty:
        kept = [index for index in range(len(table.header)) if index not in empty]
        rows = tuple(Row(row.line, tuple(row.cells[index] for index in kept)) for row in table.rows)
        table = TextTable(table.source, tuple(table.header[index] for index in kept), rows, table.notes)
    counts = Counter(name for name in table.header if name)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise InputError(f"{table.source}: two columns are called {twice[0]!r}: rename or remove one")
    return table


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
