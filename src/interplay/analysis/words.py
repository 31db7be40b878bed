"""An analysis in words: tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from interplay.analysis.analyze import Agreement, Analysis
from interplay.analysis.compare import Comparison, Pair
from interplay.analysis.laws import Joint
from interplay.analysis.optimizers import Beside
from interplay.analysis.optimum import Optimum
from interplay.analysis.predict import Prediction
from interplay.analysis.scores import Score
from interplay.analysis.theories import SYMBOLS
from interplay.analysis.verdict import Verdict
from interplay.analysis.verify.problems import Line


def report(analysis: Analysis) -> str:
    """Verdicts first, then the optima they rest on, then what should be known about the data."""
    lines = [f"{analysis.runs} runs in {len(analysis.repetitions)} repetitions, metric {analysis.metric}"]
    for kept, left_out, count in analysis.duplicates:
        lines.append(f"note: {left_out} repeats {kept} to the last digit in {count} runs and is counted once")
    lines += [f"note: {note}" for note in analysis.notes]
    if not analysis.named_noises():
        lines.append("note: no setting was repeated, so there are no intervals and every claim is inconclusive")
    for of, noise in analysis.named_noises():
        best, worst = noise.sd_best, noise.sd_worst
        lines.append(
            f"noise{of}: SD of one run {best:.3g} at the best level, {worst:.3g} at the worst ({noise.dof} dof)"
        )
    lines += ["", *table(("claim", "verdict", "estimate", "90 % interval", "reason"), map(_claim, analysis.claims))]
    heads = ("optimum of", "at", "estimate", "90 % interval", "status")
    varied = _varied([o.given for o in analysis.optima])
    lines += ["", *table(heads, (_optimum(o, varied) for o in analysis.optima))]
    lines += ["", *joint_lines(analysis.joint)] if analysis.joint is not None else []
    if analysis.agreement:
        heads = ("variable", "factor", "least", "greatest", "label")
        lines += ["", f"where the {analysis.agreement[0].optima} optima fall together (factor: one standard deviation)"]
        lines += table(heads, (_agreement(each) for each in analysis.agreement))
    for each in analysis.beside:
        lines += ["", *_beside(each, analysis.metric)]
    needed = [(c.id, c.needed) for c in analysis.claims if c.needed]
    if needed:
        lines += ["", "cells that would settle what is inconclusive:"]
        lines += [f"  {name}: {_cell(cell, varied)}" for name, cells in needed for cell in cells]
    return "\n".join(lines)


def prediction(found: Prediction) -> str:
    """What to use, from which rule, how well such rules did on settings they had not seen, and what is extrapolated."""
    low, high = found.interval
    at = ", ".join(f"{SYMBOLS.get(name, 'μ')} {value:g}" for name, value in found.at.items())
    lines = [
        f"{SYMBOLS[found.of]}* = {found.estimate:.3g}, 90 % interval {low:.3g} to {high:.3g}, at {at}",
        f"rule: {found.rule}, {found.formula}; from {found.source}",
    ]
    lines += [f"EXTRAPOLATED: {words}" for words in found.outside]
    lines += [f"note: {note}" for note in found.notes]
    unit = "points" if "acc" in found.metric else "nats"
    lines += ["", f"leave-one-setting-out error ({found.metric})"]
    header = ("rule", "", "says", "off by a factor", f"mean loss, {unit}", "worst")
    lines += table(header, [_score(found.chosen), *map(_score, found.scores)])
    if any(score.at_least for score in found.scores):
        lines.append("zero was not measured at every setting: its loss is at least what the least decay loses")
    return "\n".join(lines)


def _agreement(each: Agreement) -> tuple[str, ...]:
    return (each.variable, f"{each.factor:.2f}", f"{each.least:.3g}", f"{each.greatest:.3g}", each.label)


def _beside(each: Beside, metric: str) -> list[str]:
    unit = "points" if "acc" in metric else "nats"
    words = f"{each.optimizer} beside {each.against}: {each.cells} cells measured with both"
    if each.mean is not None and each.interval90 is not None:
        low, high = each.interval90
        words += (
            f"; {each.optimizer} less {each.against} {each.mean:+.2f} {unit}, 90 % interval {low:+.2f} to {high:+.2f}"
        )
    elif each.cells:
        words += "; no repetitions, so no interval"
    if not each.claims:
        return [words, "  every claim is inconclusive for both"]
    return [words, *table(("claim", each.optimizer, each.against), each.claims)]


def comparison(found: Comparison) -> str:
    """What two groups of runs have in common, how far they differ, and every cell that both have."""
    unit = "points" if "acc" in found.metric else "nats"
    ours, theirs = found.only
    lines = [f"{len(found.pairs)} cells measured by both, {ours} by us only, {theirs} by them only; {found.metric}"]
    lines += [f"note: {note}" for note in found.notes]
    if found.mean is not None and found.interval90 is not None:
        low, high = found.interval90
        ends = f"{low:+.2f} to {high:+.2f}"
        lines.append(f"mean difference, ours less theirs: {found.mean:+.2f} {unit}, 90 % interval {ends}")
    if found.beyond_noise is not None and found.p is not None:
        spread = f"SD {found.beyond_noise:.2f} {unit} (p that there are none: {found.p:.2g})"
        lines.append(f"differences beyond the noise: {spread}")
    if found.order is not None:
        lines.append(f"order of the cells: Spearman's correlation {found.order:.3f}")
    lines += ["", *table(("claim", "ours", "theirs"), found.claims)]
    heads = ("lr", "wd", "momentum", "batch", "ours", "theirs", "difference", "error", "in errors")
    lines += ["", *table(heads, map(_pair, found.pairs))]
    return "\n".join(lines)


def _pair(pair: Pair) -> tuple[str, ...]:
    s = pair.cell
    sides = (f"{mean:.2f} ({runs})" for mean, runs in zip((pair.ours, pair.theirs), pair.runs, strict=True))
    error = "" if pair.error is None else f"{pair.error:.2f}"
    z = "" if pair.z is None else f"{pair.z:+.1f}"
    knobs = (f"{s.lr:g}", f"{s.weight_decay:g}", f"{s.momentum:g}", str(s.batch_size))
    return (*knobs, *sides, f"{pair.difference:+.2f}", error, z)


def _score(score: Score) -> tuple[str, ...]:
    factor = "" if score.factor is None else f"{score.factor:.2f}"
    least = "≥ " if score.at_least else ""
    kind = "baseline" if score.baseline else ""
    says = "" if score.says is None else f"{score.says:.3g}"
    return score.rule, kind, says, factor, f"{least}{score.loss:.2f}", f"{least}{score.worst:.2f}"


def joint_lines(joint: Joint) -> list[str]:
    """The exponents over all axes together, and the theories inside and outside the region."""
    axes = " ".join(SYMBOLS[name] for name in joint.axes)
    lines = [f"λ* over {axes} together ({joint.inside} optima inside of {joint.settings} settings)"]
    for name in joint.axes:
        if name in joint.exponents:
            value, interval = joint.exponents[name]
            lines.append(f"  exponent of {SYMBOLS[name]} {value:.2f}, 90 % interval {_interval(interval, '.2f')}")
        else:
            lines.append(f"  exponent of {SYMBOLS[name]} not determined: it was never varied by itself")
    lines.append(f"  theories inside the 95 % confidence region: {', '.join(joint.held) or 'none'}")
    lines.append(f"  theories outside: {', '.join(joint.excluded) or 'none'}")
    return lines


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
    value = verdict.estimate
    estimate = "" if value is None else f"{value:.2f}" if math.isfinite(value) else "∞"
    return verdict.id, verdict.verdict, estimate, _interval(verdict.interval, ".2f"), verdict.reason


def _varied(given: Sequence[dict[str, Any]]) -> set[str]:
    """Those of the knobs that are mostly the same which are not the same everywhere."""
    return {name for name in ("epochs", "schedule") if len({str(each[name]) for each in given if name in each}) > 1}


def _optimum(optimum: Optimum, varied: Collection[str]) -> tuple[str, ...]:
    estimate = "" if optimum.estimate is None else f"{optimum.estimate:.3g}"
    return optimum.of, _cell(optimum.given, varied), estimate, _interval(optimum.interval, ".3g"), optimum.status


def _interval(interval: tuple[float | None, float | None], form: str) -> str:
    low, high = interval
    if low is None and high is None:
        return ""
    return f"{'...' if low is None else format(low, form)} to {'...' if high is None else format(high, form)}"


def _cell(values: dict[str, Any], varied: Collection[str] = ("epochs", "schedule")) -> str:
    shown = {k: v for k, v in values.items() if k not in ("epochs", "schedule") or k in varied}
    return " ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )
