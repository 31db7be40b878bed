"""Checkpoints: what a run needs to go on, and the weights it is remembered by.

All are written whole under a temporary name and renamed, and read with ``weights_only=True``, so that a checkpoint from
elsewhere can hold tensors and plain values but no code.
"""

from __future__ import annotations

import os
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interplay.errors import InterplayError
from interplay.spec import RunSpec

CHECKPOINT_SCHEMA = 1


class CheckpointError(InterplayError):
    """A checkpoint is absent, damaged, or belongs to another run."""


@dataclass(frozen=True)
class Checkpoints:
    """Where and when a run writes checkpoints.

    ``last.pt`` is for resuming: written when the run is asked to stop and every ``every_seconds``, removed at its end.
    ``best.pt`` and ``final.pt`` are written where ``keep`` asks for them.
    """

    folder: Path
    keep: bool = False
    every_seconds: float = 300.0

    @property
    def last(self) -> Path:
        """Where the run stands."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """Weights of the epoch with the best test accuracy."""
        return self.folder / "best.pt"

    @property
    def final(self) -> Path:
        """Weights after the last epoch."""
        return self.folder / "final.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with partial.open("wb") as file:
            torch.save({"schema": CHECKPOINT_SCHEMA, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint onto ``device``.

    Raises:
        CheckpointError: there is none, it is cut short, holds code, or has another format.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(state, dict) or state.get("schema") != CHECKPOINT_SCHEMA:
        raise CheckpointError(
            f"{path} has checkpoint schema {state.get('schema')}, this version reads {CHECKPOINT_SCHEMA}"
        )
    return state


def read_for(spec: RunSpec, path: Path, device: torch.device | str) -> dict[str, Any]:
    """`read`, and make sure that the checkpoint is one of this very spec."""
    state = read(path, device)
    if state["run_id"] != spec.run_id:
        raise CheckpointError(f"{path} belongs to run {state['run_id']}, not to {spec.run_id}")
    return state
