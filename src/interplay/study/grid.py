"""Grids: products of lists, lists that move together, and values derived from others."""

from __future__ import annotations

import ast
import itertools
import math
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from interplay.errors import SpecError, nearest
from interplay.spec import RunSpec, knob_names
from interplay.study.names import ALIASES, refuse_flag, refuse_too_many
from interplay.text import shown

S = TypeVar("S")

_LISTS = frozenset({"milestones"})
"""Knobs whose single value is itself a list; an axis of such a knob is a list of lists."""

EXPRESSION_LIMIT = 500
"""Characters of a formula."""

_LARGEST = 2**63
"""Beyond which no knob goes, and so no whole number on the way to one."""


def _power(base: float, exponent: float) -> float:
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and exponent * math.log2(abs(base)) > 63:
        raise ValueError(f"{base}**{exponent} is larger than any knob may be")
    found: float = operator.pow(base, exponent)  # of floats, an overflow is an error
    return found


def _round(value: float, digits: float = 0) -> float:
    if not isinstance(digits, int) or not 0 <= digits <= 15:
        raise ValueError(f"round keeps 0 to 15 decimals, not {shown(digits)}")
    return round(value, digits) if digits else round(value)


_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "round": _round,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log2": math.log2,
    "min": min,
    "max": max,
}
FUNCTIONS = frozenset(_FUNCTIONS)
"""That a formula may call."""


def evaluate(expression: str, values: Mapping[str, Any]) -> float:
    """Arithmetic over the knobs in ``values``, such as ``0.1 * batch_size / 128``.

    Allowed are + - * / // **, numbers, knobs, and round, ceil, floor, sqrt, log2, min, max: no other name is reached.

    Raises:
        SpecError: anything else, an unknown or non-numeric knob, or an impossible operation.
    """

    text = shown(expression)
    if not isinstance(expression, str):
        raise SpecError(f"a formula must be a text, not {text}")
    if len(expression) > EXPRESSION_LIMIT:
        raise SpecError(f"{text} has {len(expression)} characters; at most {EXPRESSION_LIMIT} are allowed")

    def value(node: ast.AST) -> float:
        found = computed(node)
        if isinstance(found, complex) or abs(found) > _LARGEST:
            raise ValueError(f"{shown(found)} is no value that a knob may have")
        return found

    def computed(node: ast.AST) -> float:
        match node:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return number
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(operand))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*map(value, args))
            case ast.Name(id=name):
                name = name if name in values else ALIASES.get(name, name)
                if name not in values:
                    raise SpecError(f"{text}: unknown {shown(name)}; {nearest(name, [*values, *_FUNCTIONS])}")
                found = values[name]
                if isinstance(found, bool) or not isinstance(found, int | float):
                    raise SpecError(f"{text}: {name} is {shown(found)}, not a number")
                return found
            case _:
                raise SpecError(f"{text}: only arithmetic over knobs is understood")

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python only warns of is no formula either
            return value(ast.parse(expression.strip(), mode="eval"))
    except SyntaxError as error:
        raise SpecError(f"{text} is not an expression: {error.msg}") from error
    except OverflowError as error:
        raise SpecError(f"{text} is larger than any knob may be") from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"{text} is nested too deeply") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{text}: {error}") from error


def knob(name: str, where: str) -> str:
    """The full name of a knob; raises `SpecError` naming the nearest known one."""
    name = ALIASES.get(name, name)
    if name not in knob_names():
        refuse_flag(name, where)
        raise SpecError(f"{where}: unknown key {shown(name)}; {nearest(name, [*knob_names(), *ALIASES])}")
    return name


