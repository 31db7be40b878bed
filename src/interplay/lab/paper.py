"""Tables for a paper: verdicts, optima, best settings, noise and price, and citations of what the method rests on."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from interplay.analysis.best import Best, best_settings
from interplay.analysis.conclude import Analysis, network_words, tabulate
from interplay.analysis.phrases import interval, place
from interplay.lab.gathering import gather
from interplay.lab.read import analyze
from interplay.page.content import Run

Format = Literal["latex", "markdown", "csv"]
NONE = "-"


@dataclasses.dataclass(frozen=True)
class Block:
    """One table, all words: its name, what its numbers mean, its head and its rows."""

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(inputs: Sequence[str | Path], metric: str = "final_test_acc") -> tuple[Block, ...]:
    """The tables of ``inputs``; those without a row are left out.

    Args:
        inputs: output folders and CSV files, analysed together as repeated batches.
        metric: column to analyse.

    Raises:
        InputError: an input cannot be understood, or holds no run that ended; names file and line.
    """
    analysis = analyze(inputs, metric)
    observations, runs = gather(inputs, metric)
    best = best_settings(tabulate(observations)[0])
    found = (_verdicts(analysis), _optima(analysis), _best(best, analysis.metric), _noise(analysis), _price(runs))
    return tuple(block for block in found if block.rows)


def written(blocks: Iterable[Block], form: Format) -> str:
    """The tables as LaTeX (with ``booktabs``), Markdown, or CSV with the name of the table in the first column."""
    if form == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for block in blocks:
            writer.writerow(["table", *block.head])
            writer.writerows([block.name, *row] for row in block.rows)
        return text.getvalue().rstrip("\n")
    return "\n\n".join(map(_latex if form == "latex" else _markdown, blocks))


def citations() -> str:
    """What the method rests on, as BibTeX."""
    return resources.files("interplay.lab").joinpath("sources.bib").read_text(encoding="utf-8").rstrip("\n")


def _verdicts(analysis: Analysis) -> Block:
    rows = [
        (claim.id, claim.verdict, _number(claim.estimate), interval(claim.interval, ".2f") or NONE)
        for claim in analysis.asked
    ]
    return Block(
        "verdicts",
        f"Verdicts by {analysis.metric} of {analysis.runs} runs; intervals are 90 %.",
        ("claim", "verdict", "estimate", "90 % interval"),
        tuple(rows),
    )


def _optima(analysis: Analysis) -> Block:
    rows = [
        (
            o.of,
            _at(o.given),
            place(o),
            interval(o.interval, ".2g") or NONE,
            o.status,
        )
        for o in analysis.optima
    ]
    return Block(
        "optima",
        f"Optima by {analysis.metric}; an open one has no estimate.",
        ("optimum of", "at", "estimate", "90 % interval", "status"),
        tuple(rows),
    )


def _at(knobs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in knobs.items())


def _best(found: Sequence[Best], metric: str) -> Block:
    rows = [
        (
            network_words(each.network),
            _at(each.setting),
            f"{each.mean:.2f}" if each.error is None else f"{each.mean:.2f} ± {each.error:.2f}",
            str(each.runs),
            f"{NONE if each.alike is None else each.alike} of {each.cells - 1}",
        )
        for each in found
    ]
    return Block(
        "best",
        f"Best settings measured: {metric}, mean ± standard error; the best of many is a little too good.",
        ("network", "setting", metric, "runs", "others within the noise"),
        tuple(rows),
    )


def _noise(analysis: Analysis) -> Block:
    rows = [
        (
            network_words(network),
            f"{noise.sd_best:.2g}",
            f"{noise.sd_worst:.2g}",
            str(noise.dof),
            "scatter about smooth curves" if noise.residual else "repetitions",
        )
        for network, noise in analysis.noises
        if noise is not None
    ]
    return Block(
        "noise",
        f"Standard deviation of one run's {analysis.metric} in the best and the worst repeated cell.",
        ("network", "sd, best", "sd, worst", "degrees of freedom", "from"),
        tuple(rows),
    )


def _price(runs: Sequence[Run]) -> Block:
    rows = []
    for status in dict.fromkeys(run.status for run in runs):
        times = [run.values.get("wall_seconds") for run in runs if run.status == status]
        known = [time for time in times if time is not None]
        rows.append((status, str(len(times)), f"{sum(known) / 3600:.2f}" if len(known) == len(times) else NONE))
    return Block("price", "Runs and their hours, as measured run by run.", ("status", "runs", "hours"), tuple(rows))


def _number(value: float | None) -> str:
    return NONE if value is None or not math.isfinite(value) else f"{value:.2f}"


def _markdown(block: Block) -> str:
    lines = [block.head, tuple("---" for _ in block.head), *block.rows]
    body = "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in lines)
    return f"{block.caption}\n\n{body}"


def _latex(block: Block) -> str:
    def line(words: Sequence[str]) -> str:
        return " & ".join(map(escaped, words)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(block.caption)}}}",
            rf"\label{{tab:{block.name}}}",
            rf"\begin{{tabular}}{{{'l' * len(block.head)}}}",
            r"\toprule",
            line(block.head),
            r"\midrule",
            *map(line, block.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "±": r"$\pm$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "η": r"$\eta$",
        "λ": r"$\lambda$",
        "μ": r"$\mu$",
        "√": r"$\surd$",
        "<": r"$<$",
        ">": r"$>$",
        "−": r"$-$",
    }
)


def escaped(text: str) -> str:
    """``text`` as LaTeX prints it; signs of mathematics stand in math mode."""
    return text.translate(LATEX)
