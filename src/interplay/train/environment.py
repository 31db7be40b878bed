"""What a run ran on: recorded with every number, so that two records can be told apart by their machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import interplay


def environment(device: torch.device, path: str) -> dict[str, Any]:
    """Versions, device, commit and threads, as JSON types.

    Args:
        device: where the run trains.
        path: which way through the code trains it, such as ``single``.
    """
    found: dict[str, Any] = {
        "interplay": interplay.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "device": device.type,
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "path": path,
    }
    if device.type == "cuda":
        found |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
    return found


def device_name(device: torch.device) -> str:
    """Name of the GPU, or model of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


@cache
def processor() -> str:
    """Model of the processor where the system tells it, else its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.machine()  # not Linux
    return platform.processor() or platform.machine()


@cache
def commit() -> str | None:
    """Commit of the source tree with ``+`` if it has changes; ``None`` for an installed package or without git."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        changed = _git(root, "status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head[:12] + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *words],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=10,
    ).stdout
