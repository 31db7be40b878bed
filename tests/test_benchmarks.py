"""The benchmark of GPUs, on a CPU and very small: its figures mean nothing there, but the code is the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def bench(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *words], cwd=root, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_benchmark_of_gpus_prints_all_its_tables(root: Path) -> None:
    kept = set((root / "benchmarks" / "results").iterdir())
    said = bench(root, "--device", "cpu", "--tiny", "--repeats", "1", "--no_compiled")
    for title in (
        "matmul peak",
        "images per second (share of the peak)",
        "k processes at once",
        "k runs on k streams",
        "stacks of K networks",
        "start at B = 16",
        "a captured step at B = 32",
    ):
        assert title in said
    assert set((root / "benchmarks" / "results").iterdir()) == kept


def test_without_a_gpu_it_says_what_is_owed(root: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and the figures can be measured: make bench-gpu")
    said = bench(root)
    assert "There is no usable GPU here" in said
    assert said.count("\n  - ") == 8 - 1


def test_a_step_of_resnet18_moves_what_docs_say(root: Path) -> None:
    """Counted, not measured: 3.8 GB at B = 128, of which the update takes 20 bytes for each of 11.2 million weights."""
    said = subprocess.run(
        [sys.executable, "benchmarks/traffic.py", "--sizes", "128", "--no_keep"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = {words[0]: words[-2:] for line in said.splitlines() if len(words := line.split()) > 2}
    assert rows["update"] == ["224", "2"]
    assert rows["whole"] == ["3,812", "217"]
    assert "3.81 GB" in (root / "docs" / "speed.md").read_text()
