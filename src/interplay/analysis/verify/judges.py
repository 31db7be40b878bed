"""What an engine says of a table of results, in the few words that `measure` compares with the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interplay.analysis.analyze import analyze
from interplay.analysis.observations import from_rows
from interplay.analysis.verify.worlds import Row


@dataclass(frozen=True)
class Claimed:
    """What is said of one claim. ``interval`` holds 90 %, infinite where it is open, ``None`` where there is none."""

    verdict: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    needed: tuple[Mapping[str, Any], ...] = ()
    """Cells that would help, as knobs."""
    seeds: int = 0
    """Further seeds of cells that are there; new ones get them besides those of the study."""

    @property
    def decided(self) -> bool:
        """Whether a word is said that could be false."""
        return self.verdict in ("supported", "refuted")


@dataclass(frozen=True)
class Located:
    """What is said of one optimum. ``interval`` holds 90 % on the axis of the knob; open ends are 0 and infinity."""

    of: str
    given: Mapping[str, Any]
    interval: tuple[float, float] | None
    status: str = ""

    @property
    def bounded(self) -> bool:
        """Whether both ends are known."""
        return self.interval is not None and self.interval[0] > 0 and math.isfinite(self.interval[1])

    @property
    def width(self) -> float:
        """Of the interval, in nats; infinite where an end is open."""
        if self.interval is None or not self.bounded:
            return math.inf
        return math.log(self.interval[1] / self.interval[0])


@dataclass(frozen=True)
class Judgement:
    """All that is said of one table."""

    claims: Mapping[str, Claimed]
    optima: tuple[Located, ...] = ()


Judge = Callable[[Sequence[Row], str], Judgement]
"""Takes rows and the metric. It must be importable by name, to be sent to other processes."""


def engine(rows: Sequence[Row], metric: str = "final_test_acc") -> Judgement:
    """The lab's own engine: the only place where the proof knows its interface."""
    analysis = analyze([from_rows(rows, "simulated", metric)])
    claims = {
        c.id: Claimed(
            str(c.verdict),
            c.estimate,
            _interval(c.interval, -math.inf),
            c.needed,
            c.plan.seeds if c.plan is not None else 0,
        )
        for c in analysis.claims
    }
    optima = tuple(Located(o.of, _method(o.given), _interval(o.interval, 0.0), str(o.status)) for o in analysis.optima)
    return Judgement(claims, optima)


def _method(given: Mapping[str, Any]) -> dict[str, Any]:
    """With the name of the method, which is listed only where methods are compared."""
    knobs = (given.get("momentum") or 0.0) > 0, (given.get("weight_decay") or 0.0) > 0
    name = {(False, False): "SGD", (False, True): "SGD+WD", (True, False): "SGDM", (True, True): "SGDM+WD"}[knobs]
    return {"method": name, **given}


def _interval(ends: tuple[float | None, float | None], least: float) -> tuple[float, float] | None:
    low, high = ends
    if low is None and high is None:
        return None
    return (least if low is None else low, math.inf if high is None else high)
