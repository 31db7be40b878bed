"""The table of claims in docs/findings.md from the verdicts under ``results/``.

``python docs/make_claims_table.py`` writes its rows anew: run it after ``results/read.sh``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("resnet18-cifar100-public", "cifar100-memorised", "digits")
CLAIMS = (
    "ordering.sgd>sgd_wd",
    "ordering.sgd_wd>sgdm_wd",
    "inverse.profile",
    "inverse.direction",
    "inverse.sufficiency",
    "batch.linear_rule",
    "batch.fixed_lr",
)

OPTIMUM = r"(at least |at most )?([\d.e-]+)(?: \(([\d.e-]+) to ([\d.e-]+)\))?"
LEADS = {"inverse.profile": "exponent ", "batch.linear_rule": "exponent ", "batch.fixed_lr": "exponent "}
LEADS |= {"inverse.direction": "k = ", "inverse.sufficiency": "loses "}


def place(bound: str, value: str, low: str, high: str) -> str:
    """An optimum as it stands in the reason of an ordering: ``0.09 [0.036, 0.149]``, ``0.498 or more``."""
    if bound:
        return f"{value} or {'more' if bound == 'at least ' else 'less'}"
    return f"{value} [{low}, {high}]"


def measured(claim: dict[str, Any]) -> str:
    """What was measured, in English."""
    if claim["id"].startswith("ordering"):
        both = re.match(rf"\S+ {OPTIMUM} against \S+ {OPTIMUM}", claim["reason"])
        if both is None:
            return "not bounded"
        return f"{place(*both.groups()[:4])} against {place(*both.groups()[4:])}"
    low, high = claim["interval"] or (None, None)
    if low is None and high is None:
        return "noise too large to tell" if "noise too large" in claim["reason"] else "too few optima inside the grid"
    if claim["estimate"] is None or None in (low, high):
        return f"{low:.0f} or more" if high is None else f"{high:.2f} or less"
    return f"{LEADS[claim['id']]}{claim['estimate']:.2f} [{low:.2f}, {high:.2f}]"


def cell(claim: dict[str, Any]) -> str:
    verdict = claim["verdict"]
    return f"{verdict if verdict == 'inconclusive' else f'**{verdict}**'}: {measured(claim)}"


def main() -> None:
    found = [json.loads((ROOT / "results" / name / "verdicts.json").read_text())["claims"] for name in SOURCES]
    rows = [[cell(next(c for c in claims if c["id"] == claim)) for claims in found] for claim in CLAIMS]
    page = ROOT / "docs" / "findings.md"
    lines = page.read_text().split("\n")
    (start,) = (i for i, line in enumerate(lines) if line.startswith("|") and "[1] |" in line)
    for i, row in enumerate(rows, start + 2):
        lines[i] = " | ".join(lines[i].split(" | ")[:2]) + f" | {' | '.join(row)} |"
    page.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