def expand(
    base: Mapping[str, Any],
    axes: Mapping[str, Any],
    zips: Sequence[Mapping[str, Sequence[Any]]] = (),
    derived: Mapping[str, str] | None = None,
    where: str = "grid",
    overrides: Mapping[str, Any] | None = None,
    make: Callable[[Mapping[str, Any]], S] | None = None,
) -> Iterator[RunSpec | S]:
    """All runs of one grid.

    Args:
        base: knobs that every run shares.
        axes: a list is an axis of the product, a single value is fixed for this grid.
        zips: each is a table of lists of equal length that move together; it is one axis of the product.
        derived: expressions for knobs, evaluated in order after all others are chosen.
        where: for messages.
        overrides: knobs set in every run before formulas are evaluated, over those of ``base`` and single values.
        make: makes a run of somebody else's training from its knobs, which then may have any name; by default runs are
            of the lab's own.

    Raises:
        SpecError: unknown or doubled knobs, lists of unequal length, more runs than a study may have, a run that is
            impossible, or an override of a knob that is an axis or derived.
    """
    full_name = knob if make is None else _as_it_stands
    set_ = {full_name(name, where): value for name, value in (overrides or {}).items()}
    fixed = {full_name(name, where): value for name, value in base.items()}
    dimensions: list[list[dict[str, Any]]] = []
    varied: dict[str, str] = {}
    for name, value in axes.items():
        full = full_name(name, where)
        choices = value if _is_axis(full, value, free=make is not None) else [value]
        if not choices:
            raise SpecError(f"{where}: {name} is an empty list")
        if choices is value:
            varied[full] = f"is an axis of {where} ({shown(list(value))})"
        dimensions.append([{full: choice} for choice in choices])
    for table in zips:
        dimensions.append(_moving_together(table, where, full_name))
        varied |= dict.fromkeys(dimensions[-1][0], f"is an axis of {where}, in a zip")
    formulas = {full_name(name, where): text for name, text in (derived or {}).items()}
    varied |= {name: f"is derived in {where}, as {shown(text)}" for name, text in formulas.items()}
    _refuse_doubles([*(d[0] for d in dimensions), formulas], where)
    refuse_too_many(math.prod(map(len, dimensions)), where)
    for name in set_:
        if name in varied:
            raise SpecError(f"{name} cannot be set: it {varied[name]}; change it in the study itself")
    defaults = {} if make is not None else {n: f.default for n, f in RunSpec.__dataclass_fields__.items()}
    for combination in itertools.product(*dimensions):
        values = dict(fixed)
        for part in combination:
            values |= part
        if make is None and set_.get("dataset", values.get("dataset")) != values.get("dataset"):
            # Those of the data that the study was written for; an axis stays one.
            values = {k: v for k, v in values.items() if k not in ("fingerprint", "augment") or k in varied}
        values |= set_
        known = {**defaults, **values}
        try:
            for name, text in formulas.items():
                values[name] = known[name] = evaluate(text, known)
            yield RunSpec(**_as_knobs(values)) if make is None else make(values)
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error


def _as_it_stands(name: str, where: str) -> str:
    """The name of a knob of somebody else's training."""
    return name


def _is_axis(name: str, value: Any, *, free: bool) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return free or name not in _LISTS or (len(value) > 0 and isinstance(value[0], list | tuple))


def _moving_together(
    table: Mapping[str, Sequence[Any]], where: str, full_name: Callable[[str, str], str]
) -> list[dict[str, Any]]:
    lengths = {name: len(value) if isinstance(value, list | tuple) else None for name, value in table.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values() or 0 in lengths.values():
        raise SpecError(f"{where}: the lists of a zip must have the same length, not {shown(lengths)}")
    names = [full_name(name, where) for name in table]
    return [dict(zip(names, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _refuse_doubles(parts: Sequence[Mapping[str, Any]], where: str) -> None:
    seen: set[str] = set()
    for part in parts:
        if twice := seen & set(part):
            raise SpecError(f"{where}: {', '.join(sorted(twice))} is set twice")
        seen |= set(part)


def _as_knobs(values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: tuple(v) if n in _LISTS and isinstance(v, list) else v for n, v in values.items()}
