"""From the text of a cell to a typed value; equal settings that were written differently become equal."""

from __future__ import annotations

import math
import re
from typing import TypeAlias

from interplay.dataset_facts import DATASETS

Value: TypeAlias = float | int | bool | str | tuple[float, ...]
"""Of a knob. Whole numbers are equal to floats of the same value."""

DIGITS = 7
"""Significant digits to which numbers are compared: 0.1 that went through float32 is 0.10000000149."""

MISSING = frozenset(("", "nan", "none", "null", "na", "n/a", "#n/a", "<na>", "-", "--"))

TEXT = frozenset("model dataset optimizer schedule precision augment decay_on data hyper_init method".split())
"""Knobs that are words, also where they look like numbers."""

_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?|[+-]?\d+\.\d*([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")


def rounded(value: float) -> float:
    """``value`` to `DIGITS` significant digits; zero without a sign."""
    return float(f"{value:.{DIGITS}g}") + 0.0


def missing(text: str) -> bool:
    """Whether a cell says that there is nothing."""
    return text.strip().lower() in MISSING


def number(text: str) -> float:
    """The number that a cell holds; raises ValueError where it holds none."""
    try:
        return float(text)
    except ValueError:
        hint = ": it has a decimal comma, others have points" if _COMMA.fullmatch(text) else ""
        raise ValueError(f"{text!r} is not a number{hint}") from None


def knob(name: str, text: str) -> Value:
    """The typed value of knob ``name``. Raises ValueError for text where a number is needed."""
    if name in TEXT:
        return _WORDS.get(name, str)(text)
    if name in ("lr", "weight_decay", "momentum", "batch_size", "epochs"):
        return number(text)
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"\((.+,.*)\)", text):
        return tuple(float(part) for part in text[1:-1].split(",") if part)
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def named(text: str) -> dict[str, Value]:
    """The knobs that a cell of ``own_knobs`` or ``other_knobs`` names, such as ``widening=2 data=0123456789abcdef``."""
    pairs = [word.partition("=") for word in text.split()]
    return {name: knob(name, value) for name, sign, value in pairs if sign}


def decimal_commas(cells: list[str]) -> bool:
    """Whether numbers are written with decimal commas, and no reading but that is possible.

    Raises:
        ValueError: thousands may be meant: ``1,024``.
    """
    with_comma = [cell for cell in cells if _COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
    if not with_comma or any(_POINT.fullmatch(cell) for cell in cells):
        return False
    if all(_THOUSANDS.fullmatch(cell) for cell in with_comma):
        raise ValueError(f"{with_comma[0]!r} may be one number or another: write it without a comma")
    return True


def with_point(text: str) -> str:
    """A number with a decimal comma as one with a point; other text as it is."""
    return text.replace(",", ".") if _COMMA.fullmatch(text) else text


def _schedule(text: str) -> str:
    word = _bare(text.rpartition(".")[2])
    return _SCHEDULES.get(word.removesuffix("lr").removesuffix("scheduler"), text)


def _optimizer(text: str) -> str:
    return text.rpartition(".")[2].strip("'<>\" ").lower()


def _dataset(text: str) -> str:
    return _bare(text) if _bare(text) in DATASETS else text


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


_WORDS = {"schedule": _schedule, "optimizer": _optimizer, "dataset": _dataset}

_SCHEDULES = {
    **dict.fromkeys(("cosine", "cos", "cosineannealing", "cosinedecay", "cosineannealed"), "cosine"),
    **dict.fromkeys(("constant", "const", "no", "off", "fixed", "flat"), "constant"),
    **dict.fromkeys(("linear", "lineardecay"), "linear"),
    **dict.fromkeys(("step", "multistep", "stepdecay"), "step"),
}
