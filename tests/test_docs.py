"""The documentation works as printed: commands are understood, scripts run, studies load, the tutorial is walked."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from interplay.cli.main import main
from interplay.study.files import load

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
ABOUT_THE_MACHINE = (
    {".", "cd", "mkdir", "make", "pip", "tail", "wandb", "tensorboard"}
    | {"sbatch", "squeue", "scancel", "sacct", "scontrol", "srun", "ray"}
)  # fmt: skip
"""Programs that are not this project's: named here, so that a misspelt one is noticed."""


class Block(NamedTuple):
    language: str
    title: str | None
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for line, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE):
        language, _, options = line.strip().partition(" ")
        title = re.search(r'title="([^"]+)"', options)
        yield Block(language, title[1] if title else None, text)


def commands(page: Path) -> list[str]:
    lines = "".join(b.text for b in blocks(page) if b.language == "bash").replace("\\\n", " ").splitlines()
    return [line for line in (raw.split("  #")[0].split(" # ")[0].strip() for raw in lines) if line]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def write_files(page: Path, folder: Path) -> None:
    for block in blocks(page):
        if block.title and block.language == "toml":
            (folder / block.title).write_text(block.text)


OURS = [(page, c) for page in PAGES for c in commands(page) if c.split()[0] not in ABOUT_THE_MACHINE]


@pytest.mark.parametrize(("page", "command"), OURS, ids=[f"{page.stem}: {c}" for page, c in OURS])
def test_every_command_is_understood(
    page: Path, command: str, tmp_path: Path, reach: Callable[[str], list[object]]
) -> None:
    write_files(page, tmp_path)
    assert reach(command)


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {c.split()[1] for page in PAGES for c in commands(page) if c.startswith("make ")}
    assert {"venv", "docs"} <= targets
    assert {t for t in targets if not re.search(rf"^{t}:", makefile, flags=re.MULTILINE)} == set()


STUDIES = [(page, b) for page in PAGES for b in blocks(page) if b.language == "toml"]


