"""Text that fits a terminal: paragraphs and tables that wrap, with colours where they are shown."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interplay.text import printable

GAP = 2
"""Spaces between columns."""

LEAST = 24
"""Characters that a column of prose needs to be read with ease; below it all columns of a table wrap."""

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
        """Columns as wide as their widest cell; where that is too wide the column ``prose`` wraps, or else all do."""
        cells = [[printable(cell) for cell in row] for row in (header, *rows)]
        natural = [max(max(map(cell_len, row[column].split("\n"))) for row in cells) for column in range(len(header))]
        prose %= len(header)
        others = sum(width + GAP for column, width in enumerate(natural) if column != prose)
        fits = others + min(LEAST, natural[prose]) <= self.width
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
        for column, name in enumerate(cells[0]):
            table.add_column(Text(name), no_wrap=fits and column != prose, overflow="fold")
        for row in cells[1:]:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
        with self._console.capture() as capture:
            self._console.print(table)
        return [line.rstrip() for line in capture.get().splitlines()]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table for standard output, see `Layout.table`."""
    return Layout().table(header, rows)
