"""Grids: products of lists, lists that move together, and values derived from others."""

from __future__ import annotations

import ast
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.spec import RunSpec, knob_names

ALIASES = {"wd": "weight_decay"}
"""Documented short names of knobs."""

_LISTS = frozenset({"milestones"})
"""Knobs whose single value is itself a list; an axis of such a knob is a list of lists."""

_OPERATORS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "round": round,
    "ceil": math.ceil,
    "floor": math.floor,
    "sqrt": math.sqrt,
    "log2": math.log2,
    "min": min,
    "max": max,
}


def evaluate(expression: str, values: Mapping[str, Any]) -> float:
    """Arithmetic over the knobs in ``values``, such as ``0.1 * batch_size / 128``.

    Allowed are + - * / // **, numbers, knobs, and round, ceil, floor, sqrt, log2, min, max: no other name is reached.

    Raises:
        SpecError: anything else, an unknown or non-numeric knob, or an impossible operation.
    """

    def value(node: ast.AST) -> float:
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
                name = ALIASES.get(name, name)
                if name not in values:
                    raise SpecError(f"{expression!r}: unknown {name!r}; {nearest(name, [*values, *_FUNCTIONS])}")
                found = values[name]
                if isinstance(found, bool) or not isinstance(found, int | float):
                    raise SpecError(f"{expression!r}: {name} is {found!r}, not a number")
                return found
            case _:
                raise SpecError(f"{expression!r}: only arithmetic over knobs is understood")

    try:
        return value(ast.parse(expression, mode="eval"))
    except SyntaxError as error:
        raise SpecError(f"{expression!r} is not an expression: {error.msg}") from error
    except (ArithmeticError, ValueError, TypeError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{expression!r}: {error}") from error


def knob(name: str, where: str) -> str:
    """The full name of a knob; raises `SpecError` naming the nearest known one."""
    name = ALIASES.get(name, name)
    if name not in knob_names():
        raise SpecError(f"{where}: unknown key {name!r}; {nearest(name, [*knob_names(), *ALIASES])}")
    return name


def expand(
    base: Mapping[str, Any],
    axes: Mapping[str, Any],
    zips: Sequence[Mapping[str, Sequence[Any]]] = (),
    derived: Mapping[str, str] | None = None,
    where: str = "grid",
) -> Iterator[RunSpec]:
    """All runs of one grid.

    Args:
        base: knobs that every run shares.
        axes: a list is an axis of the product, a single value is fixed for this grid.
        zips: each is a table of lists of equal length that move together; it is one axis of the product.
        derived: expressions for knobs, evaluated in order after all others are chosen.
        where: for messages.

    Raises:
        SpecError: unknown or doubled knobs, lists of unequal length, or a run that is impossible.
    """
    fixed = {knob(name, where): value for name, value in base.items()}
    dimensions: list[list[dict[str, Any]]] = []
    for name, value in axes.items():
        full = knob(name, where)
        choices = value if _is_axis(full, value) else [value]
        if not choices:
            raise SpecError(f"{where}: {name} is an empty list")
        dimensions.append([{full: choice} for choice in choices])
    for table in zips:
        dimensions.append(_moving_together(table, where))
    formulas = {knob(name, where): text for name, text in (derived or {}).items()}
    _refuse_doubles([*(d[0] for d in dimensions), formulas], where)
    defaults = RunSpec.__dataclass_fields__
    for combination in itertools.product(*dimensions):
        values = dict(fixed)
        for part in combination:
            values |= part
        known = {name: field.default for name, field in defaults.items()} | values
        for name, text in formulas.items():
            values[name] = known[name] = evaluate(text, known)
        try:
            yield RunSpec(**_as_knobs(values))
        except SpecError as error:
            raise SpecError(f"{where}: {error}") from error


def _is_axis(name: str, value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return name not in _LISTS or (len(value) > 0 and isinstance(value[0], list | tuple))


def _moving_together(table: Mapping[str, Sequence[Any]], where: str) -> list[dict[str, Any]]:
    lengths = {name: len(value) if isinstance(value, list | tuple) else None for name, value in table.items()}
    if len(set(lengths.values())) != 1 or None in lengths.values() or 0 in lengths.values():
        raise SpecError(f"{where}: the lists of a zip must have the same length, not {lengths}")
    names = [knob(name, where) for name in table]
    return [dict(zip(names, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _refuse_doubles(parts: Sequence[Mapping[str, Any]], where: str) -> None:
    seen: set[str] = set()
    for part in parts:
        if twice := seen & set(part):
            raise SpecError(f"{where}: {', '.join(sorted(twice))} is set twice")
        seen |= set(part)


def _as_knobs(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in _LISTS else value for name, value in values.items()}
