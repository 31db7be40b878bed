"""``interplay analyze`` and ``interplay verify`` as a user runs them, in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from interplay.cli import main
from interplay.store.store import Store

STUDY = """
name = "small"
question = "Does it run?"
claims = ["a"]
[base]
dataset = "digits"
model = "mlp"
epochs = 2
[[grid]]
lr = [0.05, 0.1]
weight_decay = [1e-3, 1e-2]
"""
INLINE = ["--executor", "inline"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_analyze_reads_folders_and_tables_and_prints_verdicts_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    Path("small.toml").write_text(STUDY.replace("[1e-3, 1e-2]", "[1e-3, 1e-2, 3e-2, 1e-1]"))
    main(["study", "small.toml", "--seeds", "1", "2", *INLINE])
    capsys.readouterr()
    assert main(["analyze"]) == 0
    out = capsys.readouterr().out
    assert "16 runs in 2 repetitions" in out
    assert re.search(r"inverse\.profile +inconclusive", out)
    assert main(["analyze", "outputs/results/results.csv", "--json", "--metric", "final_test_loss"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "final_test_loss"
    assert len(found["claims"]) == 10
    import interplay

    assert interplay.analyze(Store(Path("outputs")).records()).runs == 16


def test_what_cannot_be_analysed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "nowhere"]) == 1
    assert "nowhere is neither an output folder nor a CSV file" in capsys.readouterr().err
    Path("bad.csv").write_text("lr,wd\n0.1,0\n")
    assert main(["analyze", "bad.csv"]) == 1
    assert "bad.csv, line 2: no column 'batch_size'" in capsys.readouterr().err


def test_verify_prints_expected_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--studies", "2"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"noisy quadratic +inverse\.profile +refuted +refuted 2", out)


def test_a_study_is_extended_by_the_cells_that_its_analysis_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace('["a"]', '["inverse.profile"]').replace("[1e-3, 1e-2]", "[1e-4, 1e-3, 1e-2]")
    Path("small.toml").write_text(text.replace("[0.05, 0.1]", "[0.05, 0.1, 0.2]"))
    words = ["study", "small.toml", "--seeds", "1", "2", *INLINE]
    assert main([*words, "--extend", "--dry_run"]) == 0
    assert "nothing has run yet" in capsys.readouterr().out
    main(words)
    before = {record.run_id: record.spec for record in Store(Path("outputs")).records()}
    capsys.readouterr()
    assert main([*words, "--extend"]) == 0
    assert "inverse.profile" in capsys.readouterr().out
    after = {record.run_id: record.spec for record in Store(Path("outputs")).records()}
    assert before.items() < after.items()
    new = [after[run_id] for run_id in set(after) - set(before)]
    # Every new cell is one of weight decay outside the three that were there, at a rate of the study, for both seeds.
    assert {spec.seed for spec in new} == {1, 2}
    assert {spec.lr for spec in new} <= {0.05, 0.1, 0.2}
    assert not {spec.weight_decay for spec in new} & {1e-4, 1e-3, 1e-2}
