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

from interplay.data.splits import Splits
from interplay.models.build import parameter_count
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.stack.grouping import kind, stack_key
from interplay.stack.lanes import Lanes
from interplay.stack.step import Networks, Sums
from interplay.train import backends
from interplay.train.checkpoint import Checkpoints
from interplay.train.events import BatchSeen, Emit, EpochEnded, ModelReady, RecordReady, never, unheard
from interplay.train.loop import LOOK_EVERY, LOOK_SECONDS, Interrupted, is_logged
from interplay.train.names import COMPILED, SIDE_BY_SIDE, Autotune, StackPath, possible
from interplay.train.run import Run


class LeaveStack(Exception):
    """Raised by whoever hears of an epoch: this run is no longer ours, the others of its stack go on."""


def train_stack(
    specs: Sequence[RunSpec],
    splits: Sequence[Splits],
    *,
    emit: Emit = unheard,
    should_stop: Callable[[], bool] = never,
    checkpoints: Sequence[Checkpoints] | None = None,
    instruments: Sequence[str] = (),
    logged: bool = False,
    facts: Mapping[str, Any] | None = None,
    test_every: int = 1,
    path: StackPath = "fused",
    autotune: Autotune = "none",
) -> list[RunRecord | None]:
    """Train ``specs`` at once and return their records, in their order.

    Args:
        specs: runs with one `partition.stack_key`.
        splits: the data of each; objects may be shared.
        emit: takes the events of each run as `train` emits them, but that `RecordReady` may come before the others of
            the stack have ended, and `ModelReady` has no network. On a GPU `BatchSeen` comes at the last batch of an
            epoch and about once a second. From `EpochEnded` it may raise `LeaveStack` to take that run out.
        should_stop: asked after each epoch; True stops the whole stack there.
        checkpoints: where each run leaves checkpoints, in the format of `single`. A run with one to go on from goes on
            from it, or from its start if that is damaged; the others of the stack may stand elsewhere.
        instruments: names of optional measurements, see `instruments`.
        logged: whether trackers want the rows of every `LOOK_EVERY` batches; a GPU is then waited for that often.
        facts: noted in the environment of every record.
        test_every: as `single.train` takes it.
        path: ``fused`` for networks that share their kernels; ``compiled`` for the same with forward and backward pass
            through Inductor, which joins small operations into larger kernels, once a batch size (torch keeps the
            results on disk); ``streams`` for steps of their own, see `lanes`; ``compiled_streams`` for those through
            Inductor.
        autotune: which libraries search longer, as far as ``path`` and device have use for them.

    Returns:
        A record with status finished or diverged; ``None`` for a run that has left.

    Raises:
        Interrupted: ``should_stop`` said so; runs without a record have left a checkpoint if ``checkpoints`` are
            given.
        CheckpointError: the checkpoint to go on from is of another run.
        ValueError: the runs cannot share a stack.
    """
    if len({stack_key(spec) for spec in specs}) != 1 or stack_key(specs[0]) is None:
        raise ValueError("runs of a stack differ in lr, weight_decay, momentum and seed only, and can all be stacked")
    places = list(checkpoints) if checkpoints is not None else [None] * len(specs)
    device = splits[0].device
    autotune = possible(autotune, path, device.type)
    taken = {**({"path": path} if path != "fused" else {}), **({"autotune": autotune} if autotune != "none" else {})}
    facts = {"stack": len(specs), **taken, **(facts or {})}
    members = [
        Run(spec, own, "fused", facts=facts, checkpoints=place, test_every=test_every)
        for spec, own, place in zip(specs, splits, places, strict=True)
    ]
    records: dict[int, RunRecord] = {}
    with backends.set_for(device, autotune):
        stack = _Stack(members, instruments, path, autotune, logged=logged)
        try:
            for member in members:
                parameters = parameter_count(stack.networks.outline)
                emit(ModelReady(member.spec, parameters, member.epoch, tuple(member.history)))
            _to_the_end(stack, emit, should_stop, records)
        finally:
            stack.networks.close()
    return [records.get(id(member)) for member in members]


def _to_the_end(stack: _Stack, emit: Emit, should_stop: Callable[[], bool], records: dict[int, RunRecord]) -> None:
    while stack.training:
        for member, metrics in stack.train_epoch(emit):
            try:
                emit(EpochEnded(member.spec, metrics))
            except LeaveStack:
                stack.drop(member)
                continue
            member.save_best(partial(stack.state, member))
            if member.ended:
                member.save_final(partial(stack.state, member))
                records[id(member)] = record = member.record(stack.networks.outline)
                stack.drop(member)
                emit(RecordReady(record))
        stopping = should_stop()
        stack.save(stopping=stopping)
        if stopping and stack.training:
            raise Interrupted(max(member.epoch for member in stack.training))
        stack.narrow()


class _Stack:
    """The members of a stack that still train, and their networks."""

    def __init__(
        self, members: Sequence[Run], instruments: Sequence[str], path: StackPath, autotune: Autotune, *, logged: bool
    ) -> None:
        self.members, self._instruments = list(members), tuple(instruments)
        self._path, self._autotune, self._logged = path, autotune, logged
        self.networks = self._networks()
        self._saved = time.perf_counter()

    def _networks(self) -> Networks | Lanes:
        make = Lanes if self._path in SIDE_BY_SIDE else Networks
        networks = make([m.spec for m in self.members], [m.splits for m in self.members], instruments=self._instruments)
        for place, member in enumerate(self.members):
            if member.restored is not None:
                networks.restore(place, member.restored)
                member.restored = None
        if self._path in COMPILED:
            networks.compile(kind(self.members[0].spec), autotune=self._autotune in ("inductor", "both"))
        return networks

    @property
    def training(self) -> list[Run]:
        """Those that have not ended."""
        return [member for place, member in enumerate(self.members) if self.networks.on[place]]

    def train_epoch(self, emit: Emit) -> list[tuple[Run, EpochMetrics]]:
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
            # On a GPU the clock alone decides where no tracker logs: every look makes the host wait and lets the queue
            # of steps run dry.
            due = batch == networks.steps or ((on_cpu or self._logged) and batch % LOOK_EVERY == 0)
            due = due or time.perf_counter() - looked > LOOK_SECONDS
            if not (due or on_cpu):
                continue
            sums = networks.sums()
            self._look(sums, training)
            if due:
                looked = time.perf_counter()
            if due:
                last = networks.last()
                for member in self.training:
                    place = self.members.index(member)
                    loss, accuracy = sums.of(place)
                    alone = last.of(place)
                    emit(
                        BatchSeen(
                            member.spec,
                            epochs[place],
                            member.spec.epochs,
                            batch,
                            networks.steps,
                            loss if loss is not None else float("nan"),
                            accuracy or 0.0,
                            networks.rate(place, batch),
                            alone[0],
                            alone[1],
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
        values = {
            place: self.networks.measured(place)
            for place in map(self.members.index, training)
            if sums.of(place)[0] is not None and self.members[place].reason is None
        }
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
                instruments=values.get(place),
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
