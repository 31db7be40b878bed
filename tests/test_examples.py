"""The worked examples run as they are, from their files to verdicts and a page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interplay import analyze, run_study
from interplay.cli.main import main
from interplay.store.store import Store
from interplay.study.files import load
from interplay.study.study import Study

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one, in which the test is."""
    folder = tmp_path / request.param
    shutil.copytree(ROOT / "examples" / request.param, folder, ignore=shutil.ignore_patterns("outputs", "__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def test_the_page_shows_the_study_of_the_first_example() -> None:
    shown = (ROOT / "docs" / "own-script.md").read_text().split('```toml title="study.toml"\n')[1].split("```")[0]
    assert shown == (ROOT / "examples" / "script" / "study.toml").read_text()


@pytest.mark.parametrize("example", ["script"], indirect=True)
def test_a_script_that_prints(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "study.toml", "--seeds", "1", "2", "--executor", "inline"]) == 0
    records = list(Store(example / "outputs").records())
    assert len(records) == 40
    assert {len(record.history) for record in records} == {8}
    assert all(metrics.test_acc and metrics.train_loss for record in records for metrics in record.history)
    capsys.readouterr()
    assert main(["analyze", "outputs"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\* lr\*weight_decay\.sufficiency +[rsi]", out), out
    assert re.search(r"inverse\.direction +refuted", out), out
    assert "schedule cosine" not in out  # nobody said so
    assert "epochs 100" not in out
    assert main(["report", "outputs"]) == 0
    page = (example / "outputs" / "report.html").read_text()
    assert "lr*weight_decay.sufficiency" in page
    assert "E 100" not in page


@pytest.mark.parametrize("example", ["resumable"], indirect=True)
def test_a_script_that_writes_its_metrics(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "study.toml", "--seeds", "1", "--executor", "inline"]) == 0
    records = list(Store(example / "outputs").records())
    assert len(records) == 12
    assert {tuple(metrics.epoch for metrics in record.history) for record in records} == {(1, 2, 3, 4, 5)}
    assert {(path.name) for path in example.glob("outputs/runs/*/trial/*")} == {"checkpoint.npz", "metrics.jsonl"}
    (claim,) = (each for each in analyze("outputs").claims if each.id == "lr~batch_size^1")
    assert claim.verdict != "not asked"
    question = load(example / "study.toml").question
    assert main(["report", "outputs"]) == 0
    page = (example / "outputs" / "report.html").read_text()
    assert question in page
    assert "final val accuracy" in page  # by which it is judged, as nothing was tested
    assert "No run has finished" not in page
    assert re.search(r"η 1, B 16, E 5\b|η 0.3, B 16, E 5\b", page)
    capsys.readouterr()
    assert main(["study", "study.toml", "--seeds", "1", "--extend", "--dry_run"]) == 0
    assert "lr~batch_size^1: inconclusive; adding 4 runs" in capsys.readouterr().err


@pytest.mark.parametrize("example", ["scikit-learn"], indirect=True)
def test_a_function_of_scikit_learn(example: Path) -> None:
    done = subprocess.run([sys.executable, "sweep.py"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    records = list(Store(example / "outputs").records())
    assert len(records) == 20
    assert {record.environment["function"] for record in records} == {"digits_mlp:train"}
    assert min(record.final_test_acc or 0 for record in records) > 5
    assert max(record.final_test_acc or 0 for record in records) > 90
    assert (example / "outputs" / "report.html").stat().st_size > 1e6
    written = {path: path.stat().st_mtime_ns for path in example.glob("outputs/runs/*/record.json")}
    subprocess.run([sys.executable, "sweep.py"], capture_output=True, check=True, timeout=240)
    assert {path: path.stat().st_mtime_ns for path in example.glob("outputs/runs/*/record.json")} == written


@pytest.mark.parametrize("example", ["scikit-learn"], indirect=True)
def test_a_script_of_scikit_learn_gets_its_penalty_in_its_own_units(
    example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A command runs with the python of its shell, and that of whoever runs the tests may have no scikit-learn.
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    study = example / "study.toml"
    text = study.read_text()
    for name, values in {"learning_rate_init": "[0.02]", "batch_size": "[50, 100]", "weight_decay": "[0.002]"}.items():
        text = re.sub(rf"^{name} = \[.*\]$", f"{name} = {values}", text, flags=re.MULTILINE)
    study.write_text(text)
    assert main(["study", "study.toml", "--seeds", "1", "--executor", "inline"]) == 0
    records = sorted(Store(example / "outputs").records(), key=lambda record: record.spec.batch_size)
    said = [(example / "outputs" / "runs" / record.spec.run_id / "stdout.log").read_text() for record in records]
    assert [re.findall(r"--alpha (\S+)", text) for text in said] == [["0.1"], ["0.2"]]
    assert {record.spec.weight_decay for record in records} == {0.002}
    assert all(len(record.history) == 60 and (record.final_test_acc or 0) > 0.8 for record in records)


@pytest.mark.parametrize("example", ["pytorchcv"], indirect=True)
def test_a_network_of_pytorchcv(example: Path) -> None:
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    study = load(example / "study.toml")
    assert len(study.specs) == 84
    few = Study(name="few", specs=[spec.replace(epochs=2) for spec in study.specs[:2]])
    result = run_study(few, output_dir=example / "outputs", executor="inline")
    assert [len(record.history) for record in result.committed] == [2, 2]
