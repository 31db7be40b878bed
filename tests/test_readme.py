"""What the README says works as printed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line]


class Nothing:
    """An analysis of nothing."""

    def to_dict(self) -> dict[str, object]:
        return {}


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 5
    assert len(blocks("python")) == 1


@pytest.mark.parametrize("command", [c for c in commands() if c.split()[0] not in ("make", ".")])
def test_every_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command goes to the point where it would train; then its call into the lab is there to be looked at."""
    from interplay import cli, documented, lab
    from interplay.analysis import verify as verify_module
    from interplay.analysis import words as words_module

    asked: list[object] = []
    for name in ("run", "run_study", "run_studies", "dry_run", "show_status", "retry", "rebuild", "analyze"):
        monkeypatch.setattr(lab, name, lambda *args, name=name, **words: asked.append(name) or [])
    monkeypatch.setattr(documented.PlotFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(documented.AllExperimentsFlags, "call", lambda self: asked.append(self) or 0)
    monkeypatch.setattr(verify_module, "verify", lambda studies: asked.append(studies) or [])
    monkeypatch.setattr(words_module, "report", str)
    if "--json" in command:
        monkeypatch.setattr(lab, "analyze", lambda *args: asked.append(args) or Nothing())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    program, *words = shlex.split(command)
    calls = {
        "main.py": cli.run_main,
        "run_experiments.py": documented.run_experiments,
        "run_all_experiments.py": documented.run_all_experiments,
        "plot_results.py": documented.plot_results,
        "./run_all_experiments.sh": documented.run_all_experiments,
        "interplay": cli.main,
    }
    if program == "python":
        program, *words = words
    assert program == "interplay" or (ROOT / program).is_file()
    assert calls[program](words) == 0
    assert asked


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
    assert (ROOT / target).exists()


@pytest.mark.parametrize("target", [c.split()[1] for c in commands() if c.startswith("make ")])
def test_make_targets_exist(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)
