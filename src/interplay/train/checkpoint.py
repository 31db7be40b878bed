"""Checkpoints: what a run needs to go on, and the weights it is remembered by.

All are written whole under a temporary name, with a checksum, and renamed. They are read with ``weights_only=True``, so
that a checkpoint from elsewhere can hold tensors and plain values but no code.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from interplay.dataset_facts import DATASETS
from interplay.errors import InterplayError
from interplay.notes import LOGGER
from interplay.optim.schedulers import scheduler_after, with_next_rate
from interplay.record import EpochMetrics, best_epoch
from interplay.spec import RunSpec
from interplay.train.archive import CheckpointError, DamagedCheckpointError, ForeignCheckpointError, check, seal
from interplay.train.fitting import MisfitError, bare, check_optimizer, position_for, take_position, weights_for

__all__ = ["CheckpointError", "DamagedCheckpointError", "ForeignCheckpointError"]

CHECKPOINT_SCHEMA = 1
_NEEDED = (
    "run_id",
    "spec",
    "epoch",
    "model_state_dict",
    "optimizer_state_dict",
    "history",
    "first_batch_loss",
    "seconds",
)
"""What a run cannot go on without."""


def _say(text: str) -> None:
    LOGGER.warning("note: %s", text)


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
    say: Callable[[str], None] = _say
    """Hears, in one line, of a damaged checkpoint."""

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

    def standing(self, spec: RunSpec) -> dict[str, Any] | None:
        """The checkpoint that the run of ``spec`` goes on from, on the CPU; ``None`` where it begins at its start.

        Whoever loads it moves what belongs on the GPU. Counters of steps of Adam do not: torch reads them in each step,
        and the host would wait for the GPU twice a parameter.

        A damaged one is set aside, and said. So is a damaged ``best.pt``; where that is wanted the run starts again,
        since an epoch that lies behind it may have been the best. Best weights of epochs that come again are removed.

        Raises:
            CheckpointError: a whole checkpoint, but of another run or another version.
        """
        if not self.last.exists():
            return None
        try:
            state = read_for(spec, self.last)
        except (DamagedCheckpointError, ForeignCheckpointError) as error:
            self.say(f"{error}; kept as {set_aside(self.last).name}. The run goes on from its start")
            return None
        if self.best.exists():
            try:
                if read(self.best)["epoch"] > state["epoch"]:
                    self.best.unlink()
            except (DamagedCheckpointError, ForeignCheckpointError) as error:
                kept = f"{error}; kept as {set_aside(self.best).name}"
                if self.keep or self.keep_best:
                    self.last.unlink()
                    self.say(f"{kept}. The run goes on from its start, so that its best weights are there again")
                    return None
                self.say(kept)
        return state


def save(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` so that a reader sees the old file or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with partial.open("w+b") as file:
            try:
                torch.save({"schema": CHECKPOINT_SCHEMA, **state}, file)
            except RuntimeError as error:
                # It closes its archive on the way out, which fails in turn: a full disk or Ctrl-C is what happened.
                cause = error.__context__
                if cause is not None and (isinstance(cause, OSError | MemoryError) or not isinstance(cause, Exception)):
                    raise cause from None
                raise
            seal(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Give a damaged checkpoint a name that nothing reads, and return it."""
    kept = path.with_name(f"{path.name}.damaged")
    path.replace(kept)
    return kept


