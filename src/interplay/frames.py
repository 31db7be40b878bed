"""Results as a table of pandas, and as a short piece of HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MOST = 20
"""Rows that a notebook shows; the rest is counted."""


class Framed:
    """A result that has rows: `to_frame` and ``_repr_html_`` are made from them."""

    def rows(self) -> Iterable[Mapping[str, Any]]:
        """One mapping a row, all with the same names."""
        raise NotImplementedError

    def heading(self) -> str:
        """What it is, in a line."""
        raise NotImplementedError

    def remarks(self) -> Sequence[str]:
        """What is to be said below the table."""
        return ()

    def to_frame(self) -> pd.DataFrame:
        """The rows as a table of pandas, which is imported here."""
        import pandas as pd

        return pd.DataFrame([dict(row) for row in self.rows()])

    def __str__(self) -> str:
        """What ``print`` shows: the same as a notebook, in columns."""
        rows = [{name: _text(value) for name, value in row.items()} for row in self.rows()]
        shown = [{name: str(name) for name in rows[0]}, *rows[:MOST]] if rows else []
        widths = {name: max(len(row[name]) for row in shown) for name in rows[0]} if rows else {}
        lines = ["  ".join(row[name].ljust(width) for name, width in widths.items()) for row in shown]
        more = [f"and {len(rows) - MOST} more"] if len(rows) > MOST else []
        return "\n".join([self.heading(), *(line.rstrip() for line in lines), *more, *self.remarks()])

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = list(self.rows())
        parts = [f"<p><b>{escape(self.heading())}</b></p>"]
        if rows:
            head = "".join(f"<th>{escape(str(name))}</th>" for name in rows[0])
            lines = ["".join(f"<td>{escape(_text(value))}</td>" for value in row.values()) for row in rows[:MOST]]
            body = "".join(f"<tr>{line}</tr>" for line in lines)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if len(rows) > MOST:
            parts.append(f"<p>and {len(rows) - MOST} more</p>")
        parts += [f"<p>{escape(remark)}</p>" for remark in self.remarks()]
        return "".join(parts)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
