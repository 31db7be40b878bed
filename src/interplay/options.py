"""Operational options, each declared once: its default, its words, where it means something, and its limits.

An option is a field of a frozen dataclass, made by `option`. The command line, the documented scripts, the checks and
what workers are told are all made from these fields, so a new option is one line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from interplay.errors import SpecError, nearest
from interplay.text import given, shown

MAX_SECONDS = 10**8
"""Three years: as good as for ever, and within what the timers of all systems take."""

Where = Literal["run", "study", "status", "plan", "cancel", "rebuild", "doctor"]
"""Commands that an option can be for; `retry` and the documented sets have those of ``study``."""

TRAINING: tuple[Where, ...] = ("run", "study")


def option(
    default: Any,
    help: str,
    *,
    group: str,
    on: tuple[Where, ...] = TRAINING,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its value where nothing is said.
        help: one line for ``--help``.
        group: title under which ``--help`` shows it.
        on: the commands that offer it.
        least: smallest value of a whole number; of a number of seconds, 0 allows 0, and more asks for more than 0.
        most: greatest value of a whole number.
    """
    metadata = {"help": help, "group": group, "on": on, "least": least, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


def fields_for(options: type, where: Where) -> list[dataclasses.Field[Any]]:
    """The options that the command ``where`` offers."""
    return [field for field in dataclasses.fields(options) if where in field.metadata.get("on", ())]


def check(options: Any) -> None:
    """Check every option of a dataclass instance against its declaration.

    Raises:
        SpecError: a value of the wrong kind or out of its limits; names the option.
    """
    types = get_type_hints(type(options))
    for field in dataclasses.fields(options):
        value, kind = getattr(options, field.name), types[field.name]
        if kind == str | Path:
            given(field.name, value)
        elif kind is int:
            _whole(field.name, value, field.metadata["least"], field.metadata["most"])
        elif kind is float:
            _seconds(field.name, value, field.metadata["least"])
        elif get_origin(kind) is Literal and value not in get_args(kind):
            raise SpecError(f"unknown {field.name} {shown(value)}; {nearest(str(value), get_args(kind))}")


def _rule(least: float) -> str:
    return "greater than 0" if least else "0 or greater"


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not value <= most:
        raise SpecError(f"{name} must be a whole number, at most {most}, not {shown(value)}")
    if value < least:
        raise SpecError(f"{name} must be {_rule(least)}, not {shown(value)}")


def _seconds(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -inf < value <= MAX_SECONDS:
        raise SpecError(f"{name} must be a number of seconds, at most {MAX_SECONDS}, not {shown(value)}")
    if value < 0 or (least and value == 0):
        raise SpecError(f"{name} must be {_rule(least)}, not {shown(value)}")


def plain(options: Any) -> dict[str, Any]:
    """JSON types of an options dataclass."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def from_plain(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The inverse of `plain`: lists are tuples again."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
