"""``interplay analyze`` and ``interplay verify`` as a user runs them, in this process."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from interplay.cli.main import main
from interplay.store.store import Store

STUDY = """
name = "small"
question = "Does it run?"
claims = ["inverse.profile"]
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
    monkeypatch.setenv("COLUMNS", "160")


def test_analyze_reads_folders_and_tables_and_prints_verdicts_or_json(capsys: pytest.CaptureFixture[str]) -> None:
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
    assert main(["analyze", "nowhere"]) == 2
    assert "nowhere is neither an output folder nor a CSV file" in capsys.readouterr().err
    Path("bad.csv").write_text("lr,wd\n0.1,0\n")
    # A file that can be read and holds nothing that can be analysed is a check that failed, no impossible request.
    assert main(["analyze", "bad.csv"]) == 1
    assert "bad.csv, line 2: no column 'final_test_acc'" in capsys.readouterr().err
    Path("cut.csv").write_text("batch_size,lr,wd\n128,0.1,0\n128,0.")
    assert main(["analyze", "cut.csv"]) == 1
    assert "cut.csv, line 3" in capsys.readouterr().err
    assert main(["analyze", "bad.csv", "--metric", "accuracy"]) == 2
    assert "unknown metric 'accuracy'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["analyze"], ["report"], ["predict", "--lr", "1", "--input"]])
def test_an_input_that_is_missing_or_cannot_be_opened_is_impossible(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "gone.csv"]) == 2
    assert "gone.csv is neither an output folder nor a CSV file" in capsys.readouterr().err
    Path("closed.csv").write_text("lr\n")
    monkeypatch.setattr(Path, "read_bytes", closed)  # the superuser may read every file
    assert main([*words, "closed.csv"]) == 2
    assert "closed.csv cannot be read: Permission denied" in capsys.readouterr().err


def closed(path: Path) -> bytes:
    raise PermissionError(13, "Permission denied")


def test_verify_prints_expected_and_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--studies", "2", "--only", "closed_forms"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"noisy quadratic +inverse\.profile +refuted +refuted 2", out)
    assert "optimum.x2" not in out


def test_verify_measures_the_conditions_that_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", "--studies", "3", "--workers", "1", "--only", "optimum.x2", "ordering.factor3.programme"]
    main([*words, "--json", "--output", "pages/verification.md"])
    found = json.loads(capsys.readouterr().out)
    assert found["closed_forms"] == []
    assert {(each["condition"], each["of"]) for each in found["simulated"]} == {
        ("optimum.x2", "optimum"),
        ("ordering.factor3.programme", "ordering"),
        ("ordering.factor3.programme", "optimum"),
    }
    assert all(each["studies"] == 3 for each in found["simulated"])
    page = Path("pages/verification.md").read_text()
    assert page.startswith("| condition | of | studies |")
    assert "| optimum.x2 | optimum | 3 |" in page
    main(words)
    assert re.search(r"optimum\.x2 +optimum +3 ", capsys.readouterr().out)
    assert main(["verify", "--only", "optima"]) == 2
    assert "no condition 'optima'; did you mean 'optimum'?" in capsys.readouterr().err


def test_a_study_is_extended_by_the_cells_that_its_analysis_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = STUDY.replace("[1e-3, 1e-2]", "[1e-4, 1e-3, 1e-2]")
    Path("small.toml").write_text(text.replace("[0.05, 0.1]", "[0.05, 0.1, 0.2]"))
    words = ["study", "small.toml", "--seeds", "1", "2", *INLINE]
    assert main([*words, "--extend", "--dry_run"]) == 0
    assert "nothing has run yet" in capsys.readouterr().err
    main(words)
    before = {record.run_id: record.spec for record in Store(Path("outputs")).records()}
    capsys.readouterr()
    assert main([*words, "--extend"]) == 0
    assert "inverse.profile" in capsys.readouterr().err
    after = {record.run_id: record.spec for record in Store(Path("outputs")).records()}
    assert before.items() < after.items()
    new = [after[run_id] for run_id in set(after) - set(before)]
    # Every new cell is one of weight decay outside the three that were there, at a rate of the study, for both seeds.
    assert {spec.seed for spec in new} == {1, 2}
    assert {spec.lr for spec in new} <= {0.05, 0.1, 0.2}
    assert not {spec.weight_decay for spec in new} & {1e-4, 1e-3, 1e-2}


def grid(seed: int) -> str:
    """Eight columns of a programme in which λ* = 1e-4 (B/128)/η, but for a little noise."""
    header = "method,batch_size,lr,wd,momentum,final_test_acc,final_train_loss,best_test_acc"
    rows = []
    for lr, batch in ((0.02, 128), (0.05, 128), (0.1, 128), (0.2, 128), (0.1, 64), (0.1, 256)):
        for step in range(9):
            wd = 1e-4 * 2**step
            miss = math.log(wd * lr / (batch / 128) / 1e-4)
            accuracy = 78 - miss**2 + 0.05 * math.sin(37 * seed + 11 * len(rows))
            rows.append(f"SGDM,{batch},{lr},{wd},0.9,{accuracy:.4f},0.1,{accuracy:.4f}")
    return "\n".join([header, *rows])


def test_predict_says_the_value_its_rule_and_what_is_extrapolated(capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (1, 2):
        Path(f"{seed}.csv").write_text(grid(seed))
    asked = ["predict", "--input", "1.csv", "2.csv", "--batch_size", "128", "--epochs", "100"]
    assert main([*asked, "--lr", "0.08", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["estimate"] == pytest.approx(1e-4 / 0.08, rel=0.1)
    assert found["interval"][0] < 1e-4 / 0.08 < found["interval"][1]
    assert found["outside"] == []
    rules = {rule["rule"]: rule for rule in found["leave_one_setting_out"]["rules"]}
    assert rules["5e-4 always"]["mean_loss"] > 10 * rules[found["rule"]]["mean_loss"]
    assert main([*asked, "--lr", "0.08", "--momentum", "0.95"]) == 0
    out = capsys.readouterr().out
    assert "EXTRAPOLATED: 1-μ 0.05, measured 0.1" in out
    assert "1/(ηT)  " in out
    assert main([*asked, "--wd", "1e-3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["estimate"] == pytest.approx(0.1, rel=0.25)
    assert found["interval"][0] < 0.1 < found["interval"][1]
    assert main(asked) == 2
    assert main([*asked, "--lr", "0.1", "--wd", "1e-3"]) == 2
    capsys.readouterr()
    assert main(["predict", "--input", "1.csv", "--lr", "0.1"]) == 0
    assert "single runs" in capsys.readouterr().out
