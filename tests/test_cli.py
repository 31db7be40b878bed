from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from interplay.cli.flags import spelled_out
from interplay.cli.main import main, run_main
from interplay.cli.run import RunFlags
from interplay.lab.progress import RunProgress
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec, knob_names

QUICK = ["--dataset", "digits", "--model", "mlp", "--epochs", "3", "--threads", "1"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows() -> list[dict[str, str]]:
    with Path("outputs/results/results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_folder_and_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *QUICK]) == 0
    out, err = capsys.readouterr()
    (row,) = rows()
    record = RunRecord.from_json(Path("outputs/runs", row["run_id"], "record.json").read_text())
    assert float(row["final_test_acc"]) == record.final_test_acc
    assert record.spec.precision == "fp32"
    assert len(re.findall("^epoch ", err, flags=re.MULTILINE)) == 3
    assert "No usable GPU: training on the CPU" in err
    assert len(out.splitlines()) == 3
    assert f"finished: test accuracy {record.final_test_acc:.2f} %" in out
    assert "outputs/results/results.csv" in out


def test_a_finished_run_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", *QUICK])
    capsys.readouterr()
    assert main(["run", *QUICK]) == 0
    err = capsys.readouterr().err
    assert "This run is done already" in err
    assert "epoch 1/3" not in err
    assert len(rows()) == 1


def test_a_last_batch_of_one_image_is_refused_before_anything_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    refused = ["--dataset", "digits", "--model", "resnet8_s2", "--train_limit", "65", "--epochs", "1"]
    assert main(["run", *refused, "--batch_size", "64"]) == 2
    message = "batch_size 64 leaves a last batch of 1 image (65 training images), and resnet8_s2 turns images of 8x8"
    assert message in capsys.readouterr().err
    Path("s.toml").write_text(
        'name = "s"\nquestion = "Which?"\nclaims = ["inverse.profile"]\nseeds = [42]\n'
        '[base]\ndataset = "digits"\nmodel = "resnet8_s2"\ntrain_limit = 65\nepochs = 1\n'
        "[[grid]]\nlr = [0.1]\nweight_decay = [1e-4]\nbatch_size = [32, 64, 65]\n"
    )
    for command in (["study", "s.toml"], ["study", "s.toml", "--dry_run"]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "batch_size 32 leaves a last batch of 1 image (65 training" in err
        assert err.count("\n") == 1
    assert not Path("outputs").exists()


def test_classes_without_an_image_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = np.zeros((8, 4, 4), np.uint8), np.arange(8) % 2 + 1
    np.savez("own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert main(["run", "--dataset", "own.npz", "--model", "mlp", "--epochs", "1", "--batch_size", "8"]) == 0
    err = capsys.readouterr().err
    assert err.count("note: own.npz: 3 classes, class 0 without an image (labels start at 1)") == 1


def test_the_documented_flags_and_defaults() -> None:
    flags = "--batch_size 64 --lr 0.05 --wd 1e-3 --momentum 0.8 --epochs 7 --seed 3".split()
    import tyro

    found = tyro.cli(RunFlags, args=flags, use_underscores=True).spec()
    assert found == RunSpec(batch_size=64, lr=0.05, weight_decay=1e-3, momentum=0.8, epochs=7, seed=3)
    assert tyro.cli(RunFlags, args=[], use_underscores=True).spec() == RunSpec()
    long = tyro.cli(RunFlags, args=["--weight_decay", "0.1", "--train-limit", "512"], use_underscores=True).spec()
    assert (long.weight_decay, long.train_limit) == (0.1, 512)


@pytest.mark.parametrize(
    ("words", "precision"),
    [
        ([], "bf16"),
        (["--use_amp"], "bf16"),
        (["--use_amp", "true"], "bf16"),
        (["--use_amp=True"], "bf16"),
        (["--no_use_amp"], "fp32"),
        (["--use_amp", "false"], "fp32"),
        (["--use_amp=False"], "fp32"),
    ],
)
def test_every_documented_spelling_of_mixed_precision(words: list[str], precision: str) -> None:
    import tyro

    assert tyro.cli(RunFlags, args=spelled_out(RunFlags, words), use_underscores=True).spec().precision == precision


def test_every_knob_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    text = capsys.readouterr().out
    for name in set(knob_names()) - {
        "fingerprint",
        "model_code",
        "precision",
    }:  # the data and the code decide the first two
        assert f"--{name}" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr", "-1"], "lr must be greater than 0"),
        (["--lr", "fast"], "--lr"),
        (["--batch_size", "60000"], "batch_size 60000 is larger than the 50000"),
        (["--model", "resnet19"], "resnet18"),
        (["--dataset", "imagenet"], "allowed: cifar10, cifar100, digits"),
        (["--momentum", "1"], "momentum must be in [0, 1)"),
        (["--learning_rate", "1"], "learning_rate"),
        (["--use_amp", "maybe"], "maybe"),
        (["--device", "tpu"], "allowed: auto, cpu, cuda"),
        (["--device", "cuda:99"], "not there"),
    ],
)
def test_impossible_values_exit_with_2_before_anything_is_loaded(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = run_main(words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err
    assert not Path("outputs").exists()


def test_checkpoints_have_their_documented_names() -> None:
    assert main(["run", *QUICK, "--save_checkpoints"]) == 0
    names = sorted(p.name for p in Path("outputs/checkpoints").glob("*.pth"))
    assert names == [f"SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_{kind}.pth" for kind in ("best", "final")]


def test_absent_data_is_one_clear_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from interplay.data import cifar, download

    monkeypatch.setattr(cifar, "_ADDRESS", "http://127.0.0.1:9/")
    monkeypatch.setattr(cifar.locate, "__kwdefaults__", {"allow_modified": False, "address": "http://127.0.0.1:9/"})
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    assert main(["run", "--train_limit", "512"]) == 1
    err = capsys.readouterr().err
    assert "\nerror: cifar100 is not in data. Put cifar-100-python.tar.gz" in err
    assert "Traceback" not in err


def interplay(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "interplay.cli.main", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_at_the_epoch_and_the_same_command_goes_on(
    number: signal.Signals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", *QUICK, "--epochs", "12", "--label_noise", "0.2"]
    told = RunProgress.epoch

    def signalled(self: RunProgress, metrics: EpochMetrics) -> None:
        told(self, metrics)
        if metrics.epoch == 5:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(RunProgress, "epoch", signalled)
        assert main(words) == 130
    assert "stopped after epoch 5" in capsys.readouterr().err
    assert not Path("outputs/results/results.csv").exists()

    assert main(words) == 0
    err = capsys.readouterr().err
    assert re.match(r"epoch +6/12 ", next(line for line in err.splitlines() if line.startswith("epoch")))
    (row,) = rows()
    resumed = json.loads(Path("outputs/runs", row["run_id"], "record.json").read_text())
    assert main([*words, "--output_dir", "whole"]) == 0
    whole = json.loads(next(Path("whole/runs").glob("*/record.json")).read_text())
    for one, other in zip(resumed["history"], whole["history"], strict=True):
        assert (one["train_loss"], one["test_loss"]) == (other["train_loss"], other["test_loss"])


@pytest.mark.slow
def test_a_process_that_gets_a_signal_exits_with_130() -> None:
    process = interplay("run", *QUICK, "--epochs", "4000", "--label_noise", "0.2")
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch "):
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (130, ""), err
    assert "stopped after epoch" in err


def test_doctor_names_what_is_there_and_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "note     cifar100     not in data; the first run downloads it" in out
    assert "ok       torch" in out


def test_doctor_says_how_processes_share_a_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import torch

    from interplay.lab import doctor

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(doctor, "gpu_line", lambda index: "Test GPU")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "note     mps          processes that share a GPU take turns" in capsys.readouterr().out
    (tmp_path / "control").touch()
    assert main(["doctor"]) == 0
    assert "ok       mps          runs" in capsys.readouterr().out


@pytest.mark.slow
def test_help_answers_long_before_torch_is_there() -> None:
    def seconds(*words: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    # In turn, so that whatever else runs on the machine slows both.
    pairs = [(seconds("-m", "interplay.cli.main", "--help"), seconds("-c", "import torch")) for _ in range(4)]
    assert min(ours for ours, _ in pairs) < 0.5 * min(torch for _, torch in pairs)


def test_check_gpu_tells_by_its_exit_code(root: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, root / "check_gpu.py"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("No usable GPU")
    assert "PyTorch" in done.stdout


def test_the_matrix_product_is_checked_exactly() -> None:
    from interplay.lab.doctor import product_is_right

    assert product_is_right("cpu")
