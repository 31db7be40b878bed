"""The bookkeeping of one run, the same in both loops: history, divergence, seconds, checkpoints, record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.data.splits import Splits
from interplay.models.build import parameter_count
from interplay.record import EpochMetrics, RunRecord, Status, best_epoch
from interplay.spec import RunSpec
from interplay.train import checkpoint
from interplay.train.checkpoint import Checkpoints
from interplay.train.divergence import DivergenceRule
from interplay.train.environment import environment
from interplay.train.evaluate import Measured
from interplay.train.timescales import collapse_variables

State = Callable[[], dict[str, Any]]
"""Makes the content of a checkpoint, which costs time, where one is due."""


class Run:
    """Everything of one run but its network, optimiser and batches.

    Args:
        spec: what is computed.
        splits: its data.
        path: how it is trained, for the environment of its record.
        facts: noted in that environment besides.
        checkpoints: where it leaves checkpoints, and may find one to go on from.
        state: content of a checkpoint to go on from, instead of what ``checkpoints`` may hold.
        test_every: epochs from one look at the test and validation images to the next; the last epoch has one always.
    """

    def __init__(
        self,
        spec: RunSpec,
        splits: Splits,
        path: str,
        *,
        facts: Mapping[str, Any] | None = None,
        checkpoints: Checkpoints | None = None,
        state: Mapping[str, Any] | None = None,
        test_every: int = 1,
    ) -> None:
        self.spec, self.splits = spec, splits
        self.checkpoints = checkpoints
        self.steps = -(-len(splits.train) // spec.batch_size)
        """Batches of an epoch."""
        self.rule = DivergenceRule(spec, splits.classes, len(splits.train), self.steps)
        # Read at the start: files may change while a long run goes on.
        self.environment = {**environment(splits.device, path), **(facts or {})}
        self.started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self.history: list[EpochMetrics] = []
        self.epoch = 0
        """The epoch that has ended last; 0 before the first."""
        self.seconds = 0.0
        """Wall time spent on this run, over all its attempts."""
        self.reason: str | None = None
        """Why it counts as diverged, once it does."""
        self._test_every = test_every
        self.restored = state
        """The checkpoint to go on from, until a network has taken it over."""
        if state is None and checkpoints is not None:
            self.restored = checkpoints.standing(spec)
        if self.restored is not None:
            self._resume(self.restored)

    def _resume(self, state: Mapping[str, Any]) -> None:
        self.history = [EpochMetrics.from_dict(m) for m in state["history"]]
        self.epoch = state["epoch"]
        self.seconds = state["seconds"]
        last = dict(state["environment"])
        replanned = list(last.get("replanned", []))
        if state["spec"]["epochs"] != self.spec.epochs:
            replanned.append({"after_epoch": self.epoch, "planned_epochs": state["spec"]["epochs"]})
        if replanned:
            self.environment["replanned"] = replanned
        self.environment["earlier_sittings"] = [*last.pop("earlier_sittings", []), last]
        if state["first_batch_loss"] is not None:
            self.rule.first_batch(state["first_batch_loss"])

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.reason is not None or self.epoch >= self.spec.epochs

    def tested(self, epoch: int) -> bool:
        """Whether the test and validation images are looked at after ``epoch``."""
        return epoch == self.spec.epochs or epoch % self._test_every == 0

    def add(
        self,
        epoch: int,
        *,
        lr: float,
        training: Measured,
        test: Measured,
        val: Measured,
        seconds: float,
        images_per_second: float,
        instruments: Mapping[str, float] | None = None,
    ) -> EpochMetrics:
        """Note an epoch that has ended, and ask the rule about it.

        Args:
            epoch: 1 for the first.
            lr: learning rate of its first step.
            training: mean loss (nats) and accuracy (%) over its batches.
            test: the same of the test images, ``None`` twice where they were not looked at.
            val: the same of the validation images.
            seconds: wall time of the epoch with its evaluation.
            images_per_second: in training.
            instruments: values by name; those that are not finite are noted as missing.
        """
        metrics = EpochMetrics(
            epoch=epoch,
            lr=lr,
            train_loss=training[0],
            train_acc=training[1],
            test_loss=test[0],
            test_acc=test[1],
            val_loss=val[0],
            val_acc=val[1],
            seconds=seconds,
            images_per_second=images_per_second,
            instruments={name: v if math.isfinite(v) else None for name, v in (instruments or {}).items()},
        )
        self.history.append(metrics)
        self.epoch = epoch
        self.reason = self.reason or self.rule.epoch(self.history, tested=self.tested(epoch))
        return metrics

    # -- checkpoints and record -----------------------------------------------------------------------------------

    def state(self, model_state: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Any]:
        """Everything that the rest of the run depends on, and the metrics so far; see `checkpoint.snapshot`."""
        return checkpoint.snapshot(
            self.spec,
            self.history,
            model_state=model_state,
            optimizer=optimizer,
            steps=self.steps,
            first_loss=self.rule.state(),
            seconds=self.seconds,
            environment=self.environment,
        )

    def save_best(self, state: State) -> None:
        """Leave the weights of the last epoch if they are the best so far and wanted."""
        places = self.checkpoints
        if places is not None and (places.keep or places.keep_best) and best_epoch(self.history) is self.history[-1]:
            checkpoint.save(places.best, state())

    def save_last(self, state: State) -> None:
        """Leave the checkpoint to go on from."""
        if self.checkpoints is not None:
            checkpoint.save(self.checkpoints.last, state())

    def save_final(self, state: State) -> None:
        """Leave the final weights where they are wanted; a diverged run has none."""
        if self.checkpoints is not None and self.checkpoints.keep and self.reason is None:
            checkpoint.save(self.checkpoints.final, state())

    def record(self, model: nn.Module) -> RunRecord:
        """The record of a run that has ended, of a network like ``model``."""
        return RunRecord(
            spec=self.spec,
            status=Status.FINISHED if self.reason is None else Status.DIVERGED,
            reason=self.reason,
            history=tuple(self.history),
            environment=self.environment,
            collapse=collapse_variables(self.spec, self.steps),
            model_class=type(model).__name__,
            parameters=parameter_count(model),
            wall_seconds=self.seconds,
            started_at=self.started_at,
        )
