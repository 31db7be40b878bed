"""What the template prints: the words of each part of the page, as plain values that it escapes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from interplay.analysis import phrases
from interplay.analysis.best import Best
from interplay.analysis.compare import Comparison
from interplay.analysis.phrases import cell, count
from interplay.analysis.theories import SYMBOLS
from interplay.analysis.verdict import Verdict
from interplay.analysis.words import duplicates, exponent_words, grouped, joint_lines, noise_words
from interplay.figures.labels import metric_label, metric_name
from interplay.page.charts import Chart
from interplay.page.content import Page, Run
from interplay.page.words import DASH, metric_value
from interplay.record import cleaned

STATUSES = ("finished", "diverged", "failed", "running", "interrupted")
SIGNS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
ANSWERS = {"supported": "Yes.", "refuted": "No.", "inconclusive": "These runs do not decide it."}
ENVIRONMENT = ("device_name", "device", "torch", "cuda", "commit", "threads", "path", "python", "interplay", "platform")
OPTIMA = 40
"""Settings up to which a table of optima is open from the start."""
SHOWN = 200
"""Failed runs and cells that are listed one by one; of more, the rest is counted."""


@dataclass(frozen=True)
class Table:
    """Headings and rows; ``name`` is its class in the style sheet, ``title`` and ``opened`` are of what folds it."""

    name: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    summary: str = ""
    opened: bool = True


@dataclass(frozen=True)
class Group:
    """A list that folds: what of, and its lines, of which ``more`` are not given."""

    title: str
    lines: Sequence[str]
    more: int
    opened: bool


def context(page: Page, figures: Sequence[Chart]) -> dict[str, Any]:
    """Everything that the template prints, by the names it uses."""
    claims = page.analysis.claims if page.analysis else ()
    return {
        "facts": facts(page),
        "answers": [answer(claim) for claim in claims if claim.verdict != "not asked"],
        "best": [best_words(each, page.metric, len(page.best) > 1) for each in page.best],
        "claims": [claim_row(claim) for claim in claims if claim.verdict != "not asked"],
        "sides": sides(page),
        "not_asked": [(claim.id, claim.question, claim.reason) for claim in claims if claim.verdict == "not asked"],
        "not_asked_words": phrases.not_asked(claims),
        "exponents": exponents(page),
        "joint": joint(page),
        "notes": notes(page),
        "groups": groups(figures),
        "optima": optima(page),
        "states": [status for status in STATUSES if any(run.status == status for run in page.runs)],
        "methods": sorted({str(run.values["method"]) for run in page.runs if run.values.get("method")}),
        "has_history": any(run.history for run in page.runs),
        "environment": environment(page),
        "missing": missing(page),
    }


def facts(page: Page) -> str:
    """In one line what the page rests on."""
    states = Counter(run.status for run in page.runs)
    words = ", ".join(f"{states[status]} {status}" for status in STATUSES if states[status]) or "no runs yet"
    parts = [count(len(page.runs), "run") + (f" ({words})" if page.runs else "")]
    if page.analysis is not None:
        parts.append(count(len(page.analysis.repetitions), "repetition"))
    parts += [metric_label(page.metric), f"made {page.created}"]
    return " · ".join(parts)


def sides(page: Page) -> dict[str, Any] | None:
    """Several studies beside each other: a row a claim that any of them was asked, and what two of them share."""
    if not page.sides:
        return None
    found = [{claim.id: claim for claim in side.claims} for side in page.sides]
    rows = []
    for name in dict.fromkeys(name for claims in found for name in claims):
        each = [claims.get(name) for claims in found]
        asked = [claim for claim in each if claim is not None and claim.verdict != "not asked"]
        if asked:
            rows.append({"question": asked[0].question or name, "cells": [_beside(claim) for claim in each]})
    best = [best_words(side.best[0], page.metric, False) if side.best else None for side in page.sides]
    names = [side.name for side in page.sides]
    return {"names": names, "rows": rows, "best": best, "shared": _shared(page.comparison, names)}


def _beside(claim: Verdict | None) -> dict[str, str]:
    if claim is None or claim.verdict == "not asked":
        return {"verdict": "not asked", "sign": "", "brief": ""}
    return {"verdict": claim.verdict, "sign": SIGNS[claim.verdict], "brief": phrases.brief(claim)}


def _shared(found: Comparison | None, names: Sequence[str]) -> list[str]:
    if found is None:
        return []
    lines = [f"{count(len(found.pairs), 'setting')} measured by both"]
    unit = "points" if "acc" in found.metric else "nats"
    if found.mean is not None and found.interval90 is not None:
        low, high = found.interval90
        lines.append(
            f"{metric_name(found.metric)} of {names[0]} less that of {names[1]}: {found.mean:+.2f} {unit} on average, "
            f"90 % interval {low:+.2f} to {high:+.2f}"
        )
    if found.order is not None:
        lines.append(f"Spearman's correlation of their settings: {found.order:.3f}")
    return [*lines, *found.notes]


def answer(claim: Verdict) -> dict[str, Any]:
    """One claim as a sentence: its question, yes or no, and the number that says so."""
    found = phrases.result(claim)
    if found and phrases.estimate(claim).endswith(phrases.TIMES):
        found = f"the first is {found.replace(phrases.TIMES, ' times the second', 1)}"
    return {
        "verdict": claim.verdict,
        "sign": SIGNS[claim.verdict],
        "question": claim.question or claim.id,
        "answer": ANSWERS[claim.verdict],
        # A symbol stays as it is: k, not K.
        "result": f"{found if found[1:2] == ' ' else found[0].upper() + found[1:]}." if found else "",
        "own": claim.own,
        "id": claim.id,
    }


def best_words(best: Best, metric: str, several: bool) -> dict[str, str]:
    """The best setting: its knobs, what it reaches, and how sure that is."""
    reaches = f"{metric_name(metric)} {metric_value(metric, best.mean)}"
    sure = [f"mean of {count(best.runs, 'run')}"]
    if best.interval is not None:
        low, high = (metric_value(metric, end).split()[0] for end in best.interval)
        sure.insert(0, f"90 % interval {low} to {high}")
    others = ""
    if best.alike is not None and best.cells > 1:
        others = (
            f"{best.alike} of the other {best.cells - 1} settings cannot be told from it"
            if best.alike
            else f"better than each of the other {best.cells - 1} settings beyond the noise"
        )
    optima = [
        f"best {SYMBOLS[o.of]} here {phrases.place(o)}"
        + (f" (90 % interval {phrases.interval(o.interval)})" if o.interval != (None, None) else "")
        for o in best.optima
        if o.status != "unknown"
    ]
    return {
        "network": best.network.words() if several else "",
        "setting": cell(best.setting),
        "reaches": reaches,
        "sure": "; ".join(sure),
        "more": "; ".join(filter(None, [*optima, others])),
    }


def claim_row(claim: Verdict) -> dict[str, Any]:
    """A row of the table of claims."""
    plan = phrases.plan(claim)
    return {
        "id": claim.id,
        "question": claim.question,
        "own": claim.own,
        "verdict": claim.verdict,
        "sign": SIGNS[claim.verdict],
        "other_metric": claim.other_metric,
        "estimate": phrases.estimate(claim) or DASH,
        "interval": phrases.estimate_interval(claim) or DASH,
        "reason": claim.reason,
        "plan": _group(plan, [cell(values) for values in claim.needed]) if plan else None,
    }


def exponents(page: Page) -> Table | None:
    """Exponents of which no claim speaks."""
    if page.analysis is None or not page.analysis.exponents:
        return None
    heads = ("Best", "As a power of", "Exponent", "90 % interval", "Curves")
    rows = [exponent_words(each) for each in page.analysis.exponents]
    return Table("exponents", heads, rows, "Exponents of which no claim speaks")


def joint(page: Page) -> list[str]:
    """The axes that were varied together, and which theories their exponents leave standing; the first is a title."""
    if page.analysis is None or page.analysis.joint is None:
        return []
    return joint_lines(page.analysis.joint, page.analysis)


def notes(page: Page) -> list[str]:
    """Duplicates, outliers and the noise: what should be known before the verdicts are believed."""
    found = page.analysis
    if found is None:
        return []
    lines = duplicates(found)
    ended = sum(run.status in ("finished", "diverged") for run in page.runs)
    if found.runs != ended:
        lines.append(f"of {ended} rows {found.runs} are analysed: copies, and runs without the metric, are not")
    return [*lines, *found.notes, *noise_words(found)]


def groups(charts: Sequence[Chart]) -> list[list[Chart]]:
    """Charts that stand beside each other."""
    found: dict[str, list[Chart]] = {}
    for chart in charts:
        found.setdefault(chart.group, []).append(chart)
    return list(found.values())


def optima(page: Page) -> list[Table]:
    """The optima that verdicts rest on: a table for each knob, with the knobs that tell its settings apart."""
    if page.analysis is None:
        return []
    names = {"lr": "learning rate η*", "weight_decay": "weight decay λ*"}
    found = []
    for of, common, apart, group in grouped(page.analysis.optima):
        rows = [
            (
                *(word or DASH for word in phrases.knob_words(each.given, apart)),
                phrases.number(each.estimate) or DASH,
                phrases.interval(each.interval) or DASH,
                phrases.status(each),
            )
            for each in group
        ]
        at = f" at {cell(common)}" if common else ""
        heads = (*(name.replace("_", " ") for name in apart), "Optimum", "90 % interval", "Status")
        title = f"Best {names.get(of, of) + at}"
        found.append(Table("optima", heads, rows, title, count(len(rows), "setting"), len(rows) <= OPTIMA))
    return found


def environment(page: Page) -> Table | None:
    """The distinct machines and versions, with the number of runs of each; what a probe measured is with each run."""
    plain = [
        {name: value for name, value in cleaned(dict(run.environment)).items() if not isinstance(value, dict | list)}
        for run in page.runs
        if run.environment
    ]
    machines = Counter(json.dumps(each, sort_keys=True) for each in plain)
    if not machines:
        return None
    found = [(json.loads(words), runs) for words, runs in machines.most_common()]
    names = {name for machine, _ in found for name in machine}
    order = [name for name in ENVIRONMENT if name in names] + sorted(names - set(ENVIRONMENT))
    rows = [
        (str(runs), *(DASH if machine.get(name) is None else str(machine[name]) for name in order))
        for machine, runs in found
    ]
    return Table("environment", ("runs", *(name.replace("_", " ") for name in order)), rows)


def missing(page: Page) -> list[Group]:
    """What has not been measured, and what did not work."""
    of = {status: [run for run in page.runs if run.status == status] for status in STATUSES}
    failed = [f"{_run(r)}: {(r.note or 'no reason given').splitlines()[0]}" for r in of["failed"]]
    running = [f"{_run(r)}: {r.note or 'starting'}" for r in of["running"]]
    interrupted = [f"{_run(r)}: goes on when asked for again" for r in of["interrupted"]]
    parts = (
        ("Failed", "run", failed),
        ("Running", "run", running),
        ("Interrupted", "run", interrupted),
        ("Asked for by the claims", "cell", _asked(page)),
        ("Blank in the heatmap", "cell", _blank(page)),
    )
    return [_group(f"{title}: {count(len(lines), noun)}", lines) for title, noun, lines in parts if lines]


def _group(title: str, lines: Sequence[str]) -> Group:
    return Group(title, lines[:SHOWN], max(0, len(lines) - SHOWN), len(lines) <= 12)


def _run(run: Run) -> str:
    names = ("lr", "weight_decay", "batch_size", "seed")
    knobs = cell({name: run.values[name] for name in names if run.values.get(name) is not None})
    return f"{run.id} ({', '.join(filter(None, (str(run.values.get('method') or ''), knobs)))})"


def _asked(page: Page) -> list[str]:
    by_cell: dict[str, list[str]] = {}
    claims: Iterable[Verdict] = page.analysis.claims if page.analysis else ()
    for claim in claims:
        for values in claim.needed:
            by_cell.setdefault(cell(values), []).append(claim.id)
    return [f"{words} (for {', '.join(dict.fromkeys(ids))})" for words, ids in by_cell.items()]


def _blank(page: Page) -> list[str]:
    if page.heatmap is None:
        return []
    picture = page.heatmap
    return [
        cell({"lr": lr, "weight_decay": wd, "batch_size": picture.batch_size})
        for i, wd in enumerate(picture.decays)
        for j, lr in enumerate(picture.lrs)
        if picture.cells[i][j] is None
    ]
