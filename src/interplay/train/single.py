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
from interplay.train.evaluate import Measured, channels_last, evaluate, measured
from interplay.train.instruments import Instruments

LOOK_EVERY = 50
LOOK_SECONDS = 1.0
"""Batches, or seconds if they pass sooner, between two looks at the loss: on a GPU each look makes the host wait."""


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
        on_batch: called every `LOOK_EVERY` batches, at the last one of each epoch, and at least about once a second.
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
        environment=run.environment,
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
        self.rule = DivergenceRule(spec, splits.classes, len(splits.train), self.batches.steps)
        # Read at the start: files may change while a long run goes on.
        self.environment = environment(device, "single")
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
        began = looked = time.perf_counter()
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
            due = batch == self.batches.steps or batch % LOOK_EVERY == 0 or time.perf_counter() - looked > LOOK_SECONDS
            if due or device.type == "cpu":
                reason = self.rule.batch(loss_sum.item())
            if due and on_batch is not None:
                looked = time.perf_counter()
                mean, accuracy = loss_sum.item() / seen, 100 * correct.item() / seen
                on_batch(BatchMetrics(self.epoch, batch, self.batches.steps, mean, accuracy, rates[batch - 1]))
            if reason:
                break
        trained = time.perf_counter() - began
        training = measured(loss_sum.item(), int(correct.item()), seen)
        return self._end_epoch(rates[0], training, seen, trained, began), reason

    def _end_epoch(self, lr: float, training: Measured, seen: int, trained: float, began: float) -> EpochMetrics:
        test: Measured = (None, None)
        val: Measured = (None, None)
        instruments: dict[str, float] = {}
        if training[0] is not None:  # a network that is not finite has nothing to measure
            test = evaluate(self.model, self.splits.test, self.splits, self.autocast)
            if self.splits.val is not None:
                val = evaluate(self.model, self.splits.val, self.splits, self.autocast)
            instruments = self.instruments.end_epoch()
        return EpochMetrics(
            epoch=self.epoch,
            lr=lr,
            train_loss=training[0],
            train_acc=training[1],
            test_loss=test[0],
            test_acc=test[1],
            val_loss=val[0],
            val_acc=val[1],
            seconds=time.perf_counter() - began,
            images_per_second=seen / trained,
            instruments={name: _finite(value) for name, value in instruments.items()},
        )

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, *, stopping: bool) -> None:
        """Leave the checkpoints that are due after an epoch."""
        if self.checkpoints is None:
            return
        due = time.perf_counter() - self._saved > self.checkpoints.every_seconds
        if self.checkpoints.keep and _best(self.history) is self.history[-1]:
            checkpoint.save(self.checkpoints.best, self.state())
        if stopping or (due and self.epoch < self.spec.epochs):
            checkpoint.save(self.checkpoints.last, self.state())
            self._saved = time.perf_counter()

    def finish(self, *, diverged: bool) -> None:
        """Leave the final weights where they are wanted."""
        if self.checkpoints is not None and self.checkpoints.keep and not diverged:
            checkpoint.save(self.checkpoints.final, self.state())

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and the metrics so far."""
        last = self.history[-1]
        best = _best(self.history)
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
                "best_test_acc": best.test_acc if best else None,
                "best_epoch": best.epoch if best else None,
            },
            "history": [m.to_dict() for m in self.history],
            "first_batch_loss": self.rule.state(),
            "seconds": self.seconds(),
            "environment": self.environment,
        }

    def _resume(self, checkpoints: Checkpoints) -> None:
        state = checkpoint.read_for(self.spec, checkpoints.last, self.splits.device)
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.history = [EpochMetrics.from_dict(m) for m in state["history"]]
        self.epoch = state["epoch"]
        self._seconds_before = state["seconds"]
        earlier = dict(state["environment"])
        self.environment["earlier_sittings"] = [*earlier.pop("earlier_sittings", []), earlier]
        if checkpoints.best.exists() and checkpoint.read(checkpoints.best)["epoch"] > self.epoch:
            checkpoints.best.unlink()  # of epochs that a kill undid and that this sitting trains again
        if state["first_batch_loss"] is not None:
            self.rule.first_batch(state["first_batch_loss"])


def _best(history: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """The epoch with the highest test accuracy, the first of equals; ``None`` if none was measured."""
    return max((m for m in history if m.test_acc is not None), key=lambda m: m.test_acc or 0.0, default=None)


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
