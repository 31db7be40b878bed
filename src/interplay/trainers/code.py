"""Which code a trial ran: what its record says, so that runs of different code can be told apart."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import interplay
from interplay.train.environment import processor
from interplay.trial import Trial

_FRESH = 5.0
"""Seconds for which a commit is believed: trials of a fraction of a second need not each ask git."""


def environment(trial: Trial, device: str, files: Sequence[str] = ()) -> dict[str, Any]:
    """What a record says of where and by what its trial ran, as JSON types.

    Args:
        trial: the run.
        device: of the worker.
        files: arguments of its command; the first that is a file is the script.
    """
    found: dict[str, Any] = {
        "interplay": interplay.__version__,
        "path": trial.trainer.kind,
        trial.trainer.kind: trial.trainer.name,
        "version": trial.trainer.version,
        "commit": commit(trial.options.folder) if trial.options.folder else None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "device": device.partition(":")[0],
        "device_name": processor() if device == "cpu" else os.environ.get("CUDA_VISIBLE_DEVICES", device),
    }
    folder = Path(trial.options.folder)
    script = next((path for word in files if (path := folder / word).is_file() and path.suffix), None)
    if script is not None:
        found["script"] = f"{script.name} {hashlib.sha256(script.read_bytes()).hexdigest()[:12]}"
    return found


def commit(folder: str) -> str | None:
    """Commit of the repository that ``folder`` is in, with ``+`` if its files have changes; ``None`` without one."""
    return _commit(folder, int(time.monotonic() / _FRESH))


@lru_cache(maxsize=8)
def _commit(folder: str, moment: int) -> str | None:
    try:
        head = _git(folder, "rev-parse", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head[:12] + ("+" if changed else "")


def _git(folder: str, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *words], capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10
    ).stdout
