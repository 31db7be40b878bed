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
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from interplay.errors import InterplayError
from interplay.spec import RunSpec

CHECKPOINT_SCHEMA = 1


class CheckpointError(InterplayError):
    """A checkpoint is absent, damaged, or belongs to another run."""


@dataclass(frozen=True)
class Checkpoints:
    """Where and when a run writes checkpoints.

    ``last.pt`` is for resuming: written when the run is asked to stop and every ``every_seconds``. Whoever keeps the
    record removes it once the record is safe.
    ``best.pt`` and ``final.pt`` are written where ``keep`` asks for them; ``keep_best`` asks for the first alone.
    """

    folder: Path
    keep: bool = False
    keep_best: bool = False
    every_seconds: float = 300.0
    names: tuple[str, str, str] = ("last.pt", "best.pt", "final.pt")

    @property
    def last(self) -> Path:
        """Where the run stands."""
        return self.folder / self.names[0]

    @property
    def best(self) -> Path:
        """Weights of the epoch with the best test accuracy."""
        return self.folder / self.names[1]

    @property
    def final(self) -> Path:
        """Weights after the last epoch."""
        return self.folder / self.names[2]


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
        raise CheckpointError(f"{path} is not a readable checkpoint: {first_line(error)}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is not a readable checkpoint: it holds a {type(state).__name__}")
    if state.get("schema") != CHECKPOINT_SCHEMA:
        raise CheckpointError(
            f"{path} has checkpoint schema {state.get('schema')}, this version reads {CHECKPOINT_SCHEMA}"
        )
    return state


def first_line(error: Exception) -> str:
    """The first line of a message, or the kind of error if it has none."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def read_for(spec: RunSpec, path: Path, device: torch.device | str) -> dict[str, Any]:
    """`read`, and make sure that the checkpoint is one of this very spec."""
    state = read(path, device)
    if state["run_id"] != spec.run_id:
        raise CheckpointError(f"{path} belongs to run {state['run_id']}, not to {spec.run_id}")
    return state


def load_checkpoint(
    path: str | Path,
    model: nn.Module | None = None,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Load a checkpoint of this lab into ``model`` and, where given, its optimiser and scheduler.

    Args:
        path: such as ``outputs/checkpoints/exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth``.
        model: takes the weights; those of a wrapped model (prefix ``module.``) fit as well.
        optimizer: takes momentum and hyperparameters.
        scheduler: takes its position in the schedule.
        device: where the tensors are loaded to; a checkpoint from a GPU loads on a CPU.

    Returns:
        The whole checkpoint; ``metrics`` holds final_test_acc, best_test_acc (%), losses (nats) and epoch.

    Raises:
        CheckpointError: absent, damaged, or of a network with other layers.
    """
    state = read(Path(path), device)
    try:
        if model is not None:
            weights = state["model_state_dict"]
            model.load_state_dict({name.removeprefix("module."): value for name, value in weights.items()})
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer_state_dict"])
        if scheduler is not None:
            scheduler.load_state_dict(state["scheduler_state_dict"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit: {first_line(error)}") from error
    return state
