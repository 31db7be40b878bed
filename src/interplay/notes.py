"""What is said besides results: one logger, "interplay".

The command line shows it, as plain lines on standard error. To a user of the library who has configured nothing,
Python's ``logging`` shows warnings only. Those of one text come once a command.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

MOST = 20
"""Notes of one kind that are shown; the rest is counted by ``interplay doctor``."""

LOGGER = logging.getLogger("interplay")

_said: dict[str, set[str]] = {}


def note(text: str, kind: str = "") -> None:
    """Warn of ``text`` unless this command has said it before; of a ``kind`` of note no more than `MOST`."""
    said = _said.setdefault(kind, set())
    if text in said:
        return
    said.add(text)
    if not kind or len(said) <= MOST:
        LOGGER.warning("note: %s", text)
    elif len(said) == MOST + 1:
        LOGGER.warning("note: there are more of them; interplay doctor lists all")


def notice(text: str) -> None:
    """A line about what goes on."""
    LOGGER.info("%s", text)


def forget() -> None:
    """A new command begins, so everything may be said again."""
    _said.clear()


class _Lines(logging.Handler):
    """Plain lines on standard error, as it is at that moment; whoever reads along may go."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            print(record.getMessage(), file=sys.stderr, flush=True)


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show everything on standard error, for as long as a command lasts; once, also where a command calls another."""
    if _is_shown():
        yield
        return
    handler, level, propagate = _Lines(), LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def on_terminal() -> bool:
    """Whether a command shows its notes, and on a terminal: then progress may be live."""
    return _is_shown() and sys.stderr.isatty()


def _is_shown() -> bool:
    return any(isinstance(each, _Lines) for each in LOGGER.handlers)
