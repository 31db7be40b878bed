"""``run_hypernetworks_gpu.sh`` as a reader of its document uses it, on a few images in the format of CIFAR-10."""

from __future__ import annotations

import csv
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interplay.cli.hypernetworks import HyperFlags, main
from interplay.lab import hypernetworks
from interplay.record import EpochMetrics, RunRecord
from interplay.store.leases import claim_of
from interplay.store.store import Store
from interplay.train.checkpoint import load_checkpoint

SMALL = ["--no_wandb", "--allow_modified_data", "--blocks_per_stage", "1", "--batch_size", "50", "--epochs", "4"]


@pytest.fixture(scope="session")
def few_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``cifar-10-batches-py`` with 120 training and 20 test images, whose class is their brightness."""
    folder = tmp_path_factory.mktemp("data") / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, count in {**{f"data_batch_{i}": 24 for i in range(1, 6)}, "test_batch": 20}.items():
        labels = rng.integers(0, 10, count)
        noise = rng.integers(0, 40, (count, 3072))
        content = {b"data": (labels[:, None] * 20 + noise).astype(np.uint8), b"labels": [int(x) for x in labels]}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    return folder.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_images: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(few_images)


def numbers(record: RunRecord) -> list[Mapping[str, Any]]:
    """History without what only the clock decides."""
    return [{k: v for k, v in m.to_dict().items() if k not in ("seconds", "images_per_second")} for m in record.history]


def only_record(folder: str = "outputs") -> RunRecord:
    (record,) = Store(Path(folder)).records()
    return record


def stop_after(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal in the middle of an epoch lets it end."""
    original = hypernetworks.Session.epoch

    def patched(self: hypernetworks.Session, metrics: EpochMetrics) -> None:
        original(self, metrics)
        self.stop.requested |= metrics.epoch == epoch

    monkeypatch.setattr(hypernetworks.Session, "epoch", patched)


