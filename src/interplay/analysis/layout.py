"""Text that fits a terminal: paragraphs and tables that wrap, with colours where they are shown."""

from __future__ import annotations

import io
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interplay.text import printable

GAP = 2
"""Spaces between columns."""

LEAST = 24
"""Characters that a column of prose needs to be read with ease; before it is narrower other columns wrap."""

BREAK = re.compile(r"(?<=[._/,~=>*-])(?=\w)")
"""Where a word that is too long may be broken: before a letter after one of these."""

STYLES = {"supported": "bold green", "refuted": "bold red", "inconclusive": "yellow"}
"""Colours of verdicts; they are words, too, so that nothing hangs on the colour."""


class Layout:
    """Lines of a width, plain or with the codes of colours.

    Args:
        width: characters; by default those of the terminal, 80 where nothing tells them.
        colour: by default where standard output is a terminal that has colours, and ``NO_COLOR`` is not set.
    """

    def __init__(self, width: int | None = None, colour: bool | None = None) -> None:
        self.width = max(width if width is not None else shutil.get_terminal_size((80, 24)).columns, 20)
        if colour is None:
            shown = Console(file=sys.stdout)
            colour = bool(shown.color_system) and not shown.no_color and not shown.legacy_windows
        self._console = Console(
            file=io.StringIO(),
            width=self.width,
            force_terminal=colour,
            color_system="standard" if colour else None,
            no_color=not colour,
            legacy_windows=False,
            _environ={},
        )

    def paragraph(self, words: str, indent: int = 0) -> list[str]:
        """``words`` over as many lines as they need; those after the first are set in by two more."""
        lines = Text(printable(words)).wrap(self._console, self.width - indent - GAP)
        return [" " * (indent + (GAP if number else 0)) + line.plain.rstrip() for number, line in enumerate(lines)]

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]], *, prose: int = -1) -> list[str]:
        """Columns as wide as their widest cell; where that is too wide they wrap, the column ``prose`` first.

        Words are broken only where the longest words of all columns do not fit, and then after dots and the like.
        """
        cells = [[printable(cell) for cell in row] for row in (header, *rows)]
        columns = list(zip(*cells, strict=True))
        floors = [
            [_longest(column, unit) for column in columns] for unit in (str.splitlines, str.split, _pieces)
        ]  # whole lines, whole words, parts of words
        gap = GAP if sum(floors[1]) + GAP * (len(columns) - 1) <= self.width else 1
        room = self.width - gap * (len(columns) - 1)
        widths, prose = list(floors[0]), prose % len(columns)
        readable = list(widths)
        readable[prose] = max(min(LEAST, widths[prose]), floors[1][prose])
        for least in (readable, floors[1], floors[2], [1] * len(columns)):
            _shrink(widths, least, room)
        table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
        for name, width in zip(cells[0], widths, strict=True):
            table.add_column(Text(_broken(name, width)), width=width, overflow="fold")
        for row in cells[1:]:
            words = (Text(_broken(c, w), style=STYLES.get(c, "")) for c, w in zip(row, widths, strict=True))
            table.add_row(*words)
        with self._console.capture() as capture:
            self._console.print(table)
        return [line.rstrip() for line in capture.get().splitlines()]


def _longest(column: Sequence[str], unit: Callable[[str], list[str]]) -> int:
    return max((cell_len(part) for cell in column for part in unit(cell)), default=1) or 1


def _pieces(cell: str) -> list[str]:
    return [piece for word in cell.split() for piece in BREAK.split(word) if piece]


def _shrink(widths: list[int], least: Sequence[int], room: int) -> None:
    """Make the widest column narrower until all fit, none below its ``least``."""
    while sum(widths) > room:
        wider = [index for index, width in enumerate(widths) if width > least[index]]
        if not wider:
            return
        widths[max(wider, key=lambda index: widths[index])] -= 1


def _broken(cell: str, width: int) -> str:
    """Words that are longer than ``width`` in lines of as many of their parts as fit."""

    def lines(word: str) -> str:
        found = [""]
        for piece in BREAK.split(word):
            if found[-1] and cell_len(found[-1] + piece) > width:
                found.append("")
            found[-1] += piece
        return "\n".join(found)

    return re.sub(r"\S+", lambda word: lines(word[0]) if cell_len(word[0]) > width else word[0], cell)
