"""The plain training loop: one run, one network, nothing clever. Faster paths are tested against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch.nn import functional
from torch.optim import Optimizer

from interplay.data.batches import TrainingBatches
from interplay.data.splits import Splits
from interplay.errors import InterplayError
from interplay.models.build import build, parameter_count
from interplay.optim import sgd
from interplay.optim.schedules import epoch_rates
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.train import checkpoint
from interplay.train.checkpoint import Checkpoints
from interplay.train.collapse import collapse_variables
from interplay.train.divergence import DivergenceRule
from interplay.train.environment import environment
from interplay.train.evaluate import channels_last, evaluate
from interplay.train.instruments import Instruments

LOOK_EVERY = 50
"""Batches between two looks at the loss. On a GPU each look makes the host wait; a CPU looks at every batch."""


@dataclass(frozen=True)
class BatchMetrics:
    """Progress inside an epoch: means over the batches of this epoch so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    lr: float


class Interrupted(InterplayError):
    """A run stopped at an epoch boundary because it was asked to; its checkpoint says where to go on."""

    exit_code = 130

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped after epoch {epoch}; the same command goes on from there")
        self.epoch = epoch


def train(
    spec: RunSpec,
    splits: Splits,
    *,
    on_epoch: Callable[[EpochMetrics], bool | None] | None = None,
    on_batch: Callable[[BatchMetrics], None] | None = None,
    checkpoints: Checkpoints | None = None,
    instruments: Sequence[str] = (),
) -> RunRecord:
    """Train ``spec`` on ``splits`` and return its record.

    Args:
        spec: what to compute.
        splits: its data; training happens on the device where they lie.
        on_epoch: called with the metrics of each epoch as it ends; returns True to stop the run there.
        on_batch: called every `LOOK_EVERY` batches and at the last one of each epoch.
        checkpoints: where to leave checkpoints. If there is one of this run to go on from, the run goes on from it; on
            a CPU with the same number of threads it then ends with the very same bits as if it had never stopped.
        instruments: names of optional measurements, see `instruments`.

    Returns:
        A record with status finished, or diverged with the history up to that point.

    Raises:
        Interrupted: ``on_epoch`` asked to stop; a checkpoint was left if ``checkpoints`` are given.
        CheckpointError: the checkpoint to go on from is damaged or of another run.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    run = _Run(spec, splits, checkpoints, instruments)
    reason: str | None = None
    while reason is None and run.epoch < spec.epochs:
        run.epoch += 1
        metrics, reason = run.train_epoch(on_batch)
        run.history.append(metrics)
        reason = reason or run.rule.epoch(run.history)
        asked_to_stop = on_epoch is not None and on_epoch(metrics) is True
        run.save(stopping=asked_to_stop and reason is None and run.epoch < spec.epochs)
        if asked_to_stop and reason is None and run.epoch < spec.epochs:
            raise Interrupted(run.epoch)
    run.finish(diverged=reason is not None)
    return RunRecord(
        spec=spec,
        status=Status.FINISHED if reason is None else Status.DIVERGED,
        reason=reason,
        history=tuple(run.history),
        environment=environment(splits.device, "single"),
        collapse=collapse_variables(spec, run.batches.steps),
        model_class=type(run.model).__name__,
        parameters=parameter_count(run.model),
        wall_seconds=run.seconds(),
        started_at=started_at,
    )


class _Run:
    """The moving parts of one run: network, optimiser, data, history, and where it stands."""

    def __init__(
        self, spec: RunSpec, splits: Splits, checkpoints: Checkpoints | None, instruments: Sequence[str]
    ) -> None:
        device = splits.device
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            # fp32 means fp32: TF32 keeps 10 bits of the mantissa, the same as the half precision it would replace.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.spec, self.splits, self.checkpoints = spec, splits, checkpoints
        self.model = build(spec, splits.shape, splits.classes).to(device)
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = sgd.build(spec, self.model)
        self.batches = TrainingBatches(spec, splits)
        self.instruments = Instruments(instruments, self.model, spec, splits)
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
        self.rule = DivergenceRule(spec, splits.classes, len(splits.train))
        self.history: list[EpochMetrics] = []
        self.epoch = 0
        self._began = self._saved = time.perf_counter()
        self._seconds_before = 0.0
        if checkpoints is not None and checkpoints.last.exists():
            self._resume(checkpoints)

    def seconds(self) -> float:
        """Wall time spent on this run, over all its sittings."""
        return self._seconds_before + time.perf_counter() - self._began

    def train_epoch(self, on_batch: Callable[[BatchMetrics], None] | None) -> tuple[EpochMetrics, str | None]:
        """One pass over the training images and one evaluation; with the reason if the loss stopped being finite."""
        began = time.perf_counter()
        device = self.splits.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        rates = epoch_rates(self.spec, self.epoch, self.batches.steps)
        seen, reason = 0, None
        self.model.train()
        for batch, (images, labels) in enumerate(self.batches.epoch(self.epoch), start=1):
            sgd.set_lr(self.optimizer, rates[batch - 1])
            with self.autocast:
                logits = self.model(channels_last(images))
                loss = functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.instruments.before_step()
            self.optimizer.step()
            self.instruments.after_step()

            loss_sum += loss.detach().double() * len(labels)
            correct += (logits.detach().argmax(1) == labels).sum()
            seen += len(labels)
            if self.epoch == 1 and batch == 1:
                self.rule.first_batch(loss.item())
            last = batch == self.batches.steps
            if last or batch % LOOK_EVERY == 0 or device.type == "cpu":
                reason = self.rule.batch(loss_sum.item())
                if on_batch is not None and (last or batch % LOOK_EVERY == 0):
                    mean, accuracy = loss_sum.item() / seen, 100 * correct.item() / seen
                    on_batch(BatchMetrics(self.epoch, batch, self.batches.steps, mean, accuracy, rates[batch - 1]))
                if reason:
                    break
        trained = time.perf_counter() - began
        return self._measure(
            rates[0], loss_sum.item() / seen, 100 * correct.item() / seen, seen, trained, began
        ), reason

    def _measure(
        self, lr: float, train_loss: float, train_acc: float, seen: int, trained: float, began: float
    ) -> EpochMetrics:
        test_loss, test_acc = evaluate(self.model, self.splits.test, self.splits, self.autocast)
        val_loss, val_acc = None, None
        if self.splits.val is not None:
            val_loss, val_acc = evaluate(self.model, self.splits.val, self.splits, self.autocast)
        measured = self.instruments.end_epoch()
        return EpochMetrics(
            epoch=self.epoch,
            lr=lr,
            train_loss=_finite(train_loss),
            train_acc=train_acc,
            test_loss=_finite(test_loss),
            test_acc=test_acc,
            val_loss=None if val_loss is None else _finite(val_loss),
            val_acc=val_acc,
            seconds=time.perf_counter() - began,
            images_per_second=seen / trained,
            instruments={name: _finite(value) for name, value in measured.items()},
        )

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, *, stopping: bool) -> None:
        """Leave the checkpoints that are due after an epoch."""
        if self.checkpoints is None:
            return
        due = time.perf_counter() - self._saved > self.checkpoints.every_seconds
        if self.checkpoints.keep:
            accuracies = [m.test_acc or 0.0 for m in self.history]
            # The first of equals is the best one, as max() over the history finds it.
            if accuracies.index(max(accuracies)) == len(accuracies) - 1:
                checkpoint.save(self.checkpoints.best, self.state())
        if stopping or (due and self.epoch < self.spec.epochs):
            checkpoint.save(self.checkpoints.last, self.state())
            self._saved = time.perf_counter()

    def finish(self, *, diverged: bool) -> None:
        """Leave the final weights where they are wanted and remove the checkpoint to resume from."""
        if self.checkpoints is None:
            return
        if self.checkpoints.keep and not diverged:
            checkpoint.save(self.checkpoints.final, self.state())
        self.checkpoints.last.unlink(missing_ok=True)

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and the metrics so far."""
        last = self.history[-1]
        best = max(self.history, key=lambda m: m.test_acc or 0.0)
        return {
            "run_id": self.spec.run_id,
            "spec": self.spec.to_dict(),
            "epoch": self.epoch,
            "model_state_dict": self.model.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            "scheduler_state_dict": scheduler_state(self.spec, self.epoch, self.optimizer),
            "metrics": {
                "epoch": self.epoch,
                "final_test_acc": last.test_acc,
                "final_test_loss": last.test_loss,
                "final_train_loss": last.train_loss,
                "best_test_acc": best.test_acc,
                "best_epoch": best.epoch,
            },
            "history": [m.to_dict() for m in self.history],
            "first_batch_loss": self.rule.state(),
            "seconds": self.seconds(),
        }

    def _resume(self, checkpoints: Checkpoints) -> None:
        state = checkpoint.read_for(self.spec, checkpoints.last, self.splits.device)
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.history = [EpochMetrics.from_dict(m) for m in state["history"]]
        self.epoch = state["epoch"]
        self._seconds_before = state["seconds"]
        if state["first_batch_loss"] is not None:
            self.rule.first_batch(state["first_batch_loss"])


def scheduler_state(spec: RunSpec, epoch: int, optimizer: Optimizer) -> dict[str, Any]:
    """Where the schedule stands, under the names that ``torch.optim.lr_scheduler`` gives its state."""
    return {
        "schedule": spec.schedule,
        "T_max": spec.epochs,
        "last_epoch": epoch,
        "base_lrs": [spec.lr for _ in optimizer.param_groups],
        "_last_lr": [float(group["lr"]) for group in optimizer.param_groups],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