def test_it_says_and_saves_what_the_document_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--lr", "0.004"]) == 0
    result, out = capsys.readouterr()
    assert len(re.findall(r"^epoch \d/4  batch 3/3  loss \d\.\d+  accuracy \d+\.\d\d %$", out, flags=re.M)) == 4
    line = r"^epoch 2/4  lr 0\.002  train \S+ \(\S+ %\)  test \S+ \(\S+ %\)  \S+ s  best \S+ % \(epoch \d\)$"
    assert re.search(line, out, flags=re.M)  # halved after 30 % of 4 epochs, and not one epoch ahead
    assert out.count("model saved: hypernetworks_cifar_gpu.pth") == 4
    record = only_record()
    assert record.spec.model == "hyper_resnet"
    assert [m.lr for m in record.history] == pytest.approx([0.004, 0.002, 0.001, 0.0005])
    with Path("outputs/results/results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["method"] == "Adam+WD"
    assert row["run_id"] in result
    state = load_checkpoint("hypernetworks_cifar_gpu.pth")
    assert {"model_state_dict", "optimizer_state_dict", "scheduler_state_dict", "metrics"} <= set(state)
    best = load_checkpoint("hypernetworks_cifar_gpu_best.pth")
    accuracies = [m.test_acc or 0.0 for m in record.history]
    assert best["epoch"] == 1 + accuracies.index(max(accuracies))


def test_a_run_that_was_interrupted_ends_with_the_numbers_of_one_that_was_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--checkpoint_path", "whole.pth", "--output_dir", "whole"]) == 0
    with monkeypatch.context() as patch:
        stop_after(3, patch)
        assert main(SMALL) == 130
    assert "--resume goes on from there" in capsys.readouterr().err
    assert list(Store(Path("outputs")).records()) == []
    assert main([*SMALL, "--resume"]) == 0
    assert "resuming after epoch 3, best accuracy" in capsys.readouterr().err
    assert numbers(only_record()) == numbers(only_record("whole"))
    resumed, whole = load_checkpoint("hypernetworks_cifar_gpu.pth"), load_checkpoint("whole.pth")
    for name, value in whole["model_state_dict"].items():
        assert torch.equal(value, resumed["model_state_dict"][name])
    assert resumed["metrics"] == whole["metrics"]


def test_the_run_is_claimed_while_it_is_trained_and_no_other_trains_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, owners, codes = hypernetworks.Session.epoch, [], []

    def patched(self: hypernetworks.Session, metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            owners.append(claim_of(Store(Path("outputs")).folder(self.spec.run_id)))
            codes.append(main([*SMALL, "--checkpoint_path", "other.pth"]))
        original(self, metrics)

    monkeypatch.setattr(hypernetworks.Session, "epoch", patched)
    assert main(SMALL) == 0
    assert owners[0]["pid"] == os.getpid()
    assert owners[0]["worker"] == "hypernetworks"
    assert codes == [2]
    assert "is being trained by another process" in capsys.readouterr().err
    record = only_record()
    assert claim_of(Store(Path("outputs")).folder(record.run_id)) is None


@pytest.mark.slow
def test_ctrl_c_stops_two_processes_and_resume_ends_with_the_numbers_of_one(root: Path) -> None:
    words = ["--processes", "2", "--epochs", "40", "--batch_size", "50"]
    few = [*SMALL[:-4], *words]
    program = [sys.executable, "-m", "interplay.cli.hypernetworks", *few]
    pipe = subprocess.PIPE
    process = subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    path = Path("hypernetworks_cifar_gpu.pth")
    while not path.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert err.count("--resume goes on from there") == 1
    assert list(Store(Path("outputs")).records()) == []
    done = subprocess.run([*program, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert only_record().environment["path"] == "2 processes"
    missing = subprocess.run([*program, "--resume", "--checkpoint_path", "none.pth"], capture_output=True, text=True)
    assert missing.returncode == 2
    assert missing.stderr.count("there is nothing to resume") == 1
    assert "torch" not in missing.stderr
    assert main([*few, "--processes", "1", "--output_dir", "alone", "--checkpoint_path", "alone.pth"]) == 0
    two, one = only_record(), only_record("alone")
    assert two.run_id == one.run_id
    assert [m.train_loss for m in two.history[:3]] == pytest.approx([m.train_loss for m in one.history[:3]], rel=0.02)


def test_more_epochs_are_planned_anew_said_so_and_never_entered_as_a_run_of_one_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SMALL) == 0
    capsys.readouterr()
    with monkeypatch.context() as patch:
        stop_after(5, patch)
        assert main([*SMALL, "--resume", "--epochs", "6"]) == 130
    out = capsys.readouterr().err
    assert out.count("its schedule is planned anew for 6") == 1
    # The second start with the longer plan must remember that the first epochs followed another.
    assert main([*SMALL, "--resume", "--epochs", "6"]) == 0
    assert "finished after 6 epochs" in capsys.readouterr().out
    assert only_record().spec.epochs == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "4"], "4 epochs behind it already, and --epochs is 4: nothing to resume"),
        (["--checkpoint_path", "none.pth"], "there is nothing to resume: none.pth does not exist"),
        (["--epochs", "9", "--model", "wide_resnet"], "of another run, with model hyper_resnet"),
        (["--epochs", "9", "--lr", "0.1"], "of another run, with lr 0.002"),
        (
            ["--epochs", "9", "--checkpoint_path", "broken.pth"],
            "broken.pth is not a readable checkpoint: it is a Git LFS",
        ),
    ],
)
def test_what_cannot_be_resumed_is_said(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(SMALL) == 0
    Path("broken.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    before = Path("hypernetworks_cifar_gpu.pth").read_bytes()
    assert main([*SMALL, "--resume", *words]) == 2
    assert message in capsys.readouterr().err
    assert Path("hypernetworks_cifar_gpu.pth").read_bytes() == before


def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_again(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("hypernetworks_cifar_gpu.pth")
    path.write_bytes(b"PK\x03\x04" + bytes(range(256)))
    assert main([*SMALL, "--resume", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "it is cut short or damaged; kept as hypernetworks_cifar_gpu.pth.damaged. The run goes on from its" in out
    assert "finished after 1 epochs" in out
    assert load_checkpoint(path)["epoch"] == 1


def test_a_new_run_keeps_the_checkpoint_that_was_there(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hypernetworks_cifar_gpu.pth").write_bytes(b"two hundred epochs")
    assert main([*SMALL, "--epochs", "1"]) == 0
    assert "kept as hypernetworks_cifar_gpu.previous.pth" in capsys.readouterr().err
    assert Path("hypernetworks_cifar_gpu.previous.pth").read_bytes() == b"two hundred epochs"


def test_checkpoints_of_wrapped_networks_are_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(1, patch)
        assert main(SMALL) == 130
    state = torch.load("hypernetworks_cifar_gpu.pth", weights_only=True)
    state["model_state_dict"] = {f"module.{name}": value for name, value in state["model_state_dict"].items()}
    torch.save(state, "hypernetworks_cifar_gpu.pth")
    assert main([*SMALL, "--resume"]) == 0
    assert len(only_record().history) == 4


def test_defaults_are_the_documented_ones() -> None:
    flags = HyperFlags()
    assert (flags.batch_size, flags.epochs, flags.lr, flags.weight_decay) == (128, 200, 0.002, 0.0005)
    assert flags.checkpoint_path == Path("./hypernetworks_cifar_gpu.pth")
    assert flags.wandb
    assert (flags.wandb_project, flags.wandb_entity) == ("hypernetworks-gpu", None)
    assert flags.name == "hypernetworks_b128_lr0.002_e200"
    assert HyperFlags(wandb_name="mine").name == "mine"


def test_without_wandb_none_need_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert main([*SMALL, "--epochs", "1"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "0"], "epochs must be"),
        (["--processes", "-1"], "processes must be 0 or greater"),
        (["--model", "hyper"], "hyper_resnet"),
        (["--batch_sise", "1"], "--batch_sise"),
    ],
)
def test_impossible_values_exit_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*SMALL, *words])
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_the_shell_script_runs_from_any_folder_and_passes_errors_on(root: Path, tmp_path: Path) -> None:
    away = tmp_path / "a folder with spaces"
    away.mkdir()
    script = root / "run_hypernetworks_gpu.sh"
    done = subprocess.run([script, "--help"], cwd=away, capture_output=True, text=True)
    assert done.returncode == 0
    assert "--wandb_project" in done.stdout
    assert subprocess.run([script, "--batch_sise", "1"], cwd=away, capture_output=True).returncode == 2


@pytest.mark.slow  # another process imports torch
def test_the_shell_script_trains_in_any_folder(root: Path, tmp_path: Path) -> None:
    away = tmp_path / "a folder with spaces"
    away.mkdir()
    words = [*SMALL, "--epochs", "1", "--data_dir", tmp_path / "data", "--checkpoint_path", "my model.pth"]
    script = root / "run_hypernetworks_gpu.sh"
    assert subprocess.run([script, *words], cwd=away, capture_output=True).returncode == 0
    assert (away / "my model.pth").is_file()


@pytest.mark.slow
def test_weights_and_biases_are_on_by_default_and_offline_without_a_login(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = [word for word in SMALL if word != "--no_wandb"]
    assert main([*words, "--wandb_entity", "some-group"]) == 0
    assert "wandb sync" in capsys.readouterr().err
    (file,) = Path("outputs/wandb").glob("offline-run-*/*.wandb")
    names = (b"hypernetworks-gpu", b"hypernetworks_b50_lr0.002_e4", b"batch_loss", b"test_accuracy", b"best_accuracy")
    deadline = time.monotonic() + 60
    # The service of W&B, a process of its own, may write its last block after the run has ended.
    while (missing := [name for name in names if name not in file.read_bytes()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert missing == []
    assert only_record().status == "finished"


@pytest.mark.slow
@pytest.mark.real_data
def test_a_hypernetwork_learns_real_images(real_data: Path) -> None:
    words = ["--train_limit", "2000", "--epochs", "4", "--data_dir", str(real_data), "--batch_size", "128"]
    assert main([*SMALL, *words]) == 0
    assert (only_record().final_test_acc or 0) > 20  # chance is 10
