"""What the README says works as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 5
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[0] not in ("make", ".")])
def test_every_command_is_understood(command: str, reach: Callable[[str], list[object]]) -> None:
    assert reach(command)


def test_quick_commands_run_as_printed(tmp_path: Path) -> None:
    quick = [c for c in commands() if c.startswith(("interplay run --dataset digits", "interplay status"))]
    assert len(quick) == 2
    for command in sorted(quick):
        words = shlex.split(command)[1:]
        subprocess.run([sys.executable, "-m", "interplay.cli", *words], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "outputs" / "results" / "results.csv").is_file()


def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    (script,) = blocks("python")
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if re.match(r"0\.\d+ 0\.\d+ \d+\.\d+$", line)]
    assert len(lines) == 35


def test_the_study_file_of_the_documentation_loads(tmp_path: Path) -> None:
    from interplay.study.files import load

    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "studies.md").read_text(), flags=re.DOTALL)
    (tmp_path / "mine.toml").write_text(text)
    assert len(load(tmp_path / "mine.toml").specs) == 2 * (16 + 2 - 1)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("target", [c.split()[1] for c in commands() if c.startswith("make ")])
def test_make_targets_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