def read(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint onto ``device``, once its checksum has been found right.

    Raises:
        DamagedCheckpointError: it has not the bytes that were written.
        ForeignCheckpointError: it is something else, such as a checkpoint of other code or one that holds code.
        CheckpointError: there is none, it cannot be read, or it has the format of another version.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(f"{path} cannot be loaded onto {device}: there is no usable GPU here")
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ForeignCheckpointError(f"{path} is not a readable checkpoint: it is no file but a folder or a device")
        with path.open("rb") as file:
            check(file, path)
            state = _load(file, path, device)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name with a NUL
        raise CheckpointError(f"{path!r} is no name of a file") from error
    if not isinstance(state, dict):
        raise ForeignCheckpointError(f"{path} is not a readable checkpoint: it holds a {type(state).__name__}")
    if "schema" not in state:
        raise ForeignCheckpointError(f"{path} is not a checkpoint of this lab: {_content(state)}")
    if state["schema"] != CHECKPOINT_SCHEMA:
        raise CheckpointError(f"{path} has checkpoint schema {state['schema']}, this version reads {CHECKPOINT_SCHEMA}")
    return state


def _load(file: BinaryIO, path: Path, device: torch.device | str) -> Any:
    begin = f"{path} is not a readable checkpoint: "
    file.seek(0)
    try:
        return torch.load(file, map_location=device, weights_only=True)
    except OSError:
        raise
    except MemoryError:
        raise CheckpointError(f"{path} cannot be loaded: the memory does not suffice") from None
    except Exception as error:  # what a file from elsewhere can make torch raise is not documented
        if isinstance(error, RuntimeError) and "CUDA" in str(error):
            raise  # of the GPU, not of the file
        names = _globals(file)
        if names and all(name.startswith("numpy") for name in names):
            words = f"it holds numbers or arrays of numpy ({', '.join(names[:3])}) besides tensors and plain values"
        elif names:
            words = f"it holds objects of other code ({', '.join(names[:3])}), not only tensors and plain values"
        else:
            words = "its content is not what torch.save writes"
        raise ForeignCheckpointError(begin + words) from error


def _globals(file: BinaryIO) -> list[str]:
    """Classes and functions in a checkpoint that are neither tensors nor plain values."""
    file.seek(0)
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    except Exception:  # the content is so foreign that torch cannot even list it
        return []


def _content(state: Mapping[Any, Any]) -> str:
    if state and all(isinstance(value, torch.Tensor) for value in state.values()):
        return f"it holds bare weights ({len(state)} tensors), which model.load_state_dict takes"
    names = [str(name) for name in state]
    return f"it holds {', '.join(names[:5])}{' and others' if len(names) > 5 else ''}" if names else "it is empty"


def require_standing(state: Mapping[str, Any], path: Path) -> None:
    """Raise `ForeignCheckpointError` if a run cannot go on from ``state``, which was read from ``path``."""
    if missing := [name for name in _NEEDED if name not in state]:
        raise ForeignCheckpointError(f"{path} is not a checkpoint to go on from: it lacks {', '.join(missing)}")


def read_for(spec: RunSpec, path: Path) -> dict[str, Any]:
    """`read`, and make sure that the checkpoint is one of this very spec."""
    state = read(path)
    require_standing(state, path)
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

    With torch's own SGD and the scheduler that `optim.schedules` names for the schedule (``CosineAnnealingLR`` with
    ``T_max`` = epochs by default, stepped as the run was), the rates that follow are torch's to the last bit.

    Args:
        path: such as ``outputs/checkpoints/exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth``.
        model: takes the weights; those of a wrapped model (prefix ``module.``) fit as well.
        optimizer: takes momentum, hyperparameters and the learning rate that comes next.
        scheduler: takes its position in the schedule; its optimiser takes the rate that comes next.
        device: where the tensors are loaded to; a checkpoint from a GPU loads on a CPU.

    Returns:
        The whole checkpoint; ``metrics`` holds final_test_acc, best_test_acc (%), losses (nats) and epoch.

    Raises:
        CheckpointError: absent, damaged, of other code, or of another network, optimiser or scheduler; names the
            tensors that do not fit, with their shapes. Nothing has been loaded then.
    """
    path = Path(path)
    state = _up_to_date(read(path, device), path)
    try:
        weights = weights_for(model, state["model_state_dict"]) if model is not None else {}
        if optimizer is not None:
            names = {id(value): bare(name) for name, value in model.named_parameters()} if model is not None else {}
            check_optimizer(optimizer, state["optimizer_state_dict"], names)
        position = {}
        if scheduler is not None:
            position = position_for(scheduler, state["scheduler_state_dict"], state["scheduler"])
    except MisfitError as error:
        raise CheckpointError(f"{path} does not fit: {error}") from error
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not fit: it lacks something, or has it in another form ({error})"
        ) from error
    if model is not None:
        model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer_state_dict"])
    if scheduler is not None:
        take_position(scheduler, position)
    return state


def _up_to_date(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """``state`` with the schedule's position as torch has it: earlier versions wrote that of one epoch before."""
    if "scheduler" in state or "spec" not in state or "epoch" not in state:
        return state
    try:
        spec = RunSpec.from_dict(state["spec"])
        facts = DATASETS.get(spec.dataset)
        images = None if facts is None else spec.training_images(facts.n_train)
        if images is None and spec.schedule_every == "step":
            return state  # how many steps an epoch had is not written in it
        groups = state["optimizer_state_dict"]["param_groups"]
        steps = -(-(images or 1) // spec.batch_size)
        state["scheduler"], state["scheduler_state_dict"], rate = scheduler_after(
            spec, state["epoch"], steps, len(groups)
        )
        with_next_rate(state["optimizer_state_dict"], spec, rate)
    except (InterplayError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is of an earlier version and has something in another form: {error}") from error
    return state


def snapshot(
    spec: RunSpec,
    history: Sequence[EpochMetrics],
    *,
    model_state: Mapping[str, Tensor],
    optimizer: Optimizer,
    steps: int,
    first_loss: float | None,
    seconds: float,
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that the rest of the run depends on, and the metrics so far.

    Args:
        spec: what is computed.
        history: its epochs so far, at least one.
        model_state: weights and buffers under the names of `models.build`.
        optimizer: the optimiser of `optim.sgd.build`, or one with its state and groups.
        steps: batches of an epoch.
        first_loss: what the divergence rule keeps.
        seconds: wall time spent so far.
        environment: of this attempt.
    """
    last, best = history[-1], best_epoch(history)
    scheduler, position, rate = scheduler_after(spec, last.epoch, steps, len(optimizer.param_groups))
    return {
        "run_id": spec.run_id,
        "spec": spec.to_dict(),
        "epoch": last.epoch,
        "model_state_dict": model_state,
        "optimizer_state_dict": with_next_rate(optimizer.state_dict(), spec, rate),
        "scheduler": scheduler,
        "scheduler_state_dict": position,
        "metrics": {
            "epoch": last.epoch,
            "final_test_acc": last.test_acc,
            "final_test_loss": last.test_loss,
            "final_train_loss": last.train_loss,
            "best_test_acc": best.test_acc if best else None,
            "best_epoch": best.epoch if best else None,
        },
        "history": [m.to_dict() for m in history],
        "first_batch_loss": first_loss,
        "seconds": seconds,
        "environment": environment,
    }
