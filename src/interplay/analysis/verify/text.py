"""Results of `measure` as a table: for a terminal, and for the documentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from interplay.analysis.layout import Layout
from interplay.analysis.verify.measure import Result

HEADER = (
    "condition",
    "of",
    "studies",
    "right",
    "at best",
    "false",
    "decided",
    "bounded",
    "held",
    "width",
    "if bounded",
    "of the bound",
    "runs",
)

WIDE = 120
LESS = ("at best", "if bounded", "runs")
"""Columns that a terminal has which is at least `WIDE`."""

LEGEND = (
    "right: of the studies whose truth is at least 0.15 from the edge of the band; "
    "at best: of an unbiased estimate at the Cramér-Rao bound",
    "false: of all studies; bounded: 90 % intervals with two ends; held: share of these that hold the truth",
    "width: median over all studies (optima in nats), and over bounded intervals",
    "of the bound: width at the Cramér-Rao bound over the width given, median",
)


def cells(result: Result) -> tuple[str, ...]:
    """One line of the table."""
    bounded = result.intervals if result.held is not None else ""
    return (
        result.condition,
        result.of,
        str(result.studies),
        _share(result.right),
        _share(result.attainable),
        _share(result.false),
        _share(result.decided),
        str(bounded),
        _share(result.held),
        _width(result.width),
        _width(result.bounded_width),
        _share(result.share_of_bound),
        f"{result.runs:.0f}",
    )


def terminal(results: Sequence[Result]) -> str:
    """A table that fits the terminal, and what its columns mean; a narrow one has not all of them."""
    layout = Layout()
    kept = [index for index, name in enumerate(HEADER) if layout.width >= WIDE or name not in LESS]
    rows = [[row[index] for index in kept] for row in map(cells, results)]
    lines = layout.table([HEADER[index] for index in kept], rows, prose=0)
    if len(kept) < len(HEADER):
        lines += layout.paragraph(f"not shown in {layout.width} columns, but with --json: {', '.join(LESS)}")
    return "\n".join([*lines, *(line for words in LEGEND for line in layout.paragraph(words))])


def markdown(results: Sequence[Result]) -> str:
    """The same as a table of Markdown, ending in a line break."""
    lines = [HEADER, ("---", "---", *("--:",) * (len(HEADER) - 2)), *map(cells, results)]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ["", *(f"{each}." for each in LEGEND), ""])


def to_dict(result: Result) -> dict[str, Any]:
    """JSON types; an infinite width is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(result).items()}


def _width(value: float | None) -> str:
    return "" if value is None else "∞" if math.isinf(value) else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"
