"""An analysis in words: tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from interplay.analysis.analyze import Analysis
from interplay.analysis.optimum import Optimum
from interplay.analysis.verdict import Verdict
from interplay.analysis.verify import Line


def report(analysis: Analysis) -> str:
    """Verdicts first, then the optima they rest on, then what should be known about the data."""
    lines = [f"{analysis.runs} runs in {len(analysis.repetitions)} repetitions, metric {analysis.metric}"]
    for kept, left_out, count in analysis.duplicates:
        lines.append(f"note: {left_out} repeats {kept} to the last digit in {count} runs and is counted once")
    lines += [f"note: {note}" for note in analysis.notes]
    if analysis.noise is None:
        lines.append("note: no setting was repeated, so there are no intervals and no verdicts")
    else:
        noise = analysis.noise
        best, worst = noise.sds[-1], noise.sds[0]
        lines.append(f"noise: SD of one run {best:.3g} at the best level, {worst:.3g} at the worst ({noise.dof} dof)")
    lines += ["", *table(("claim", "verdict", "estimate", "90 % interval", "reason"), map(_claim, analysis.claims))]
    lines += ["", *table(("optimum of", "at", "estimate", "90 % interval", "status"), map(_optimum, analysis.optima))]
    needed = [(c.id, c.needed) for c in analysis.claims if c.needed]
    if needed:
        lines += ["", "cells that would settle what is inconclusive:"]
        lines += [f"  {name}: {_cell(cell)}" for name, cells in needed for cell in cells]
    return "\n".join(lines)


def table(header: Sequence[str], rows: object) -> list[str]:
    """Columns as wide as their widest cell; the last one is not padded."""
    cells = [list(header), *(list(row) for row in rows)]  # type: ignore[attr-defined]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)) + f"  {row[-1]}"
        for row in cells
    ]


def verification(lines: Sequence[Line]) -> str:
    """Expected and found of the problems with a known answer."""
    header = ("problem", "of", "expected", "found", "exponent (true, mean)", "90 % intervals that hold it")
    return "\n".join(table(header, [_line(line) for line in lines]))


def _line(line: Line) -> tuple[str, ...]:
    found = ", ".join(f"{word} {count}" for word, count in line.found.items())
    exponents = "" if line.truth is None or line.mean is None else f"{line.truth:.2f}, {line.mean:.2f}"
    covered = "" if line.covered is None else f"{100 * line.covered:.0f} %"
    return line.problem, line.what, line.expected, found, exponents, covered


def _claim(verdict: Verdict) -> tuple[str, ...]:
    estimate = "" if verdict.estimate is None else f"{verdict.estimate:.2f}"
    return verdict.id, verdict.verdict, estimate, _interval(verdict.interval, ".2f"), verdict.reason


def _optimum(optimum: Optimum) -> tuple[str, ...]:
    estimate = "" if optimum.estimate is None else f"{optimum.estimate:.3g}"
    return optimum.of, _cell(optimum.given), estimate, _interval(optimum.interval, ".3g"), optimum.status


def _interval(interval: tuple[float | None, float | None], form: str) -> str:
    low, high = interval
    if low is None and high is None:
        return ""
    return f"{'...' if low is None else format(low, form)} to {'...' if high is None else format(high, form)}"


def _cell(values: dict[str, object]) -> str:
    shown = {k: v for k, v in values.items() if k not in ("epochs", "schedule")}
    return " ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )
