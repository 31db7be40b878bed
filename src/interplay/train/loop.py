"""The plain training loop: one run, one network, nothing clever. Faster paths are tested against it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from interplay.data.batches import TrainingBatches
from interplay.data.splits import Split, Splits
from interplay.errors import InterplayError
from interplay.models.build import build, parameter_count
from interplay.optim import sgd
from interplay.optim.schedules import epoch_rates
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.train import backends
from interplay.train.checkpoint import Checkpoints
from interplay.train.ddp import ALONE, Group, share_statistics
from interplay.train.evaluate import Measured, channels_last, evaluate, measured
from interplay.train.events import BatchSeen, Emit, EpochEnded, Event, ModelReady, RecordReady, never, unheard
from interplay.train.instruments import Instruments
from interplay.train.names import Autotune, possible
from interplay.train.run import Run

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
    emit: Emit = unheard,
    should_stop: Callable[[], bool] = never,
    checkpoints: Checkpoints | None = None,
    instruments: Sequence[str] = (),
    group: Group = ALONE,
    state: Mapping[str, Any] | None = None,
    test_every: int = 1,
    facts: Mapping[str, Any] | None = None,
    autotune: Autotune = "none",
) -> RunRecord:
    """Train ``spec`` on ``splits`` and return its record.

    Args:
        spec: what to compute.
        splits: its data; training happens on the device where they lie.
        emit: takes the events of the run: `ModelReady` once before training, `BatchSeen` every `LOOK_EVERY` batches, at
            the last one of each epoch and at least about once a second, `EpochEnded` after each epoch, and
            `RecordReady` at the end. What it raises ends the run.
        should_stop: asked after each epoch; True stops the run there.
        checkpoints: where to leave checkpoints. If there is one of this run to go on from, the run goes on from it; on
            a CPU with the same number of threads it then ends with the very same bits as if it had never stopped. A
            damaged one is set aside and the run starts again.
        instruments: names of optional measurements, see `instruments`.
        group: the processes that train this run together, each calling this with the same spec and data; events are
            emitted in all of them, checkpoints written by the first. If one asks to stop, all stop.
        state: a checkpoint's content to go on from, instead of what ``checkpoints`` may hold.
        test_every: epochs from one look at the test and validation images to the next; the last epoch has one always.
        facts: noted in the environment of the record.
        autotune: whether cuDNN searches longer; Inductor has no part in this loop.

    Returns:
        A record with status finished, or diverged with the history up to that point.

    Raises:
        Interrupted: ``should_stop`` said so; a checkpoint was left if ``checkpoints`` are given.
        CheckpointError: the checkpoint to go on from is of another run.
    """
    autotune = possible(autotune, "single", splits.device.type)
    facts = {**({"autotune": autotune} if autotune != "none" else {}), **(facts or {})}
    with backends.set_for(splits.device, autotune):
        run = _Loop(spec, splits, checkpoints, instruments, group, state, test_every, facts)
        run.introduce(emit)
        book = run.book
        while not book.ended:
            metrics = run.train_epoch(emit)
            run.tell(emit, EpochEnded(spec, metrics))
            stopping = group.any(should_stop(), splits.device) and not book.ended
            run.save(stopping=stopping)
            if stopping:
                raise Interrupted(book.epoch)
        book.save_final(run.state)
        book.seconds = run.seconds()
        record = book.record(run.model)
        emit(RecordReady(record))
        return record


class _Loop:
    """The moving parts of one run: network, optimiser, data, and the bookkeeping."""

    def __init__(
        self,
        spec: RunSpec,
        splits: Splits,
        checkpoints: Checkpoints | None,
        instruments: Sequence[str],
        group: Group,
        state: Mapping[str, Any] | None,
        test_every: int,
        facts: Mapping[str, Any] | None,
    ) -> None:
        device = splits.device
        group.check(len(splits.train), spec.batch_size)
        if group.world > 1:
            checkpoints = checkpoints if group.leads else None
            if state is None:  # it is read once: the first process may set it aside, and soon writes the next
                with group.together(device):
                    state = None if checkpoints is None else checkpoints.standing(spec)
                state = group.same(state)
        self.spec, self.splits, self.group = spec, splits, group
        self.model = build(spec, splits.shape, splits.classes).to(device)
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = share_statistics(self.model, group)
        self.trained = group.wrap(self.model)
        self.optimizer = sgd.build(spec, self.model)
        self.batches = TrainingBatches(spec, splits)
        self.instruments = Instruments(instruments, self.model, spec, splits)
        self.autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
        self._began = self._saved = time.perf_counter()
        self.book = Run(
            spec,
            splits,
            "single" if group.world == 1 else f"{group.world} processes",
            facts=facts,
            checkpoints=checkpoints,
            state=state,
            test_every=test_every,
        )
        self.rule = self.book.rule
        self._seconds_before = self.book.seconds
        if self.book.restored is not None:
            self.model.load_state_dict(self.book.restored["model_state_dict"])
            self.optimizer.load_state_dict(self.book.restored["optimizer_state_dict"])
            self.book.restored = None

    def seconds(self) -> float:
        """Wall time spent on this run, over all its attempts."""
        return self._seconds_before + time.perf_counter() - self._began

    def introduce(self, emit: Emit) -> None:
        """Show the network to whoever follows the run; the time that this takes is not the run's."""
        began = time.perf_counter()
        history = tuple(self.book.history)
        self.tell(emit, ModelReady(self.spec, parameter_count(self.model), self.book.epoch, history, self.model))
        self._began += time.perf_counter() - began

    def tell(self, emit: Emit, event: Event) -> None:
        """Emit ``event``; what that raises in one process ends the run in all."""
        with self.group.together(self.splits.device):
            emit(event)

    def train_epoch(self, emit: Emit) -> EpochMetrics:
        """One pass over the training images and one evaluation."""
        began = looked = time.perf_counter()
        epoch = self.book.epoch + 1
        device = self.splits.device
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        rates = epoch_rates(self.spec, epoch, self.batches.steps)
        seen = 0
        group, size, images_in_all = self.group, self.spec.batch_size, len(self.splits.train)
        self.model.train()
        for batch, (images, labels) in enumerate(self.batches.epoch(epoch, group.share(size)), start=1):
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
            if epoch == 1 and batch == 1:
                self.rule.first_batch(group.total(loss.detach().double() * len(labels))[0] / whole)
            due = is_logged(batch, self.batches.steps)
            # Several processes must look at the same batches, which their clocks cannot settle.
            due = due or (group.world == 1 and time.perf_counter() - looked > LOOK_SECONDS)
            if due or device.type == "cpu":
                self.book.reason = self.rule.batch(group.total(loss_sum)[0])
            if due:
                looked = time.perf_counter()
            if due:
                sums = group.total(loss_sum, correct, loss.detach().double() * len(labels), hits)
                mean, accuracy = sums[0] / seen, 100 * sums[1] / seen
                alone = sums[2] / whole, 100 * sums[3] / whole
                epochs, steps = self.spec.epochs, self.batches.steps
                facts = epoch, epochs, batch, steps, mean, accuracy, rates[batch - 1], *alone
                self.tell(emit, BatchSeen(self.spec, *facts, is_logged=is_logged(batch, steps)))
            if self.book.reason:
                break
        trained = time.perf_counter() - began
        total, right = group.total(loss_sum, correct)
        training = measured(total, int(right), seen)
        return self._end_epoch(epoch, rates[0], training, seen, trained, began)

    def _end_epoch(
        self, epoch: int, lr: float, training: Measured, seen: int, trained: float, began: float
    ) -> EpochMetrics:
        test: Measured = (None, None)
        val: Measured = (None, None)
        instruments: dict[str, float] = {}
        if training[0] is not None:  # a network that is not finite has nothing to measure
            test = self._evaluate(self.splits.test) if self.book.tested(epoch) else test
            if self.splits.val is not None and self.book.tested(epoch):
                val = self._evaluate(self.splits.val)
            instruments = self.instruments.end_epoch()
        return self.book.add(
            epoch,
            lr=lr,
            training=training,
            test=test,
            val=val,
            seconds=time.perf_counter() - began,
            images_per_second=seen / trained,
            instruments=instruments,
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
        book = self.book
        book.save_best(self.state)
        if book.checkpoints is None:
            return
        due = time.perf_counter() - self._saved > book.checkpoints.every_seconds
        if stopping or (due and book.epoch < self.spec.epochs):
            book.save_last(self.state)
            self._saved = time.perf_counter()

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and the metrics so far."""
        self.book.seconds = self.seconds()
        return self.book.state(self.model.state_dict(), self.optimizer)
