"""The parts of the page that are text and tables, as HTML. Everything from outside passes through `text`."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from interplay.analysis import phrases
from interplay.analysis.phrases import cell, count
from interplay.analysis.words import duplicates, exponent_words, grouped, joint_lines, noise_words
from interplay.figures.style import metric_label
from interplay.page.charts import Chart
from interplay.page.words import DASH
from interplay.record import cleaned

if TYPE_CHECKING:
    from interplay.analysis.verdict import Verdict
    from interplay.page.page import Page, Run

STATUSES = ("finished", "diverged", "failed", "running", "interrupted")
SIGNS = {"supported": "✓", "refuted": "✗", "inconclusive": "?"}
ENVIRONMENT = ("device_name", "device", "torch", "cuda", "commit", "threads", "path", "python", "interplay", "platform")
OPTIMA = 40
"""Settings up to which a table of optima is open from the start."""
SHOWN = 200
"""Failed runs and cells that are listed one by one; of more, the rest is counted."""


def text(value: object) -> str:
    """``value`` as it may stand in the page, in an element or an attribute."""
    return html.escape(str(value))


def header(page: Page) -> str:
    """The title, and in one line what the page rests on."""
    states = Counter(run.status for run in page.runs)
    words = ", ".join(f"{states[status]} {status}" for status in STATUSES if states[status]) or "no runs yet"
    parts = [count(len(page.runs), "run") + (f" ({words})" if page.runs else "")]
    if page.analysis is not None:
        parts.append(count(len(page.analysis.repetitions), "repetition"))
    parts += [metric_label(page.metric), f"made {page.created}"]
    live = f'<p class="live">Live: refreshes every {page.refresh:g} s.</p>' if page.refresh else ""
    return f'<h1>{text(page.title)}</h1><p class="facts">{text(" · ".join(parts))}</p>{live}'


def claims(page: Page) -> str:
    """The verdicts, each with its estimate, its interval and its reason; those not asked folded beneath."""
    if page.analysis is None:
        return '<p class="empty">No run has finished yet, so there is nothing to judge.</p>'
    heads = ("Claim", "Verdict", "Estimate", "90 % interval", "Reason")
    asked = [claim for claim in page.analysis.claims if claim.verdict != "not asked"]
    left = [claim for claim in page.analysis.claims if claim.verdict == "not asked"]
    rows = [
        (
            _question(claim),
            f'<span class="badge {claim.verdict}"><span aria-hidden="true">{SIGNS[claim.verdict]}</span> '
            f"{claim.verdict}</span>{_other_metric(claim)}",
            text(phrases.estimate(claim)) or DASH,
            text(phrases.estimate_interval(claim)) or DASH,
            f"{text(claim.reason)}{_plan(claim)}",
        )
        for claim in asked
    ]
    table = _table("claims", heads, rows) if rows else '<p class="empty">These runs speak to no claim.</p>'
    return table + _not_asked(left)


def _question(claim: Verdict) -> str:
    own = '<span class="own">the study\'s own claim</span> ' if claim.own else ""
    question = f'<span class="question">{text(claim.question)}</span> ' if claim.question else ""
    return f"{question}<code>{text(claim.id)}</code> {own}".strip()


def _other_metric(claim: Verdict) -> str:
    return f'<span class="other">{text(claim.other_metric)}</span>' if claim.other_metric else ""


def _plan(claim: Verdict) -> str:
    words = phrases.plan(claim)
    if not words:
        return ""
    items = "".join(f"<li>{text(cell(values))}</li>" for values in claim.needed[:SHOWN])
    more = f"<li>and {len(claim.needed) - SHOWN} more</li>" if len(claim.needed) > SHOWN else ""
    return (
        f"<details><summary>{text(words)}</summary><ul>{items}{more}</ul>"
        "<p>Run them with <code>interplay study STUDY --extend</code>, STUDY being the name or file of the study that "
        "these runs belong to.</p></details>"
    )


def _not_asked(left: Sequence[Verdict]) -> str:
    if not left:
        return ""
    items = "".join(f"<li>{_question(claim)} needs {text(claim.reason)}</li>" for claim in left)
    return f"<details><summary>{text(phrases.not_asked(left))}</summary><ul>{items}</ul></details>"


def exponents(page: Page) -> str:
    """Exponents of which no claim speaks."""
    if page.analysis is None or not page.analysis.exponents:
        return ""
    heads = ("Best", "As a power of", "Exponent", "90 % interval", "Curves")
    rows = [[text(word) for word in exponent_words(each)] for each in page.analysis.exponents]
    return f"<h3>Exponents of which no claim speaks</h3>{_table('exponents', heads, rows)}"


def joint(page: Page) -> str:
    """The axes that were varied together, and which theories their exponents leave standing."""
    if page.analysis is None or page.analysis.joint is None:
        return ""
    first, *lines = joint_lines(page.analysis.joint, page.analysis)
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<div class="joint"><h3>{text(first)}</h3><ul class="notes">{items}</ul></div>'


def notes(page: Page) -> str:
    """Duplicates, outliers and the noise: what should be known before the verdicts are believed."""
    found = page.analysis
    if found is None:
        return ""
    lines = duplicates(found)
    ended = sum(run.status in ("finished", "diverged") for run in page.runs)
    if found.runs != ended:
        lines.append(f"of {ended} rows {found.runs} are analysed: copies, and runs without the metric, are not")
    lines += [*found.notes, *noise_words(found)]
    return "<ul class=notes>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def figures(charts: Sequence[Chart]) -> str:
    """A place for each figure, with its words; the script draws them."""
    if not charts:
        return '<p class="empty">None of the three grids is among these runs yet.</p>'
    groups: dict[str, list[str]] = {}
    for chart in charts:
        groups.setdefault(chart.group, []).append(
            f'<figure><h3>{text(chart.title)}</h3><div class="chart" id="chart-{text(chart.id)}" role="img" '
            f'aria-label="{text(chart.title)}"></div><figcaption>{text(chart.caption)}</figcaption></figure>'
        )
    return "".join(f'<div class="figures n{len(group)}">{"".join(group)}</div>' for group in groups.values())


def optima(page: Page) -> str:
    """The optima that verdicts rest on: a table for each knob, with the knobs that tell its settings apart."""
    if page.analysis is None or not page.analysis.optima:
        return '<p class="empty">No curve has been measured yet.</p>'
    names = {"lr": "learning rate η*", "weight_decay": "weight decay λ*"}
    parts = []
    for of, common, apart, group in grouped(page.analysis.optima):
        rows = [
            (
                *(text(word) or DASH for word in phrases.knob_words(each.given, apart)),
                phrases.number(each.estimate) or DASH,
                phrases.interval(each.interval) or DASH,
                f'<span class="state {"" if each.inside else "open"}">{text(phrases.status(each))}</span>',
            )
            for each in group
        ]
        at = f" at {cell(common)}" if common else ""
        heads = (*(name.replace("_", " ") for name in apart), "Optimum", "90 % interval", "Status")
        title = f"<h3>Best {text(names.get(of, of) + at)}</h3>"
        table = _table("optima", heads, rows)
        opened = " open" if len(rows) <= OPTIMA else ""
        parts.append(f"{title}<details{opened}><summary>{count(len(rows), 'setting')}</summary>{table}</details>")
    return "".join(parts)


def runs(page: Page) -> str:
    """The frame of the table of runs and of the chosen run; the script fills both."""
    if not page.runs:
        return '<p class="empty">There are no runs yet.</p>'
    states = [status for status in STATUSES if any(run.status == status for run in page.runs)]
    methods = sorted({str(run.values["method"]) for run in page.runs if run.values.get("method")})
    without = "" if any(run.history for run in page.runs) else "These are tables: no curves and no environment."
    return (
        '<div class="filters"><label>Filter <input id="filter" type="search" placeholder="any text, such as SGDM 0.05" '
        f'autocomplete="off"></label>{_choice("status", states)}{_choice("method", methods)}'
        '<button type="button" id="cell" hidden></button><span id="count" role="status"></span></div>'
        '<div class="scroll tall" tabindex="0" role="region" aria-label="All runs"><table id="runs"><thead></thead>'
        '<tbody></tbody></table></div><div class="pager"><button type="button" id="previous">Previous</button>'
        '<span id="place"></span><button type="button" id="next">Next</button></div>'
        + (f'<p class="empty">{without}</p>' if without else "")
        + '<section id="chosen" aria-live="polite"><h3>The chosen run</h3><p class="empty">Choose a run in the table, '
        "or a point of a figure.</p></section>"
    )


def _choice(name: str, words: Iterable[str]) -> str:
    options = "".join(f'<option value="{text(word)}">{text(word)}</option>' for word in words)
    return f'<label>{name.capitalize()} <select id="{name}"><option value="">all</option>{options}</select></label>'


def environment(page: Page) -> str:
    """The distinct machines and versions, with the number of runs of each."""
    groups = Counter(json.dumps(cleaned(dict(run.environment)), sort_keys=True) for run in page.runs if run.environment)
    if not groups:
        return '<p class="empty">These runs do not say what they ran on.</p>'
    machines = [(json.loads(words), runs) for words, runs in groups.most_common()]
    names = {name for machine, _ in machines for name in machine}
    order = [name for name in ENVIRONMENT if name in names] + sorted(names - set(ENVIRONMENT))
    rows = [
        (str(runs), *(DASH if machine.get(name) is None else text(machine[name]) for name in order))
        for machine, runs in machines
    ]
    return _table("environment", ("runs", *(name.replace("_", " ") for name in order)), rows)


def missing(page: Page) -> str:
    """What has not been measured, and what did not work."""
    parts = [
        _group(
            "Failed",
            "run",
            [f"{_run(r)}: {(r.note or 'no reason given').splitlines()[0]}" for r in _of(page, "failed")],
        ),
        _group("Running", "run", [f"{_run(r)}: {r.note or 'starting'}" for r in _of(page, "running")]),
        _group("Interrupted", "run", [f"{_run(r)}: goes on when asked for again" for r in _of(page, "interrupted")]),
        _group("Asked for by the claims", "cell", _asked(page)),
        _group("Blank in the heatmap", "cell", _blank(page)),
    ]
    return "".join(parts) or '<p class="empty">Nothing is missing.</p>'


def _of(page: Page, status: str) -> list[Run]:
    return [run for run in page.runs if run.status == status]


def _run(run: Run) -> str:
    names = ("lr", "weight_decay", "batch_size", "seed")
    knobs = cell({name: run.values[name] for name in names if run.values.get(name) is not None})
    return f"{run.id} ({', '.join(filter(None, (str(run.values.get('method') or ''), knobs)))})"


def _asked(page: Page) -> list[str]:
    by_cell: dict[str, list[str]] = {}
    for claim in page.analysis.claims if page.analysis else ():
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


def _group(title: str, noun: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{text(line)}</li>" for line in lines[:SHOWN])
    more = f"<li>and {len(lines) - SHOWN} more</li>" if len(lines) > SHOWN else ""
    opened = " open" if len(lines) <= 12 else ""
    return (
        f"<details{opened}><summary>{text(title)}: {count(len(lines), noun)}</summary><ul>{items}{more}</ul></details>"
    )


_NONE = ' class="none"'


def _table(name: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already; each names its column, for the narrow form in which rows are cards."""
    head = "".join(f'<th scope="col">{text(word)}</th>' for word in heads)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td data-head="{text(h)}"{_NONE if c == DASH else ""}>{c}</td>' for h, c in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table class="{name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
