"""The shell scripts find an environment that has the lab, wherever they lie and wherever they are started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = {
    "run_all_experiments.sh": "run_all_experiments.py",
    "run_hypernetworks_gpu.sh": "-m interplay.cli.hypernetworks",
}


def stand_in(path: Path, has_lab: bool) -> None:
    """A ``python`` that says its own path and what it was asked to run; ``-c`` asks it whether it has the lab."""
    path.parent.mkdir(parents=True, exist_ok=True)
    code = 0 if has_lab else 1
    path.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit {code}\necho "{path}"\nprintf "<%s>\\n" "$@"\n')
    path.chmod(0o755)


@pytest.fixture(params=SCRIPTS)
def script(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Path:
    """A copy in a folder with a space in its name."""
    here = tmp_path / "my lab"
    here.mkdir()
    return Path(shutil.copy(root / request.param, here))


def start(script: Path, *words: str, active: bool | None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it from another folder with an active environment that has the lab, has not, or (``None``) is not there."""
    tools = script.parent.parent / "base" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    for name in ("bash", "dirname", "readlink"):
        if not (tools / name).exists():
            (tools / name).symlink_to(str(shutil.which(name)))
    if active is not None:
        stand_in(tools / "python", active)
    away = script.parent.parent / "away"
    away.mkdir(exist_ok=True)
    return subprocess.run(
        [str(script), *words],
        cwd=away,
        env={"PATH": str(tools), "CONDA_PREFIX": str(tools.parent), **environment},
        capture_output=True,
        text=True,
    )


def test_an_active_environment_that_has_the_lab_is_used(script: Path) -> None:
    stand_in(script.parent / ".venv" / "bin" / "python", has_lab=True)
    done = start(script, "--epochs", "3", "a b", active=True)
    used, *words = done.stdout.splitlines()
    assert used.endswith("base/bin/python")
    assert words[-3:] == ["<--epochs>", "<3>", "<a b>"]
    said = " ".join(word.strip("<>") for word in words[:-3])
    assert said.endswith(SCRIPTS[script.name])


@pytest.mark.parametrize("active", [False, None])
def test_otherwise_the_one_of_the_checkout_is(script: Path, active: bool | None) -> None:
    stand_in(script.parent / ".venv" / "bin" / "python", has_lab=True)
    done = start(script, active=active, CDPATH=str(script.parent.parent))
    assert done.stdout.splitlines()[0] == str(script.parent / ".venv/bin/python")


def test_a_link_to_the_script_finds_its_checkout(script: Path) -> None:
    stand_in(script.parent / ".venv" / "bin" / "python", has_lab=True)
    (script.parent.parent / "bin").mkdir()
    link = script.parent.parent / "bin" / script.name
    link.symlink_to(script)
    done = start(link, active=False)
    assert done.stdout.splitlines()[0] == str(script.parent / ".venv/bin/python")


@pytest.mark.parametrize("broken", [False, True])
def test_where_none_has_the_lab_one_line_says_how_to_install_it(script: Path, broken: bool) -> None:
    if broken:
        stand_in(script.parent / ".venv" / "bin" / "python", has_lab=False)
    done = start(script, active=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"make -C '{script.parent}' venv" in line


def test_a_folder_named_as_the_package_is_not_taken_for_it(script: Path, tmp_path: Path) -> None:
    """Started in the parent of a clone that is called ``interplay``, by a real Python without the lab."""
    (tmp_path / "away" / "interplay").mkdir(parents=True)
    (tmp_path / "away" / "interplay" / "__init__.py").touch()
    (tmp_path / "away" / "interplay" / "cli.py").touch()
    bare = tmp_path / "base" / "bin"
    bare.mkdir(parents=True)
    (bare / "python").write_text(f'#!/bin/sh\nexec "{os.path.realpath(sys.executable)}" -S "$@"\n')
    (bare / "python").chmod(0o755)
    stand_in(script.parent / ".venv" / "bin" / "python", has_lab=True)
    done = start(script, active=None)
    assert done.stdout.splitlines()[:1] == [str(script.parent / ".venv/bin/python")], done.stderr


@pytest.mark.parametrize(
    "name",
    ["main", "run_experiments", "plot_results", "run_all_experiments", "check_gpu", "test_multi_gpu"],
)
def test_a_python_without_the_lab_says_so_in_one_line(name: str, root: Path, tmp_path: Path) -> None:
    bare = [os.path.realpath(sys.executable), "-S", str(root / f"{name}.py"), "--help"]
    done = subprocess.run(bare, cwd=tmp_path, env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {bare[0]}: No module named 'interplay'; ")
    assert "pip install -e ." in line
