"""The documented commands on the real images, on a CPU."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real_data


def run(root: Path, tmp_path: Path, *words: str) -> dict[str, str]:
    subprocess.run([sys.executable, root / "main.py", *words], cwd=tmp_path, check=True, timeout=600)
    with (tmp_path / "outputs" / "results" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))[-1]


@pytest.mark.thorough  # 10,000 test images through ResNet-18 take minutes on a CPU
def test_resnet18_takes_one_epoch_on_the_official_files(root: Path, real_data: Path, tmp_path: Path) -> None:
    words = "--dataset cifar100 --model resnet18 --train_limit 512 --epochs 1 --batch_size 128".split()
    row = run(root, tmp_path, *words, "--data_dir", str(real_data))
    assert (row["status"], row["parameters"], row["train_limit"]) == ("finished", "11220132", "512")
    assert float(row["final_test_acc"]) >= 0.5


def test_resnet8_learns(root: Path, real_data: Path, tmp_path: Path) -> None:
    words = "--dataset cifar100 --model resnet8 --train_limit 4000 --epochs 4 --batch_size 64 --threads 1".split()
    row = run(root, tmp_path, *words, "--data_dir", str(real_data))
    assert float(row["final_test_acc"]) > 5  # chance is 1


def test_other_files_are_refused_unless_they_are_asked_for(root: Path, real_data: Path, tmp_path: Path) -> None:
    words = "--dataset cifar10 --model cnn --train_limit 512 --epochs 1 --threads 1".split()
    words += ["--data_dir", str(real_data)]
    refused = subprocess.run(
        [sys.executable, root / "main.py", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert refused.returncode == 1
    assert "expected c99cafc152244af753f735de768cd75f" in refused.stderr
    row = run(root, tmp_path, *words, "--allow_modified_data")
    assert row["status"] == "finished"
