"""Fixtures shared by all tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
PACKED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # Two test processes share two cores; more threads than cores make every small matrix product wait.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real CIFAR files, rebuilt once for all test processes."""
    if not (PACKED / "unpack.py").is_file():
        pytest.skip("the real CIFAR files are not here: ../shared/data is absent")
    from filelock import FileLock

    # With several test processes each has its own base folder below a common one.
    folder = tmp_path_factory.getbasetemp().parent / "real"
    with FileLock(f"{folder}.lock"):
        subprocess.run([sys.executable, PACKED / "unpack.py", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture
def cuda() -> torch.device:
    """A GPU, or the test is skipped by name."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")
