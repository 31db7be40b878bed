"""The plain training loop: one run, one network, nothing clever. Faster paths are tested against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from interplay.data.batches import TrainingBatches
from interplay.data.splits import Split, Splits
from interplay.errors import InterplayError
from interplay.models.build import build, parameter_count
from interplay.optim import sgd
from interplay.optim.schedules import epoch_rates
from interplay.record import EpochMetrics, RunRecord, Status, best_epoch
from interplay.spec import RunSpec
from interplay.train import checkpoint
from interplay.train.checkpoint import Checkpoints
from interplay.train.ddp import ALONE, Group, share_statistics
from interplay.train.divergence import DivergenceRule
from interplay.train.environment import environment
from interplay.train.evaluate import Measured, channels_last, evaluate, measured
from interplay.train.events import BatchSeen
from interplay.train.instruments import Instruments
from interplay.train.standing import measured_at, sittings, snapshot
from interplay.train.timescales import collapse_variables

LOOK_EVERY = 50
LOOK_SECONDS = 1.0
"""Batches, or seconds if they pass sooner, between two looks at the loss: on a GPU each look makes the host wait."""


def is_logged(batch: int, batches: int) -> bool:
    """Whether a batch is one of every `LOOK_EVERY` or the last of its epoch: reported whatever the clock says."""
    return batch % LOOK_EVERY == 0 or batch == batches


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
    on_batch: Callable[[BatchSeen], None] | None = None,
    on_model: Callable[[nn.Module, Sequence[EpochMetrics]], None] | None = None,
    checkpoints: Checkpoints | None = None,
    instruments: Sequence[str] = (),
    group: Group = ALONE,
    state: Mapping[str, Any] | None = None,
    test_every: int = 1,
    facts: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Train ``spec`` on ``splits`` and return its record.

    Args:
        spec: what to compute.
        splits: its data; training happens on the device where they lie.
        on_epoch: called with the metrics of each epoch as it ends; returns True to stop the run there.
        on_batch: called every `LOOK_EVERY` batches, at the last one of each epoch, and at least about once a second.
        on_model: called once before training, with the network and the epochs that lie behind it if the run goes on.
        checkpoints: where to leave checkpoints. If there is one of this run to go on from, the run goes on from it; on
            a CPU with the same number of threads it then ends with the very same bits as if it had never stopped. A
            damaged one is set aside and the run starts again.
        instruments: names of optional measurements, see `instruments`.
        group: the processes that train this run together, each calling this with the same spec and data; callbacks are
            called in all of them, checkpoints written by the first.
        state: a checkpoint's content to go on from, instead of what ``checkpoints`` may hold.
        test_every: epochs from one look at the test and validation images to the next; the last epoch has one always.
        facts: noted in the environment of the record.

    Returns:
        A record with status finished, or diverged with the history up to that point.

    Raises:
        Interrupted: ``on_epoch`` asked to stop; a checkpoint was left if ``checkpoints`` are given.
        CheckpointError: the checkpoint to go on from is of another run.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    run = _Run(spec, splits, checkpoints, instruments, group, state, test_every)
    run.environment |= facts or {}
    if on_model is not None:
        run.introduce(on_model)
    reason: str | None = None
    while reason is None and run.epoch < spec.epochs:
        run.epoch += 1
        metrics, reason = run.train_epoch(on_batch)
        run.history.append(metrics)
        reason = reason or run.rule.epoch(run.history, tested=run.tested)
        asked_to_stop = group.any(on_epoch is not None and on_epoch(metrics) is True, splits.device)
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
        self,
        spec: RunSpec,
        splits: Splits,
        checkpoints: Checkpoints | None,
        instruments: Sequence[str],
        group: Group,
        state: Mapping[str, Any] | None,
        test_every: int,
    ) -> None:
        device = splits.device
        group.check(len(splits.train), spec.batch_size)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            # fp32 means fp32: TF32 keeps 10 bits of the mantissa, the same as the half precision it would replace.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.spec, self.splits, self.checkpoints, self.group = spec, splits, checkpoints, group
        self.model = build(spec, splits.shape, splits.classes).to(device)
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = share_statistics(self.model, group)
        self.trained = group.wrap(self.model)
        self.optimizer = sgd.build(spec, self.model)
        self.batches = TrainingBatches(spec, splits)
        self.instruments = Instruments(instruments, self.model, spec, splits)
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
        self.rule = DivergenceRule(spec, splits.classes, len(splits.train), self.batches.steps)
        # Read at the start: files may change while a long run goes on.
        self.environment = environment(device, "single" if group.world == 1 else f"{group.world} processes")
        self.history: list[EpochMetrics] = []
        self.epoch = 0
        self._test_every = test_every
        self._began = self._saved = time.perf_counter()
        self._seconds_before = 0.0
        if state is None and checkpoints is not None:
            state = checkpoints.standing(spec, device)
        if state is not None:
            self._restore(state)

    def seconds(self) -> float:
        """Wall time spent on this run, over all its sittings."""
        return self._seconds_before + time.perf_counter() - self._began

    @property
    def tested(self) -> bool:
        """Whether the test images are looked at after this epoch."""
        return measured_at(self.epoch, self.spec, self._test_every)

    def introduce(self, on_model: Callable[[nn.Module, Sequence[EpochMetrics]], None]) -> None:
        """Show the network to whoever follows the run; the time that this takes is not the run's."""
        began = time.perf_counter()
        on_model(self.model, tuple(self.history))
        self._began += time.perf_counter() - began

    def train_epoch(self, on_batch: Callable[[BatchSeen], None] | None) -> tuple[EpochMetrics, str | None]:
        """One pass over the training images and one evaluation; with the reason if the loss stopped being finite."""
        began = looked = time.perf_counter()
        device = self.splits.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        rates = epoch_rates(self.spec, self.epoch, self.batches.steps)
        seen, reason = 0, None
        group, size, images_in_all = self.group, self.spec.batch_size, len(self.splits.train)
        self.model.train()
        for batch, (images, labels) in enumerate(self.batches.epoch(self.epoch, group.share(size)), start=1):
            whole = min(size, images_in_all - seen)
            sgd.set_lr(self.optimizer, rates[batch - 1])
            with self.autocast:
                logits = self.trained(channels_last(images))
                loss = functional.cross_entropy(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            group.weighted(loss, len(labels), whole).backward()  # type: ignore[no-untyped-call]
            self.instruments.before_step()
            self.optimizer.step()
            self.instruments.after_step()

            loss_sum += loss.detach().double() * len(labels)
            hits = (logits.detach().argmax(1) == labels).sum()
            correct += hits
            seen += whole
            if self.epoch == 1 and batch == 1:
                self.rule.first_batch(group.total(loss.detach().double() * len(labels))[0] / whole)
            due = is_logged(batch, self.batches.steps)
            # Several processes must look at the same batches, which their clocks cannot settle.
            due = due or (group.world == 1 and time.perf_counter() - looked > LOOK_SECONDS)
            if due or device.type == "cpu":
                reason = self.rule.batch(group.total(loss_sum)[0])
            if due:
                looked = time.perf_counter()
            if due and on_batch is not None:
                sums = group.total(loss_sum, correct, loss.detach().double() * len(labels), hits)
                mean, accuracy = sums[0] / seen, 100 * sums[1] / seen
                alone = sums[2] / whole, 100 * sums[3] / whole
                epochs, steps = self.spec.epochs, self.batches.steps
                facts = self.epoch, epochs, batch, steps, mean, accuracy, rates[batch - 1], *alone
                on_batch(BatchSeen(self.spec, *facts, is_logged=is_logged(batch, steps)))
            if reason:
                break
        trained = time.perf_counter() - began
        total, right = group.total(loss_sum, correct)
        training = measured(total, int(right), seen)
        return self._end_epoch(rates[0], training, seen, trained, began), reason

    def _end_epoch(self, lr: float, training: Measured, seen: int, trained: float, began: float) -> EpochMetrics:
        test: Measured = (None, None)
        val: Measured = (None, None)
        instruments: dict[str, float] = {}
        if training[0] is not None:  # a network that is not finite has nothing to measure
            test = self._evaluate(self.splits.test) if self.tested else test
            if self.splits.val is not None and self.tested:
                val = self._evaluate(self.splits.val)
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

    def _evaluate(self, split: Split) -> Measured:
        """Each process measures its share."""
        if self.group.world == 1:
            return evaluate(self.model, split, self.splits, self.autocast)
        own = self.group.split(split)
        loss, accuracy = evaluate(self.model, own, self.splits, self.autocast)
        sums = [math.nan, 0.0] if loss is None or accuracy is None else [loss * len(own), accuracy / 100 * len(own)]
        loss_sum, right = self.group.total(*torch.tensor(sums, dtype=torch.float64, device=self.splits.device))
        return measured(loss_sum, round(right), len(split))

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def save(self, *, stopping: bool) -> None:
        """Leave the checkpoints that are due after an epoch."""
        if self.checkpoints is None or not self.group.leads:
            return
        due = time.perf_counter() - self._saved > self.checkpoints.every_seconds
        if (self.checkpoints.keep or self.checkpoints.keep_best) and best_epoch(self.history) is self.history[-1]:
            checkpoint.save(self.checkpoints.best, self.state())
        if stopping or (due and self.epoch < self.spec.epochs):
            checkpoint.save(self.checkpoints.last, self.state())
            self._saved = time.perf_counter()

    def finish(self, *, diverged: bool) -> None:
        """Leave the final weights where they are wanted."""
        if self.checkpoints is not None and self.checkpoints.keep and self.group.leads and not diverged:
            checkpoint.save(self.checkpoints.final, self.state())

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and the metrics so far."""
        return snapshot(
            self.spec,
            self.history,
            model_state=self.model.state_dict(),
            optimizer=self.optimizer,
            steps=self.batches.steps,
            first_loss=self.rule.state(),
            seconds=self.seconds(),
            environment=self.environment,
        )

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model_state_dict"])
        self.optimizer.load_state_dict(state["optimizer_state_dict"])
        self.history = [EpochMetrics.from_dict(m) for m in state["history"]]
        self.epoch = state["epoch"]
        self._seconds_before = state["seconds"]
        replanned = list(state["environment"].get("replanned", []))
        if state["spec"]["epochs"] != self.spec.epochs:
            replanned.append({"after_epoch": self.epoch, "planned_epochs": state["spec"]["epochs"]})
        if replanned:
            self.environment["replanned"] = replanned
        self.environment["earlier_sittings"] = sittings(state["environment"])
        if state["first_batch_loss"] is not None:
            self.rule.first_batch(state["first_batch_loss"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
