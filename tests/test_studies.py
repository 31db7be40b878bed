"""Studies as a user runs them: the commands and the documented scripts, in this process."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from interplay.cli import documented
from interplay.cli.documented import run_all_experiments, run_experiments, split_gpus
from interplay.cli.main import main
from interplay.lab.run import run_study
from interplay.lab.settings import Settings
from interplay.record import RunRecord, Status
from interplay.store.store import Store
from interplay.study.files import load

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
TINY = ["--dataset", "digits", "--model", "mlp", "--epochs", "1", *INLINE]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(STUDY)


def rows() -> list[dict[str, str]]:
    with Path("outputs/results/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_bf16_on_a_cpu_is_asked_for_and_part_of_what_a_run_is(capsys: pytest.CaptureFixture[str]) -> None:
    Path("small.toml").write_text(STUDY.replace("mlp", "cnn"))
    assert main(["study", "small.toml", *INLINE]) == 0
    assert main(["study", "small.toml", "--cpu_bf16", *INLINE]) == 0
    assert "training on the CPU, in bf16" in capsys.readouterr().err
    found = rows()
    assert [row["precision"] for row in found] == ["fp32"] * 4 + ["bf16"] * 4
    for one, other in zip(found[:4], found[4:], strict=True):
        assert one["run_id"] != other["run_id"]
        assert one["final_train_loss"] != other["final_train_loss"]  # it computes in bf16, and not by name alone
        assert float(one["final_train_loss"]) == pytest.approx(float(other["final_train_loss"]), rel=0.05)
    assert main(["study", "small.toml", "--cpu_bf16", "--dry_run", *INLINE]) == 0
    assert "4 runs: 4 done, 0 missing" in capsys.readouterr().out


def test_plan_run_extend_and_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "small.toml", "--dry_run", *INLINE]) == 0
    out = capsys.readouterr().out
    assert "4 runs: 0 done, 4 missing" in out
    assert "0 of them shared with lr-ordering, eta-lambda, batch-scaling" in out
    assert "from a probe of 1 kind of run on cpu" in out
    assert not Path("outputs").exists()

    assert main(["study", "small.toml", *INLINE]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("small: 4 runs committed")
    assert "best settings by mean final test accuracy" in out
    assert len(re.findall(r"^\[[1-4]/4\] SGDM\+WD lr", err, flags=re.MULTILINE)) == 4

    Path("small.toml").write_text(STUDY.replace("[0.05, 0.1]", "[0.05, 0.1, 0.2]"))
    assert main(["study", "small.toml", "--dry_run", *INLINE]) == 0
    out = capsys.readouterr().out
    assert "6 runs: 4 done, 2 missing" in out
    assert "from 8 finished runs" in out or "from 4 finished runs" in out
    assert main(["study", "small.toml", *INLINE]) == 0
    assert len(rows()) == 6


ADAM = """
name = "adam"
question = "How does the best rate of Adam move?"
claims = ["inverse.profile"]
[base]
dataset = "digits"
model = "mlp"
epochs = 1
[[grid]]
optimizer = "adam"
weight_decay = 0.0
lr = [1e-3, 4e-3, 1.6e-2]
batch_size = [16, 32]
train_limit = [64, 128]
[[grid]]
optimizer = "sgd"
weight_decay = 0.0
lr = [1e-2, 4e-2, 1.6e-1]
batch_size = 16
train_limit = 64
[[grid]]
optimizer = "adamw"
lr = 4e-3
weight_decay = [1e-2, 1e-1, 1.0]
batch_size = [16, 32]
train_limit = 64
"""
CLAIMS = """
[[claim]]
optimum = "lr"
along = "batch_size"
exponent = 0.5
band = 0.2
[[claim]]
optimum = "lr"
along = "train_limit"
exponent = 0
[[claim]]
optimum = "wd"
along = "batch_size"
exponent = 1
[[claim]]
product = ["batch_size", "lr"]
id = "noise scale"
[[claim]]
optimum = "lr"
first = { optimizer = "sgd" }
second = { optimizer = "adam" }
"""
OWN = [
    "inverse.profile",
    "lr~batch_size^0.5",
    "lr~train_limit^0",
    "weight_decay~batch_size^1",
    "noise scale",
    "lr: optimizer sgd > optimizer adam",
]


def test_claims_of_ones_own_go_from_the_file_through_the_store_to_the_analysis(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("adam.toml").write_text(ADAM + CLAIMS)
    words = ["study", "adam.toml", *INLINE, "--path", "single", "--no_log"]
    assert main([*words, "--dry_run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["studies"][0]["claims"] == OWN
    assert main(words) == 0
    assert ", ".join(OWN) in capsys.readouterr().err
    assert main(["analyze", "--json"]) == 0
    found = {each["id"]: each for each in json.loads(capsys.readouterr().out)["claims"]}
    assert [name for name, each in found.items() if each["own"]] == [*OWN[1:], OWN[0]]  # what is not asked comes last
    assert [each["verdict"] == "not asked" for each in found.values() if each["own"]] == [False] * 5 + [True]
    # A table from elsewhere has no studies: a file says what is claimed.
    table = "outputs/results/results.csv"
    assert main(["analyze", table, "--json"]) == 0
    assert not any(each["own"] for each in json.loads(capsys.readouterr().out)["claims"])
    assert main(["analyze", table, "--claims", "adam.toml", "--json"]) == 0
    again = {each["id"]: each for each in json.loads(capsys.readouterr().out)["claims"]}
    assert {name: each["verdict"] for name, each in again.items()} == {n: e["verdict"] for n, e in found.items()}
    assert [name for name, each in again.items() if each["own"]] == [*OWN[1:], OWN[0]]
    assert main([*words, "--extend", "--dry_run"]) == 0
    out, err = capsys.readouterr()
    assert "21 runs: 21 done" not in out
    for name in OWN[1:]:
        assert found[name]["verdict"] == "inconclusive"
        assert re.search(rf"^{re.escape(name)}( of \w+)?: inconclusive; adding ", err, flags=re.MULTILINE)
        assert "a second seed of " in err
    assert main([*words, "--until_decided", "--budget", "22"]) == 0
    out = capsys.readouterr().out
    assert "adam: stopped after 1 round and 21 runs: the budget is spent" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "10"], "--budget is for --until_decided"),
        (["--metric", "final_test_loss"], "--metric is for --extend and --until_decided"),
        (["--until_decided", "--budget", "lots"], "budget must be a duration such as 15d, 36h or 90m, not 'lots'"),
        (["--until_decided", "--budget", "0"], "budget must be 1 run or more"),
        (["--until_decided", "--budget", "3"], "a budget of 3 runs in all is too small: study 'small' has 4 itself"),
        (["other.toml", "--until_decided"], "for one study at a time"),
        (["--until_decided", "--executor", "slurm"], "--wait"),
    ],
)
def test_impossible_budgets_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.toml").write_text(STUDY.replace("small", "other"))
    assert main(["study", "small.toml", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_two_studies_that_share_a_configuration_share_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.toml").write_text(STUDY.replace("small", "other").replace("[1e-3, 1e-2]", "[1e-2, 1e-1]"))
    assert main(["study", "small.toml", "other.toml", "--dry_run", *INLINE]) == 0
    assert capsys.readouterr().out.count("2 of them shared with") == 2
    assert main(["study", "small.toml", "other.toml", *INLINE]) == 0
    out, err = capsys.readouterr()
    assert "small: 4 runs committed" in out
    assert "4 runs: 2 done, 2 missing" in err
    assert len(rows()) == 6


def test_the_log_has_configuration_progress_and_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_experiments(["--experiment", "3", *TINY]) == 0
    (log,) = Path("outputs/logs").iterdir()
    assert re.fullmatch(r"exp3_\d{8}_\d{6}\.log", log.name)
    text = log.read_text()
    for part in ("batch-scaling: Is the optimal", "settings Settings(", "start    ", "[24/24] ", "24 runs committed"):
        assert part in text
    assert run_experiments(["--experiment", "3", *TINY, "--no_log", "--seeds", "1"]) == 0
    assert list(Path("outputs/logs").iterdir()) == [log]
    assert {row["seed"] for row in rows()} == {"42", "1"}


def test_all_sets_of_the_documents_are_83_runs_answered_by_74(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_all_experiments(TINY) == 0
    out, err = capsys.readouterr()
    for text in ("24 runs committed", "32 runs committed", "18 runs committed", "eta-lambda: 35 of 35 runs"):
        assert text in out
    assert "ok       torch" in err
    found = rows()
    assert len(found) == 74
    assert len({row["run_id"] for row in found}) == 74
    figures = sorted(path.name for path in Path("outputs/plots").iterdir())
    assert figures == ["exp1_lr_ordering.png", "exp2_eta_lambda_heatmap.png", "exp3_batch_size_scaling.png"]
    assert run_all_experiments(TINY) == 0
    assert capsys.readouterr().err.count(", 0 missing") == 3
    (backup,) = Path("outputs/results/backup").iterdir()
    assert backup.read_text() == Path("outputs/results/results.csv").read_text()


def test_documented_checkpoints_load_as_in_the_document(root: Path) -> None:
    words = "--dataset digits --model mlp --epochs 2 --save_checkpoints --executor inline".split()
    assert run_experiments(["--experiment", "1", *words]) == 0
    names = {path.name for path in Path("outputs/checkpoints").iterdir()}
    assert len(names) == 47  # the run at lr 2 diverges: it has a best epoch and no final one
    assert "exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth" in names
    assert "exp1_SGD_bs128_lr0.1_wd0_mom0_final.pth" in names
    script = """
