"""Numbers, intervals, places of optima, cells and plans in words: the same in the terminal, on the page, in figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from interplay.analysis.optimum import Optimum
from interplay.analysis.theories import SYMBOLS
from interplay.analysis.verdict import Verdict
from interplay.study.claims import PROGRAMME

_KNOBS = {**SYMBOLS, "momentum": "μ"}

Ends = tuple[float | None, float | None]

TIMES = " times"

WHAT = {"exponent": "exponent ", "direction": "k = ", "sufficiency": "share that the product misses: "}
"""What the estimate of a claim is; of an ordering its unit says so."""

BRIEFLY = {"exponent": "exponent", "direction": "k", "sufficiency": "misses", "ordering": "ratio"}
"""The same in a word."""

NAMED = 4
"""Cells of a plan that are named one by one; of more, the ranges of their knobs are."""


def number(value: float | None, form: str = ".3g") -> str:
    """A number; nothing for one that is missing or not finite."""
    return "" if value is None or not math.isfinite(value) else format(value, form)


def interval(ends: Ends, form: str = ".3g") -> str:
    """``0.4 to 0.6``; ``at least 0.4`` or ``at most 0.6`` where one end is open, nothing where both are."""
    low, high = (None if end is None or not math.isfinite(end) else format(end, form) for end in ends)
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


def place(optimum: Optimum) -> str:
    """Where an optimum lies: ``0.15``, ``0.15 or 0.9``, ``at least 0.3``, ``not bounded``, ``unknown``."""
    if optimum.estimate is not None:
        found = f"{optimum.estimate:.2g}"
        return " or ".join([found, *(f"{other:.2g}" for other in optimum.others)]) if optimum.competing else found
    if optimum.status == "unknown":
        return "unknown"
    return interval(optimum.interval, ".2g") or "not bounded"


def status(optimum: Optimum) -> str:
    """The status of an optimum, and where else the curve has an optimum."""
    if not optimum.others:
        return optimum.words
    also = " and ".join(f"{other:.3g}" for other in optimum.others)
    kind = "as good within the noise" if optimum.competing else "less good"
    return f"{optimum.status}, another optimum at {also}, {kind}"


def cell(values: Mapping[str, object]) -> str:
    """The knobs of a cell, such as ``η 0.1, λ 0.0005``."""
    return ", ".join(
        f"{_KNOBS.get(name, name)} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in values.items()
        if name != "of"
    )


def count(many: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{many} {noun}{'' if many == 1 else 's'}"


def listed(words: Iterable[str]) -> str:
    """Names in a row, set apart so that a name may hold a comma; ``none`` of none."""
    return "; ".join(words) or "none"


# -- verdicts ---------------------------------------------------------------------------------------------------------


def estimate(verdict: Verdict) -> str:
    """An exponent as it is; of an ordering by what factor the first optimum is the second."""
    if verdict.estimate is None or not math.isfinite(verdict.estimate):
        return ""
    return _times(verdict.estimate) if _kind(verdict) == "ordering" else format(verdict.estimate, "z.2f")


def estimate_interval(verdict: Verdict) -> str:
    """The 90 % interval in the same terms as `estimate`."""
    ends = _ends(verdict, verdict.interval)
    return "not bounded" if not ends and estimate(verdict) else ends


def result(verdict: Verdict) -> str:
    """Estimate and interval in one phrase; nothing where neither is known."""
    found, ends = estimate(verdict), estimate_interval(verdict)
    if found:
        return f"{WHAT.get(_kind(verdict), '')}{found}, 90 % interval {ends.removesuffix(TIMES)}"
    return f"{BRIEFLY.get(_kind(verdict), '')} {ends} (90 % interval)".lstrip() if ends else ""


def brief(verdict: Verdict) -> str:
    """Estimate and 90 % interval as short as a table has them: ``exponent 0.97 [0.91, 1.03]``, ``k at least 20.8``."""
    found, ends = estimate(verdict).removesuffix(TIMES), estimate_interval(verdict).removesuffix(TIMES)
    if not found and not ends:
        return ""
    what = BRIEFLY.get(_kind(verdict), "")
    if found and " to " in ends:
        return f"{what} {found} [{ends.replace(' to ', ', ')}]"
    return f"{what} {', '.join(filter(None, [found, ends]))}"


def plan(verdict: Verdict) -> str:
    """What would decide the claim, how many runs that is, and the interval to expect; nothing without a plan."""
    made = verdict.plan
    if made is None:
        return ""
    words = f"to decide: {made.words}"
    if made.cells and " at " not in made.words:
        words += f" ({_named(made.cells) if len(made.cells) <= NAMED else _ranges(made.cells)})"
    if made.runs:
        words += f", {count(made.runs, 'run')}"
    ends = "" if made.interval is None else _ends(verdict, made.interval)
    return f"{words}; expected 90 % interval {ends}" if ends else words


def _named(cells: Sequence[Mapping[str, Any]]) -> str:
    """What tells the cells apart, one by one, then what they share."""
    shared = {k: v for k, v in cells[0].items() if all(k in each and each[k] == v for each in cells)}
    apart = [cell({k: v for k, v in each.items() if k not in shared}) for each in cells]
    return "; ".join([*filter(None, apart), *([f"all at {cell(shared)}"] if shared and any(apart) else [cell(shared)])])


def _ranges(cells: Sequence[Mapping[str, Any]]) -> str:
    """Least and greatest value of each knob that differs between the cells."""
    found = {}
    for name in dict.fromkeys(name for each in cells for name in each):
        values = {each.get(name) for each in cells}
        numbers = sorted(value for value in values if isinstance(value, int | float))
        if len(values) > 1 and len(numbers) == len(values):
            found[name] = f"{numbers[0]:g} to {numbers[-1]:g}"
    return cell(found)


def not_asked(verdicts: Iterable[Verdict]) -> str:
    """One line about the claims for which nothing was varied; nothing without any."""
    names = ", ".join(verdict.id for verdict in verdicts if verdict.verdict == "not asked")
    return f"not asked (too little was varied for it): {names}" if names else ""


def spoken(verdict: Verdict) -> tuple[str, str] | None:
    """Optimum and axis whose exponent the verdict states by itself; ``None`` where it states none, or a tied one."""
    claim = verdict.claim or _BY_NAME.get(verdict.id)
    if claim is None or claim.kind != "exponent" or claim.tied or verdict.estimate is None:
        return None
    return claim.optimum, claim.along


_BY_NAME = {claim.id: claim for claim in PROGRAMME}


def _kind(verdict: Verdict) -> str:
    claim = verdict.claim or _BY_NAME.get(verdict.id)
    return "exponent" if claim is None else claim.kind


def _ends(verdict: Verdict, ends: Ends) -> str:
    if _kind(verdict) != "ordering":
        return interval(ends, "z.2f")
    low, high = (None if end is None or not math.isfinite(end) else 10**end for end in ends)
    words = interval((low, high))
    return f"{words}{TIMES}" if words else ""


def _times(log10: float) -> str:
    return f"{10**log10:.3g}{TIMES}"


def knob_words(values: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """The values of some knobs as cells of a table, empty where one is missing."""
    found = (values.get(name) for name in names)
    return ["" if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in found]
