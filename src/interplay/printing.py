"""What figures are made for: a screen, a paper or a slide, and the files of each. It needs no matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from interplay.errors import SpecError, nearest
from interplay.text import shown

Style = Literal["screen", "paper", "slide"]
FORMATS = ("png", "svg", "pdf")

LEAST = 7.0
"""Points below which no type of a paper is, at the size at which it is printed."""

WIDTHS = {("paper", 1): 3.5, ("paper", 2): 7.2, ("slide", 1): 6.0, ("slide", 2): 12.0}
"""Inches: one and two columns of a journal (89 and 183 mm); half a slide and a whole one."""

TYPE = {"screen": 10.0, "paper": 8.5, "slide": 15.0}
"""Points of the base size; matplotlib's "small" is 0.833 of it, which on paper is just above `LEAST`."""


@dataclass(frozen=True)
class Print:
    """What figures are made for, and the files that are written of each.

    Raises:
        SpecError: a format, a style or a number of columns that there is not.
    """

    formats: tuple[str, ...] = ("png",)
    style: Style = "screen"
    columns: int = 2

    def __post_init__(self) -> None:
        for name in self.formats:
            if name not in FORMATS:
                raise SpecError(f"no format {shown(name)} of figures; {nearest(name, FORMATS)}")
        if self.style not in TYPE:
            raise SpecError(f"no style {shown(self.style)} of figures; {nearest(self.style, TYPE)}")
        if self.columns not in (1, 2):
            raise SpecError(f"a figure takes 1 or 2 columns, not {self.columns}")
        if self.style == "screen" and self.columns != 2:
            raise SpecError("columns are those of a paper or of a slide: give a style, too")
        if not self.formats:
            raise SpecError("figures need a format: png, svg or pdf")

    @property
    def width(self) -> float | None:
        """Inches; ``None`` for the screen, where each figure has its own."""
        return WIDTHS.get((self.style, self.columns))


_SCREEN = Print()
_CHOSEN: ContextVar[Print] = ContextVar("print", default=_SCREEN)


def chosen() -> Print:
    """What figures are made for now."""
    return _CHOSEN.get()


@contextmanager
def made_for(wanted: Print) -> Iterator[None]:
    """Within it all figures are made and written so."""
    token = _CHOSEN.set(wanted)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
