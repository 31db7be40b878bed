"""What the README says works as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 5
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[0] in ("interplay", "python")])
def test_flags_of_every_command_are_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse and resolve each command to the point where it would load data."""
    from interplay import cli, lab

    asked: list[object] = []
    monkeypatch.setattr(lab, "run", lambda spec, settings: asked.append(spec))
    program, *words = shlex.split(command)
    if program == "python":
        assert words[0] == "main.py"
        assert cli.run_main(words[1:]) == 0
    else:
        assert cli.main(words) == 0
    assert len(asked) == 1


def test_quick_commands_run_as_printed(tmp_path: Path) -> None:
    quick = [c for c in commands() if c.startswith("interplay run --dataset digits")]
    assert quick
    for command in quick:
        words = shlex.split(command)[1:]
        subprocess.run([sys.executable, "-m", "interplay.cli", *words], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "outputs" / "results" / "results.csv").is_file()


def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    (script,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].startswith("finished ")


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert (Path(__file__).resolve().parents[1] / target).exists()


@pytest.mark.parametrize("target", [c.split()[1] for c in commands() if c.startswith("make ")])
def test_make_targets_exist(target: str) -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
