"""Errors that a user can act on: the command line prints their one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InterplayError(Exception):
    """Base of all errors with a message meant for the user; ``exit_code`` is what the command line returns."""

    exit_code = 1


class SpecError(InterplayError, ValueError):
    """A specification, flag or study file asks for something impossible or unknown."""

    exit_code = 2


class DataError(InterplayError):
    """Data are absent, damaged or not the published ones."""

    exit_code = 2


class DownloadError(DataError):
    """Data could not be fetched; another time it may work."""

    exit_code = 1


class InputError(InterplayError):
    """A table of results cannot be understood; the message names the file, the line and the column."""


class UnreadableError(InputError):
    """An input is not there, or the system does not let it be read."""

    exit_code = 2


class SchemaError(InterplayError):
    """A file on disk was written in a format that this version does not read."""

    exit_code = 2


class DamagedError(SchemaError):
    """A file on disk does not hold what was once written to it: it is cut short, changed or another file's copy."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelt ``word``: the nearest known one if there is any, then all that are allowed."""
    allowed = sorted(known)
    close = get_close_matches(word[:100], allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {', '.join(allowed)}"
