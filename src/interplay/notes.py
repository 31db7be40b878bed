"""Notes for the user on the standard error stream: one line each, and each of them once a command."""

from __future__ import annotations

import sys

MOST = 20
"""Notes of one kind that are printed; the rest is counted by ``interplay doctor``."""

_said: dict[str, set[str]] = {}


def note(text: str, kind: str = "") -> None:
    """Print ``text`` unless this command has said it before; of a ``kind`` of note no more than `MOST`."""
    said = _said.setdefault(kind, set())
    if text in said:
        return
    said.add(text)
    if not kind or len(said) <= MOST:
        print(f"note: {text}", file=sys.stderr, flush=True)
    elif len(said) == MOST + 1:
        print("note: there are more of them; interplay doctor lists all", file=sys.stderr, flush=True)


def forget() -> None:
    """A new command begins, so everything may be said again."""
    _said.clear()