@pytest.mark.parametrize(("page", "block"), STUDIES, ids=[named(page) for page, _ in STUDIES])
def test_every_study_file_loads(page: Path, block: Block, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(block.text)
    assert load(tmp_path / "study.toml").specs


@pytest.fixture
def small_results(tmp_path: Path) -> None:
    """``outputs/`` with a few short runs in the folder of the test."""
    study = (
        '[base]\ndataset = "digits"\nmodel = "mlp"\nepochs = 2\n[[grid]]\nlr = [0.1, 0.2]\nweight_decay = [0, 0.01]\n'
    )
    (tmp_path / "small.toml").write_text(f"seeds = [1, 2]\n{study}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main(["study", "small.toml", "--executor", "inline"]) == 0


SCRIPTS = [page for page in PAGES if page.stem != "tutorial" and any(b.language == "python" for b in blocks(page))]


@pytest.mark.parametrize("page", SCRIPTS, ids=named)
def test_python_runs_as_printed(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All blocks of a page as one script, since later ones use names of earlier ones."""
    script = "\n".join(block.text for block in blocks(page) if block.language == "python")
    if '"outputs' in script:
        request.getfixturevalue("small_results")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if page.stem == "python":
        assert "inverse.profile: inconclusive" in done.stdout
        assert "momentum must be in [0, 1), not 1.0" in done.stdout


def test_the_study_of_the_python_page_takes_six_lines() -> None:
    first = next(b.text for b in blocks(ROOT / "docs" / "python.md"))
    assert len([line for line in first.splitlines() if line and not line.startswith("from ")]) == 6


def test_own_images_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The file that the page makes, and its first command."""
    page = ROOT / "docs" / "dataset.md"
    script = next(b.text for b in blocks(page) if b.language == "python")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    words = shlex.split(commands(page)[0])
    assert words[:2] == ["interplay", "run"]
    monkeypatch.chdir(tmp_path)
    assert main([*words[1:], "--threads", "1"]) == 0
    accuracy = re.search(r"finished: test accuracy ([\d.]+) %", capsys.readouterr().out)
    assert accuracy is not None
    assert float(accuracy[1]) > 60  # chance is 33


@pytest.mark.slow
def test_the_tutorial_runs_as_printed(tmp_path: Path) -> None:
    """Every block in its order, in a fresh folder; what is printed is checked where it does not depend on rounding."""
    folder, said = tmp_path, dict[str, str]()
    for block in blocks(ROOT / "docs" / "tutorial.md"):
        if block.language == "toml":
            assert block.title is not None
            (folder / block.title).write_text(block.text)
        elif block.language == "python":
            table = subprocess.run([sys.executable, "-c", block.text], cwd=folder, capture_output=True, text=True)
            assert re.search(r"^0\.40 ( +[\d.NaN]+){6}$", table.stdout, flags=re.MULTILINE), table
        for line in block.text.splitlines() if block.language == "bash" else ():
            program, *words = shlex.split(line)
            if program == "mkdir":
                (folder / words[0]).mkdir()
            elif program == "cd":
                folder = folder / words[0]
            elif program == "interplay":
                done = subprocess.run(
                    [sys.executable, "-m", "interplay.cli.main", *words], cwd=folder, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                said[line] = said.get(line, "") + done.stderr + done.stdout
    accuracy = re.search(r"test accuracy ([\d.]+) % \(best epoch ([\d.]+) %\)", "".join(said.values()))
    assert accuracy is not None
    assert float(accuracy[1]) < float(accuracy[2]) - 5
    assert "20 runs: 0 done, 20 missing" in said["interplay study my-study.toml --dry_run"]
    assert "my-study: 20 runs committed" in said["interplay study my-study.toml"]
    assert "21 finished" in said["interplay status"]
    assert "80 runs: 20 done, 60 missing" in said["interplay study my-study.toml --seeds 42 43 44 45"]
    first, second = said["interplay analyze"].split("81 runs in 4 repetitions")
    assert "since nothing was repeated" in " ".join(first.split())
    assert re.search(r"inverse\.profile +refuted", second)
    page = folder / "outputs" / "report.html"
    assert page.stat().st_size > 1e6
    assert (folder / "outputs" / "plots" / "exp2_eta_lambda_heatmap.png").is_file()


# -- results ----------------------------------------------------------------------------------------------------------

REPRODUCE = sorted((ROOT / "results").glob("*/reproduce.sh"))


def test_whatever_has_figures_has_a_script_that_makes_them() -> None:
    folders = {path.parent for path in (ROOT / "results").glob("*/*.png")}
    assert folders
    assert folders <= {script.parent for script in REPRODUCE}


@pytest.mark.parametrize("script", REPRODUCE, ids=named)
def test_every_command_that_reproduces_results_is_understood(
    script: Path, tmp_path: Path, reach: Callable[[str], list[object]]
) -> None:
    """The script runs, beside stand-ins for all programs that would do something; then each call is parsed."""
    here = tmp_path / "results" / script.parent.name
    here.mkdir(parents=True)
    for file in (*script.parent.glob("*.sh"), *script.parent.glob("*.csv")):
        shutil.copy(file, here)
    shutil.copy(ROOT / "results" / "read.sh", here.parent)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("interplay", "python", "cp", "tar", "git", "sha256sum"):
        (tools / name).write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >> "$CALLS"\n')
        (tools / name).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "CALLS": str(calls), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", str(here / script.name)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    asked = [line for line in calls.read_text().splitlines() if line.startswith("interplay ")]
    assert any(line.startswith("interplay analyze") for line in asked)
    for line in asked:
        assert reach(line)


PUBLIC = ROOT / "results" / "resnet18-cifar100-public"


SUMS = {name: digest for digest, name in map(str.split, (PUBLIC / "SHA256SUMS").read_text().splitlines())}


def test_no_table_of_others_is_in_the_repository_and_the_source_of_each_is_named() -> None:
    assert list(PUBLIC.glob("*.csv")) == []
    readme, fetch = (PUBLIC / "README.md").read_text(), (PUBLIC / "fetch.sh").read_text()
    assert len(SUMS) == 3
    for name, digest in SUMS.items():
        (source,) = re.findall(rf"^\| `([^`]+)` \| `{name}` \| {digest} \|$", readme, flags=re.MULTILINE)
        assert f'"$commit:{source}" > {name}\n' in fetch


@pytest.mark.parametrize("name", SUMS)
def test_the_sums_are_those_of_the_published_tables(name: str, public_tables: Path) -> None:
    assert hashlib.sha256((public_tables / name).read_bytes()).hexdigest() == SUMS[name]


def test_tables_other_than_the_published_ones_are_not_analysed(tmp_path: Path) -> None:
    """Nothing is overwritten with verdicts on something else."""
    here = tmp_path / "results" / PUBLIC.name
    here.mkdir(parents=True)
    for name in ("reproduce.sh", "SHA256SUMS", "verdicts.txt"):
        shutil.copy(PUBLIC / name, here)
    for name in SUMS:
        (tmp_path / name).write_text("method,batch_size\n")
    done = subprocess.run(["bash", str(here / "reproduce.sh"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "resnet18_cifar100_seed123.csv: FAILED" in done.stdout
    assert (here / "verdicts.txt").read_text() == (PUBLIC / "verdicts.txt").read_text()


# -- README in Chinese ------------------------------------------------------------------------------------------------


def without_comments(text: str) -> list[str]:
    lines = (re.split(r"(?:^|\s+)# ", line)[0].rstrip() for line in text.splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("language", ["bash", "python"])
def test_the_chinese_readme_has_the_same_commands(language: str) -> None:
    ours, theirs = (
        [without_comments(b.text) for b in blocks(ROOT / name) if b.language == language]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert ours == theirs
    assert ours


def test_the_chinese_readme_has_the_same_numbers() -> None:
    """Of the tables: claims and sources; a number that changes in one must change in the other."""
    ours, theirs = (
        [re.findall(r"\d+(?:\.\d+)?", line) for line in (ROOT / name).read_text().splitlines() if line.startswith("|")]
        for name in ("README.md", "README.zh-CN.md")
    )
    assert ours == theirs


def test_the_chinese_readme_has_the_same_pictures_and_pages() -> None:
    ours, theirs = (
        sorted(set(re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())) - {"README.md", "README.zh-CN.md"})
        for name in ("README.md", "README.zh-CN.md")
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["README.zh-CN.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
    assert [t for t in targets if not t.startswith("https://") and not (ROOT / t).exists()] == []


# -- the site ---------------------------------------------------------------------------------------------------------


def test_the_citation_names_this_version() -> None:
    from interplay import __version__

    text = (ROOT / "CITATION.cff").read_text()
    assert text.startswith("cff-version: 1.2.0\n")
    assert f"\nversion: {__version__}\n" in text


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_needs_no_network(tmp_path: Path) -> None:
    if shutil.which("mkdocs", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("mkdocs is not installed: pip install 'interplay[docs]'")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)=\"(https?:[^\"]+)", page.read_text())
        assert loaded == [], page


# -- the documents ----------------------------------------------------------------------------------------------------

DOCUMENTS = ROOT.parent / "shared" / "seeds"
NAMED = (
    "main.py models.py utils.py run_experiments.py run_all_experiments.sh run_all_experiments.py gpu_scheduler.py"
    " logger.py plot_results.py test_multi_gpu.py requirements.txt .gitignore get_cifar100_loaders() results.csv"
    " check_gpu.py run_hypernetworks_gpu.sh HyperNetworks_GPU/train.py HyperNetworks_GPU/hypernetwork_modules.py"
    " HyperNetworks_GPU/primary_net.py HyperNetworks_GPU/resnet_blocks.py README_GPU_SETUP.md wandb_usage_readme.md"
).split()
"""Files and functions that the two documents name."""


def rows_of_the_documents() -> dict[str, str]:
    text = (ROOT / "docs" / "documents.md").read_text()
    return dict(re.findall(r"^\| (.+?) \| (.+) \|$", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", NAMED)
def test_each_file_of_the_documents_is_said_to_be_somewhere(name: str) -> None:
    (here,) = [work for said, work in rows_of_the_documents().items() if f"`{name}`" in said]
    paths = [word for word in re.findall(r"`([^`]+)`", here) if re.fullmatch(r"[\w./]+(\.(py|sh|txt|toml)|/)", word)]
    assert paths or "](" in here or "outputs/" in here or name == ".gitignore"
    assert [path for path in paths if not path.startswith("outputs/") and not (ROOT / path).exists()] == []


def test_what_is_said_to_be_in_a_file_is_there() -> None:
    found = re.findall(r"`(\w+)` in `([\w./]+\.py)`", (ROOT / "docs" / "documents.md").read_text())
    assert len(found) >= 3
    for name, path in found:
        assert re.search(rf"^(class|def) {name}\b", (ROOT / path).read_text(), flags=re.MULTILINE), (name, path)


def test_no_file_of_the_documents_is_forgotten() -> None:
    if not DOCUMENTS.is_dir():
        pytest.skip("the two documents are not here: ../shared/seeds is absent")
    text = "".join(path.read_text() for path in DOCUMENTS.glob("*.txt"))
    listed = set(re.findall(r"^[│ ]*[├└]── ([\w.]+\.(?:py|sh|md|txt))\b", text, flags=re.MULTILINE))
    assert len(listed) > 15
    assert {name for name in listed if not any(named.endswith(name) for named in (*NAMED, "README.md"))} == set()


OF_OTHERS = {"documents.md", "bring-your-own.md"}
"""Pages that name files of the two documents, or of a user."""


@pytest.mark.parametrize("page", [path for path in PAGES if path.name not in OF_OTHERS], ids=lambda path: path.name)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    folders = [ROOT / name for name in ("src", "tests", "benchmarks", "examples", "docs")]
    files = [path.as_posix() for folder in folders for path in folder.rglob("*.py")]
    files += [path.as_posix() for path in ROOT.glob("*.py")]
    named = re.findall(r"`([\w./-]+\.py)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in files)] == []