from utils import load_checkpoint
from models import resnet18, MLP
import torch
model = MLP(10, 64)
data = load_checkpoint('outputs/checkpoints/exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth', model)
print(f"Best accuracy: {data['metrics']['best_test_acc']:.2f}%")
assert resnet18(num_classes=100).linear.out_features == 100
optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
load_checkpoint('outputs/checkpoints/exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_final.pth', model, optimizer, scheduler)
assert scheduler.last_epoch == 2 and optimizer.state
try:
    load_checkpoint('outputs/checkpoints/exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_final.pth', resnet18(100))
except Exception as error:
    print(type(error).__name__)
"""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    best, refused = done.stdout.splitlines()
    row = next(r for r in rows() if (r["lr"], r["wd"], r["momentum"]) == ("0.1", "0.0005", "0.9"))
    assert best == f"Best accuracy: {float(row['best_test_acc']):.2f}%"
    assert refused == "CheckpointError"


@pytest.mark.parametrize("words", [["--gpus", "0"], ["--gpus", "all"], ["--gpus", "0-7"]])
def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay import devices

    monkeypatch.setattr(devices, "visible_gpus", list)
    assert run_experiments(["--experiment", "1", *words]) == 2
    assert "there is no usable GPU" in capsys.readouterr().err
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["study"], "which study?"),
        (["study", "small.tom"], "or the path of a .toml file"),
        (["study", "small.toml", "--model", "resnet9"], "allowed: cnn, hyper_resnet, mlp"),
        (["study", "small.toml", "--workers", "-1"], "workers must be 0 or greater"),
        (["study", "small.toml", "--seeds", "1", "1"], "seeds must be different"),
        (["study", "small.toml", "--gpu", "0"], "--gpu"),
    ],
)
def test_impossible_studies_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_status_names_every_state(capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "small.toml", *INLINE])
    store = Store(Path("outputs"))
    done = next(iter(store.records())).spec
    store.commit(RunRecord(done.replace(lr=9.0), Status.DIVERGED, reason="the training loss is not finite"))
    store.fail(RunRecord(done.replace(lr=8.0), Status.FAILED, reason="RuntimeError: out of luck"))
    store.open(done.replace(lr=7.0))
    running = store.open(done.replace(lr=6.0))
    (running / "claim.json").write_text('{"attempt": "x", "worker": "gpu3", "host": "node7", "machine": "far"}')
    (running / "beat.x.json").write_text('{"beat": 4, "epoch": 3, "epochs": 10, "eta": 420.0}')
    capsys.readouterr()
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "4 finished, 1 running, 1 diverged, 1 interrupted, 1 failed" in out
    assert re.search(
        r"running +lr 6, weight_decay 0\.\d+, seed 42: epoch 3/10, about 7 min left, on gpu3 of node7", out
    )
    assert re.search(r"interrupted +lr 7, .*: goes on when it is asked for again", out)
    assert done.run_id not in out
    assert re.search(r"diverged +lr 9, .*: the training loss is not finite", out)
    assert re.search(r"failed +lr 8, .*: RuntimeError: out of luck", out)
    assert main(["status", "--ids"]) == 0
    assert re.search(rf"running +{done.replace(lr=6.0).run_id}  lr 6, ", capsys.readouterr().out)
    Path("small.toml").write_text(STUDY.replace("[0.05, 0.1]", "[0.05, 0.1, 0.2]"))
    assert main(["status", "small.toml"]) == 0
    assert capsys.readouterr().out.startswith("4 finished, 0 running, 0 diverged, 0 interrupted, 0 failed, 2 missing")


def test_a_retry_that_is_refused_or_stopped_forgets_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay import devices

    monkeypatch.setattr(devices, "visible_gpus", list)
    main(["study", "small.toml", *INLINE])
    store = Store(Path("outputs"))
    spec = next(iter(store.records())).spec.replace(lr=0.3)
    store.fail(RunRecord(spec, Status.FAILED, reason="a bad day"))
    assert main(["retry", "--gpus", "0"]) == 2
    assert store.has_failed(spec.run_id)
    store.forget_failure(spec.run_id)  # a retry that was stopped before it came to this run
    assert main(["retry", *INLINE]) == 0
    assert store.is_done(spec.run_id)


def test_status_and_retry_by_name_find_runs_of_either_precision(capsys: pytest.CaptureFixture[str]) -> None:
    spec = load("small.toml").specs[0]
    assert spec.precision == "bf16"
    store = Store(Path("outputs"))
    store.fail(RunRecord(spec, Status.FAILED, reason="CUDA error"))
    assert main(["status", "small.toml"]) == 0
    assert "1 failed, 3 missing" in capsys.readouterr().out
    assert main(["retry", "small.toml"]) == 2
    assert main(["retry", "small.toml", "--cpu_bf16", *INLINE]) == 0
    assert [(row["precision"], row["run_id"]) for row in rows()] == [("bf16", spec.run_id)]


def test_a_run_waits_for_a_worker_elsewhere_and_takes_over_when_it_stays_silent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["run", "--dataset", "digits", "--model", "mlp", "--epochs", "1", "--lapse_seconds", "1"]
    main(words)
    (row,) = rows()
    folder = Path("outputs/runs", row["run_id"])
    (folder / "record.json").unlink()
    (folder / "claim.json").write_text('{"attempt": "x", "worker": "w", "machine": "far", "host": "far"}')
    assert main(words) == 0
    assert "Another worker has this run" in capsys.readouterr().err
    assert len(rows()) == 1


def test_shared_runs_have_the_checkpoint_names_of_every_set() -> None:
    words = "--dataset digits --model mlp --epochs 1 --executor inline --save_checkpoints".split()
    assert run_experiments(["--experiment", "2", *words]) == 0
    assert run_experiments(["--experiment", "3", *words]) == 0
    names = {path.name for path in Path("outputs/checkpoints").iterdir()}
    for experiment in (2, 3):
        assert f"exp{experiment}_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_final.pth" in names


def test_retry_runs_what_failed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "small.toml", *INLINE])
    assert main(["retry", *INLINE]) == 0
    assert "no run has failed" in capsys.readouterr().out
    store = Store(Path("outputs"))
    spec = next(iter(store.records())).spec.replace(lr=0.3)
    store.fail(RunRecord(spec, Status.FAILED, reason="a bad day"))
    (store.folder(spec.run_id) / "last.pt").write_text("damaged")
    main(["study", "small.toml", *INLINE])
    assert {row["status"] for row in rows()} == {"finished", "failed"}
    assert main(["retry", *INLINE]) == 0
    assert [row["status"] for row in rows()] == ["finished"] * 5
    assert [path.name for path in store.folder(spec.run_id).glob("failed*")] == ["failed-1.json"]


def test_a_failed_run_for_gpus_is_not_retried_as_another_run_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    spec = load("small.toml").specs[0]
    assert spec.precision == "bf16"
    store = Store(Path("outputs"))
    store.fail(RunRecord(spec, Status.FAILED, reason="CUDA error"))
    assert main(["retry", *INLINE]) == 2
    assert "say which with --gpus" in capsys.readouterr().err
    assert store.has_failed(spec.run_id)


def test_rebuild_reports_foreign_rows_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["study", "small.toml", *INLINE])
    path = Path("outputs/results/results.csv")
    clean = path.read_bytes()
    path.write_bytes(clean + b"SGD,128,0.1,0,0,99.0,0.1,99.0\n")
    capsys.readouterr()
    assert main(["rebuild"]) == 0
    out = capsys.readouterr().out
    assert "line 6: 8 cells where" in out
    assert "kept in outputs/results/foreign_rows.csv" in out
    assert path.read_bytes() == clean


def test_absent_data_stop_a_study_without_marking_runs_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay.data import cifar

    monkeypatch.setattr(cifar, "_bring", lambda *args: cifar._refuse("cifar100", Path("data"), {"train": "x"}, "y"))
    assert main(["study", "small.toml", "--dataset", "cifar100", *INLINE]) == 1
    captured = capsys.readouterr()
    assert "4 runs are left; the same command goes on with them" in captured.err
    assert not Path("outputs/results/results.csv").exists()


@pytest.mark.parametrize(
    ("gpus", "shares"),
    [
        (list(range(8)), [[0, 1, 2], [3, 4, 5], [6, 7]]),
        ([0, 1, 2, 3], [[0, 1], [2], [3]]),
        ([4, 5, 6], [[4], [5], [6]]),
        ([0, 1], [[0], [1], [0]]),
        ([3], [[3], [3], [3]]),
        ([], [[], [], []]),
    ],
)
def test_sets_side_by_side_share_the_gpus_as_documented(gpus: list[int], shares: list[list[int]]) -> None:
    assert split_gpus(gpus) == shares


def test_parallel_sets_are_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], **words: object) -> None:
            started.append(command)

            self.stdout, self.stderr = io.StringIO("a line\n"), io.StringIO()

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(documented.subprocess, "Popen", Process)
    words = "--parallel --save-checkpoints --epochs 3 --dataset digits --model mlp --seeds 1 2 --no_log".split()
    assert run_all_experiments(words) == 0
    assert len(started) == 3
    seen: list[documented.ExperimentFlags] = []
    monkeypatch.setattr(documented.ExperimentFlags, "call", lambda self: seen.append(self) or 0)
    for command in started:
        assert run_experiments(command[3:]) == 0
    assert [flags.experiment for flags in seen] == [1, 2, 3]
    assert {(f.save_checkpoints, f.epochs, f.dataset, f.model, f.seeds, f.log) for f in seen} == {
        (True, 3, "digits", "mlp", (1, 2), False)
    }


@pytest.mark.slow
def test_parallel_sets_go_through_and_share_their_runs() -> None:
    words = "--parallel --dataset digits --model mlp --epochs 2".split()
    assert run_all_experiments(words) == 0
    found = rows()
    assert len(found) == 74
    assert len({row["run_id"] for row in found}) == 74
    assert len(list(Path("outputs/logs").iterdir())) == 3


def test_the_shell_script_passes_flags_on_and_runs_from_anywhere(root: Path) -> None:
    script = root / "run_all_experiments.sh"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, env=environment, check=True).stdout
    for flag in ("--parallel", "--save_checkpoints", "--epochs", "--gpus", "--seeds", "--data_dir", "--train_limit"):
        assert flag in shown
    refused = subprocess.run([script, "--epoch", "many"], capture_output=True, text=True, env=environment)
    assert refused.returncode == 2


def test_the_record_names_the_model_that_was_really_built() -> None:
    main(["study", "small.toml", "--model", "cnn", *INLINE])
    (record, *_) = Store(Path("outputs")).records()
    assert (record.model_class, record.parameters, record.spec.model) == ("SmallCNN", 24_058, "cnn")


def test_a_study_in_python() -> None:
    report = run_study(load("small.toml"), Settings(executor="inline", log=False))
    assert len(report.committed) == 4
    assert {r.status for r in report.committed} == {Status.FINISHED}
    assert torch.get_num_threads() == 1
