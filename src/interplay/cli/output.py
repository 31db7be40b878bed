"""What commands print: text or JSON, on standard output."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Protocol


class Shown(Protocol):
    """What is printed as text by `str`, or as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        ...


def print_json(value: dict[str, Any]) -> None:
    """``value`` on standard output, in ASCII; a number that JSON lacks is an error, not a word of its own."""
    print(json.dumps(value, indent=1, allow_nan=False))


def show(found: Shown, *, json: bool) -> None:
    """``found`` on standard output, as text or as JSON."""
    if json:
        print_json(found.to_dict())
    else:
        print(found)


def print_now(line: str) -> None:
    """A line of what came out, on standard output at once; whoever reads along may go."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
