"""Hundreds of accidents of live owners of leases cost no row, double none and change none: see ``chaos.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHAOS = Path(__file__).with_name("chaos.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="accidents happen to forks, which this system has not"),
]


def chaos(*words: str) -> int:
    """Run the accidents; returns how many there were."""
    done = subprocess.run(
        [sys.executable, str(CHAOS), *words],
        capture_output=True,
        text=True,
        # The engine of gradients starts threads for GPUs, which a fork would lack.
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split()[0])


@pytest.mark.parametrize("path", ["plain", "stacked"])
def test_signals_to_live_owners_cost_nothing(path: str, tmp_path: Path) -> None:
    assert chaos("signals", path, str(tmp_path), "160") >= 160  # of each path, so more than 300 in all


@pytest.mark.parametrize("links", ["linked", "unlinked"])
@pytest.mark.parametrize("accident", ["kill", "full"])
@pytest.mark.parametrize("path", ["plain", "stacked"])
def test_an_accident_before_every_file_operation_costs_nothing(
    path: str, accident: str, links: str, tmp_path: Path
) -> None:
    """A kill and a full disk, on file systems with and without hard links."""
    assert chaos("crashes", path, str(tmp_path), accident, links) >= 40
