"""The tables of claims in docs/findings.md from the verdicts under ``results/``.

``python docs/make_claims_table.py`` writes their rows anew: run it after ``results/read.sh``.
"""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from interplay.study.claims import PROGRAMME, Claim
from interplay.study.files import claims_of

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


EVERYWHERE = {
    "resnet18-cifar100-public": "ResNet-18, CIFAR-100, published by others",
    "cifar100-memorised": "ResNet-8, 2,000 images of CIFAR-100, 40 epochs, test loss",
    "cifar10-noisy": "ResNet-8, 2,000 images of CIFAR-10 with wrong labels, 30 epochs, test loss",
    "cifar10-adam": "ResNet-8, 5,000 images of CIFAR-10, Adam without decay (its best rate: below)",
    "cifar10-adamw": "ResNet-8, 2,000 images of CIFAR-10 with wrong labels, AdamW, test loss",
    "cifar100-small": "ResNet-8, 5,000 images of CIFAR-100, 20 epochs",
    "hyper-memorised/hyper_resnet": "hypernetwork, 500 images of CIFAR-10, test loss",
    "hyper-memorised/wide_resnet": "its twin with stored kernels",
    "hyper-small/hyper_resnet": "hypernetwork, 2,000 images of CIFAR-10",
    "hyper-small/wide_resnet": "its twin with stored kernels",
    "digits": "MLP, digits with wrong labels",
    "digits-decay-forms/sgd": "the same, coupled decay alone",
    "digits-decay-forms/sgdw": "the same, decoupled decay",
    "digits-decay-forms/sgds": "the same, stable decay",
    "digits-schedules": "the same, eight schedules at one peak rate",
    "digits-adam": "the same, AdamW",
    "digits-sklearn": "scikit-learn's MLPClassifier, digits with wrong labels",
    "digits-pytorchcv": "ResNet-8 of pytorchcv, digits with wrong labels",
}
"""Folders under results/, with the table or the network of each where there are several; and what was trained."""

ALL_CLAIMS = (*CLAIMS, "batch.step_matched", "schedule.sum_of_rates", "duration.horizon")


def everywhere() -> list[str]:
    """Rows of the table of all claims on all networks."""
    return [f"| {' | '.join([words, *_spent(name), *_short(name)])} |" for name, words in EVERYWHERE.items()]


def _short(name: str) -> list[str]:
    folder, _, part = name.partition("/")
    file = ROOT / "results" / folder / f"verdicts{f'-{part}' if part else ''}.json"
    claims = {claim["id"]: claim for claim in json.loads(file.read_text())["claims"]}
    for own in _stated(folder):
        claims.update((known.id, claims[own.id]) for known in PROGRAMME if own.repeats(known))
    return [_in_short(claims.get(name)) for name in ALL_CLAIMS]


def _stated(folder: str) -> list[Claim]:
    """What a study states under names of its own."""
    study = ROOT / "studies" / f"{folder}.toml"
    return [claim for claim in claims_of(study) if isinstance(claim, Claim)] if study.exists() else []


def _in_short(claim: dict[str, Any] | None) -> str:
    if claim is None or claim["verdict"] == "not asked":
        return ""
    word = {"supported": "**supported**", "refuted": "**refuted**", "inconclusive": "open"}[claim["verdict"]]
    estimate = claim["estimate"]
    if estimate is None or abs(estimate) > 100:
        return word
    if claim["id"].startswith("ordering"):
        return f"{word} {10**estimate:.2g} times"
    return f"{word} {round(estimate, 2) + 0.0:.2f}"


def _spent(name: str) -> list[str]:
    """Runs, and hours of a core that they took; a dash where that is not known."""
    folder, _, part = name.partition("/")
    one = ROOT / "results" / folder / f"results-{part}.csv"
    tables = [one] if part and one.exists() else sorted((ROOT / "results" / folder).glob("results.csv"))
    if not tables:
        return [str(json.loads((ROOT / "results" / folder / "verdicts.json").read_text())["runs"]), "-"]
    rows = [row for table in tables for row in csv.DictReader(table.read_text().splitlines())]
    if part and not one.exists():
        rows = [row for row in rows if row["optimizer"] == part]
    hours = sum(float(row["wall_seconds"] or 0) for row in rows) / 3600
    return [str(len(rows)), f"{hours:.2f}" if hours < 1 else f"{hours:.1f}"]


def main() -> None:
    found = [json.loads((ROOT / "results" / name / "verdicts.json").read_text())["claims"] for name in SOURCES]
    rows = [[cell(next(c for c in claims if c["id"] == claim)) for claims in found] for claim in CLAIMS]
    page = ROOT / "docs" / "findings.md"
    lines = page.read_text().split("\n")
    (start,) = (i for i, line in enumerate(lines) if line.startswith("|") and "[1] |" in line)
    for i, row in enumerate(rows, start + 2):
        lines[i] = " | ".join(lines[i].split(" | ")[:2]) + f" | {' | '.join(row)} |"
    (start,) = (i for i, line in enumerate(lines) if line.startswith("| trained |"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    lines[start + 2 : end] = everywhere()
    page.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
