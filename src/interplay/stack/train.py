"""Several runs trained as one: K networks side by side, each with the numbers that it has alone.

Every run keeps its own seed - initial weights, subset, label noise, order, crops - its own learning rate, decay and
momentum, its own history and its own end. A network that diverges is silenced and the others go on. What a run leaves
behind, checkpoints included, is what `single` leaves, so that either can go on with what the other began.

All timings are shares: a stack of K networks that takes K seconds has taken one second for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from interplay.data.splits import Splits
from interplay.models.build import parameter_count
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.stack.grouping import stack_key
from interplay.stack.step import Networks, Sums
from interplay.train.checkpoint import Checkpoints
from interplay.train.events import BatchSeen
from interplay.train.loop import LOOK_EVERY, LOOK_SECONDS, Interrupted, is_logged
from interplay.train.run import Run


class LeaveStack(Exception):
    """Raised by ``on_epoch``: this run is no longer ours, the others of its stack go on."""


def train_stack(
    specs: Sequence[RunSpec],
    splits: Sequence[Splits],
    *,
    on_epoch: Callable[[RunSpec, EpochMetrics], bool | None] | None = None,
    on_batch: Callable[[BatchSeen], None] | None = None,
    on_model: Callable[[RunSpec, int, int], None] | None = None,
    on_record: Callable[[RunRecord], None] | None = None,
    checkpoints: Sequence[Checkpoints] | None = None,
    facts: Mapping[str, Any] | None = None,
    test_every: int = 1,
    compiled: bool = False,
) -> list[RunRecord | None]:
    """Train ``specs`` at once and return their records, in their order.

    Args:
        specs: runs with one `partition.stack_key`.
        splits: the data of each; objects may be shared.
        on_epoch: called with the metrics of each run's epoch; returns True to stop the whole stack there, and raises
            `LeaveStack` to take this one run out of it.
        on_batch: called for each run at the last batch of each epoch, at least about once a second and, on a CPU, every
            `LOOK_EVERY` batches.
        on_model: called for each run before training, with its number of parameters and the epoch it goes on after.
        on_record: called with each record as its run ends, which may be before the others do.
        checkpoints: where each run leaves checkpoints, in the format of `single`. A run with one to go on from goes on
            from it, or from its start if that is damaged; the others of the stack may stand elsewhere.
        facts: noted in the environment of every record.
        test_every: as `single.train` takes it.
        compiled: whether the forward pass of training, and with it the backward pass, goes through Inductor, which
            joins small operations into larger kernels. Compiled once a batch size; torch keeps the results on disk.

    Returns:
        A record with status finished or diverged; ``None`` for a run that has left.

    Raises:
        Interrupted: ``on_epoch`` asked to stop; runs without a record have left a checkpoint if ``checkpoints`` are
            given.
        CheckpointError: the checkpoint to go on from is of another run.
        ValueError: the runs cannot share a stack.
    """
    if len({stack_key(spec) for spec in specs}) != 1 or stack_key(specs[0]) is None:
        raise ValueError("runs of a stack differ in lr, weight_decay, momentum and seed only, and can all be stacked")
    places = list(checkpoints) if checkpoints is not None else [None] * len(specs)
    facts = {"stack": len(specs), **({"path": "compiled"} if compiled else {}), **(facts or {})}
    members = [
        Run(spec, own, "fused", facts=facts, checkpoints=place, test_every=test_every)
        for spec, own, place in zip(specs, splits, places, strict=True)
    ]
    records: dict[int, RunRecord] = {}
    stack = _Stack(members, compiled=compiled)
    try:
        for member in members:
            if on_model is not None:
                on_model(member.spec, parameter_count(stack.networks.outline), member.epoch)
        _to_the_end(stack, on_epoch, on_batch, on_record, records)
    finally:
        stack.networks.close()
    return [records.get(id(member)) for member in members]


def _to_the_end(
    stack: _Stack,
    on_epoch: Callable[[RunSpec, EpochMetrics], bool | None] | None,
    on_batch: Callable[[BatchSeen], None] | None,
    on_record: Callable[[RunRecord], None] | None,
    records: dict[int, RunRecord],
) -> None:
    while stack.training:
        stopping = False
        for member, metrics in stack.train_epoch(on_batch):
            try:
                stopping |= on_epoch is not None and on_epoch(member.spec, metrics) is True
            except LeaveStack:
                stack.drop(member)
                continue
            member.save_best(partial(stack.state, member))
            if member.ended:
                member.save_final(partial(stack.state, member))
                records[id(member)] = record = member.record(stack.networks.outline)
                stack.drop(member)
                if on_record is not None:
                    on_record(record)
        stack.save(stopping=stopping)
        if stopping and stack.training:
            raise Interrupted(max(member.epoch for member in stack.training))
        stack.narrow()


class _Stack:
    """The members of a stack that still train, and their networks."""

    def __init__(self, members: Sequence[Run], *, compiled: bool = False) -> None:
        self.members, self._compiled = list(members), compiled
        self.networks = self._networks()
        self._saved = time.perf_counter()

    def _networks(self) -> Networks:
        networks = Networks([m.spec for m in self.members], [m.splits for m in self.members])
        for place, member in enumerate(self.members):
            if member.restored is not None:
                networks.restore(place, member.restored)
                member.restored = None
        if self._compiled:
            networks.forward = torch.compile(networks.stack, dynamic=False)
        return networks

    @property
    def training(self) -> list[Run]:
        """Those that have not ended."""
        return [member for place, member in enumerate(self.members) if self.networks.on[place]]

    def train_epoch(self, on_batch: Callable[[BatchSeen], None] | None) -> list[tuple[Run, EpochMetrics]]:
        """One epoch of every run that still trains, and one evaluation."""
        began = looked = time.perf_counter()
        networks, training = self.networks, self.training
        on_cpu = networks.device.type == "cpu"
        epochs = [min(member.epoch + 1, member.spec.epochs) for member in self.members]
        # Only the first batch of all tells the loss of untrained networks.
        untrained = [m for m in training if m.epoch == 0]
        for batch in networks.train_epoch(epochs):
            if batch == 1 and untrained:
                self._first_losses(untrained)
            # On a GPU the clock alone decides: every look makes the host wait and lets the queue of steps run dry.
            due = batch == networks.steps or (on_cpu and batch % LOOK_EVERY == 0)
            due = due or time.perf_counter() - looked > LOOK_SECONDS
            if not (due or on_cpu):
                continue
            sums = networks.sums()
            self._look(sums, training)
            if due:
                looked = time.perf_counter()
            if due and on_batch is not None:
                for member in self.training:
                    place = self.members.index(member)
                    loss, accuracy = sums.of(place)
                    on_batch(
                        BatchSeen(
                            member.spec,
                            epochs[place],
                            member.spec.epochs,
                            batch,
                            networks.steps,
                            loss if loss is not None else float("nan"),
                            accuracy or 0.0,
                            networks.rate(place, batch),
                            None,
                            None,
                            is_logged=is_logged(batch, networks.steps),
                        ),
                    )
            if not any(networks.on):
                break
        trained = time.perf_counter() - began
        sums = networks.sums()
        return self._end_epoch(sums, training, epochs, trained, began)

    def _first_losses(self, untrained: Sequence[Run]) -> None:
        sums = self.networks.sums()
        for member in untrained:
            member.rule.first_batch(sums.losses[self.members.index(member)] / sums.seen)

    def _look(self, sums: Sums, training: Sequence[Run]) -> None:
        for member in training:
            place = self.members.index(member)
            if member.reason is None and (reason := member.rule.batch(sums.losses[place])) is not None:
                member.reason = reason
                self.networks.silence(place)

    def _end_epoch(
        self, sums: Sums, training: Sequence[Run], epochs: Sequence[int], trained: float, began: float
    ) -> list[tuple[Run, EpochMetrics]]:
        # A network that was silenced on the way has no loss, whatever its sums say by now.
        nothing = (None, None)
        fit = any(m.reason is None and m.tested(epochs[self.members.index(m)]) for m in training)
        # Test images depend on no seed; validation images do.
        test = self.networks.evaluate([training[0].splits.test] * len(self.members)) if fit else None
        vals = [m.splits.val for m in self.members]
        val = self.networks.evaluate([each for each in vals if each is not None]) if fit and vals[0] else None
        share = (time.perf_counter() - began) / len(training)
        found = []
        for member in training:
            place = self.members.index(member)
            own = sums.of(place) if member.reason is None else nothing
            measured = own[0] is not None and member.tested(epochs[place])
            tested = test.of(place) if test is not None and measured else nothing
            validated = val.of(place) if val is not None and measured else nothing
            member.seconds += share
            metrics = member.add(
                epochs[place],
                lr=self.networks.rate(place, 1),
                training=own,
                test=tested,
                val=validated,
                seconds=share,
                images_per_second=sums.seen * len(training) / trained,
            )
            found.append((member, metrics))
        return found

    # -- ends -----------------------------------------------------------------------------------------------------

    def drop(self, member: Run) -> None:
        """Train ``member`` no further."""
        self.networks.silence(self.members.index(member))

    def narrow(self) -> None:
        """Make the stack smaller once no more than half of it still trains."""
        left = self.training
        if left and 2 * len(left) <= len(self.members):
            for member in left:
                member.restored = self.state(member)
            self.members = left
            self.networks.close()
            self.networks = self._networks()

    def save(self, *, stopping: bool) -> None:
        """Leave the checkpoints that are due after an epoch."""
        places = [member for member in self.training if member.checkpoints is not None]
        if not places:
            return
        every = min(member.checkpoints.every_seconds for member in places if member.checkpoints is not None)
        if stopping or time.perf_counter() - self._saved > every:
            for member in places:
                member.save_last(partial(self.state, member))
            self._saved = time.perf_counter()

    def state(self, member: Run) -> dict[str, Any]:
        """A checkpoint of ``member`` as `train.loop` writes it."""
        return member.state(*self.networks.alone(self.members.index(member)))
