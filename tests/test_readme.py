"""What the README says works as printed."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interplay.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FINDINGS = (ROOT / "docs" / "findings.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 5
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[0] not in ("make", ".", "git")])
def test_every_command_is_understood(command: str, reach: Callable[[str], list[object]]) -> None:
    assert reach(command)


def test_quick_commands_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = [c for c in commands() if c.startswith(("interplay run --dataset digits", "interplay status"))]
    assert len(quick) == 2
    for command in sorted(quick):
        assert main(shlex.split(command)[1:]) == 0
    assert (tmp_path / "outputs" / "results" / "results.csv").is_file()


@pytest.mark.slow  # its workers import torch, and train 35 networks
def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    (script,) = blocks("python")
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if re.match(r"0\.\d+ 0\.\d+ \d+\.\d+$", line)]
    assert len(lines) == 35


def test_the_study_file_of_the_documentation_loads(tmp_path: Path) -> None:
    from interplay.study.files import load

    text, claims = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "studies.md").read_text(), flags=re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    assert len(load(tmp_path / "mine.toml").specs) == 2 * (16 + 2 - 1)
    (tmp_path / "mine.toml").write_text(text + claims)
    stated = load(tmp_path / "mine.toml").own_claims()
    assert [claim.kind for claim in stated] == ["exponent", "exponent", "exponent", "ordering", "direction"]


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("target", [c.split()[1] for c in commands() if c.startswith("make ")])
def test_make_targets_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_price_of_every_full_scale_study_is_what_its_file_asks_for(name: str) -> None:
    from interplay.study.files import load
    from interplay.study.presets import documented_sets
    from interplay.study.study import combined

    row = re.compile(r"^\| ([^|]+) \| [^|]+ \| (\d+) \| ([\d,]+) \| (\d+\.\d) \|$", flags=re.MULTILINE)
    prices = row.findall((ROOT / name).read_text())
    wide = {f"`studies/{path.name}`" for path in (ROOT / "studies").glob("*-wide.toml")}
    assert wide < {study for study, *_ in prices}
    for study, runs, epochs, hours in prices:
        found = load(ROOT / study.strip("`")) if study.startswith("`") else combined(documented_sets())
        assert int(runs) == len(found.specs)
        assert int(epochs.replace(",", "")) == sum(spec.epochs for spec in found.specs)
        assert float(hours) == round(4 * sum(spec.epochs for spec in found.specs) / 3600, 1)


@pytest.mark.slow  # 54 runs
def test_the_study_of_the_readme_gives_the_verdict_that_it_prints(tmp_path: Path) -> None:
    (study,), (printed,) = blocks("toml"), blocks("text")
    (tmp_path / "mine.toml").write_text(study)
    for words in (["study", "mine.toml", "--quiet"], ["report"]):
        done = subprocess.run(
            [sys.executable, "-m", "interplay", *words], cwd=tmp_path, capture_output=True, text=True, check=True
        )
    said, shown = (re.findall(r"^(\w+) +Is the best", text, re.MULTILINE) for text in (done.stdout, printed))
    assert said == shown
    assert printed.splitlines()[0] in done.stdout


@pytest.mark.parametrize(("name", "start"), [("README.md", "## Found so far"), ("README.zh-CN.md", "## 目前的发现")])
def test_every_number_of_the_findings_in_short_is_in_verdicts(name: str, start: str) -> None:
    text = (ROOT / name).read_text().split(start)[1].split("\n## ")[0]
    said = set(re.findall(r"-?\d+\.\d+", text))
    known: set[str] = set()
    spoken_of = {*CLAIMS.values(), "duration.horizon"}
    for source in SOURCES:
        found = json.loads((ROOT / "results" / source / "verdicts.json").read_text())
        known |= numbers_of([claim for claim in found["claims"] if claim["id"] in spoken_of])
    assert len(said) >= 12
    assert said <= known


SOURCES = ("resnet18-cifar100-public", "cifar100-memorised", "digits")
"""The folders under ``results/`` that the columns of the claims table come from."""

CLAIMS = {
    "best rates, without and with decay": "ordering.sgd>sgd_wd",
    "best rates, without and with momentum": "ordering.sgd_wd>sgdm_wd",
    "inverse coupling": "inverse.profile",
    "contours along ηλ = const": "inverse.direction",
    "ηλ alone decides": "inverse.sufficiency",
    "batch coupling": "batch.linear_rule",
    "batch coupling at a fixed rate": "batch.fixed_lr",
}


def numbers_of(found: object) -> set[str]:
    """Every number of a JSON value, as a text may print it."""
    if isinstance(found, dict):
        return set().union(*map(numbers_of, found.values())) if found else set()
    if isinstance(found, list):
        return set().union(*map(numbers_of, found)) if found else set()
    if isinstance(found, int | float) and not isinstance(found, bool):
        return {format(found, form) for form in (".2g", ".3g", ".2f", ".3f", ".0f")}
    return set()


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_number_of_the_claims_table_is_in_the_verdicts_that_it_names(claim: str) -> None:
    (line,) = [line for line in FINDINGS.splitlines() if line.startswith(f"| {claim} |")]
    _, _, _, *cells, _ = (cell.strip() for cell in line.split("|"))
    assert len(cells) == len(SOURCES)
    for cell, source in zip(cells, SOURCES, strict=True):
        found = json.loads((ROOT / "results" / source / "verdicts.json").read_text())
        verdict = next(each["verdict"] for each in found["claims"] if each["id"] == CLAIMS[claim])
        assert cell.replace("*", "").startswith(f"{verdict}:"), (source, cell)
        said = set(re.findall(r"-?\d+(?:\.\d+)?", cell.replace("R²", "")))
        assert said <= numbers_of(found["claims"]) | numbers_of(found["optima"]), (source, cell)


def test_the_table_of_all_networks_is_what_the_verdicts_say() -> None:
    rows = runpy.run_path(str(ROOT / "docs" / "make_claims_table.py"))["everywhere"]()
    assert len(rows) >= 12
    assert "\n".join(rows) in FINDINGS
    # Every folder with verdicts has its rows, but the one that has just begun to be filled.
    folders = {path.parent.name for path in (ROOT / "results").glob("*/verdicts*.json")} - {"resnet18-cifar100"}
    names = runpy.run_path(str(ROOT / "docs" / "make_claims_table.py"))["EVERYWHERE"]
    assert {name.split("/")[0] for name in names} == folders


def test_the_table_is_checked_in_full() -> None:
    stands = FINDINGS.split("## What stands now")[1].split("\n## ")[0]
    rows = [line for line in stands.splitlines() if re.match(r"\|.*(supported|refuted|inconclusive)", line)]
    claims = [line.split("|")[1].strip() for line in rows]
    assert claims == list(CLAIMS)
