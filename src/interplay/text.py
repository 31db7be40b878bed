"""Text from outside - study files, flags, names - on its way to a terminal, a path or a shell script."""

from __future__ import annotations

import math
import re
import reprlib
import unicodedata
from pathlib import Path

from interplay.errors import SpecError

NAME_LIMIT = 100
"""Characters of a study's name. With time stamp and suffix it must fit in the 255 bytes of a file name."""

TEXT_LIMIT = 2_000
"""Characters of any other text of a study."""

_JOINERS = "\u200c\u200d"
"""Invisible, but part of Persian words and of many emoji."""

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices on Windows, with any suffix."""


class _Short(reprlib.Repr):
    """`repr` that stays short, whatever the nesting, the length and the number of digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 3, 80, 80, 40

    def repr_int(self, x: int, level: int) -> str:
        if x.bit_length() > 10_000:  # Python refuses to turn it into decimal digits
            return f"a number of {x.bit_length()} bits"
        return super().repr_int(x, level)


_SHORT = _Short()


def shown(value: object) -> str:
    """``value`` for a message, as `repr` but never longer than a line or two."""
    return _SHORT.repr(value)


def harmful(character: str) -> bool:
    """Whether it steers a terminal instead of being seen: control characters, line ends, changes of direction."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS


def printable(text: str) -> str:
    """``text`` with every harmful character but the line feed written as its escape."""
    if text.isprintable():
        return text
    return "".join(
        c if c == "\n" or not harmful(c) else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def one_line(what: str, value: object, limit: int = TEXT_LIMIT) -> str:
    """``value``, made sure to be a text of one line without control characters; ``what`` is for messages.

    Raises:
        SpecError: no text, longer than ``limit`` characters, or with a character that steers a terminal.
    """
    if not isinstance(value, str):
        raise SpecError(f"{what} must be a text, not {shown(value)}")
    if len(value) > limit:
        raise SpecError(f"{what} has {len(value)} characters; at most {limit} are allowed")
    # What is printable holds nothing harmful; to ask each character takes a third of a second for 20,000 runs.
    found = None if value.isprintable() else next((character for character in value if harmful(character)), None)
    if found is not None:
        raise SpecError(f"{what} must be plain text in one line, without the character U+{ord(found):04X}")
    return value


def file_name(name: str) -> str:
    """``name`` as part of a file's name on any system: letters, digits, ``_``, ``.`` and ``-``, not first a dot."""
    cleaned = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip(".-")[:NAME_LIMIT] or "study"
    return f"study-{cleaned}" if _RESERVED.fullmatch(cleaned) else cleaned


def given(what: str, path: str | Path) -> Path:
    """``path``, made sure not to be empty, as an unset variable in quotes is; raises `SpecError`."""
    if isinstance(path, str) and not path.strip():
        raise SpecError(f"{what} is empty")
    if "\0" in str(path):
        raise SpecError(f"{what} must not hold a null byte")
    return Path(path)


def seconds_of(duration: str, name: str = "deadline") -> float:
    """Seconds of a duration such as ``15d``, ``36h``, ``90m`` or ``1d12h``.

    Raises:
        SpecError: it is none, or is not greater than 0; begins with ``name``.
    """
    units = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    text = duration.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])\s*", text)
    seconds = sum(float(number) * units[unit] for number, unit in parts)
    if not re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[dhms]\s*)+", text) or not 0 < seconds < math.inf:
        raise SpecError(f"{name} must be a duration such as 15d, 36h or 90m, not {duration!r}")
    return seconds
