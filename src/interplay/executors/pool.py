"""Workers and their supervisor: what the executors share that start workers themselves.

A pool gives runs to workers, replaces those that die, kills those that hang, and has fewer of them on a GPU that ran
out of memory. How a worker is started, heard and ended is for the executor to say.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Protocol, TypeVar

from interplay.devices import Slot
from interplay.executors.base import Listener
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.executors.process import Begin, Ready, Stop, Train
from interplay.executors.queue import Assignment, Queue, Report
from interplay.executors.signals import StopRequest
from interplay.speed.plan import SpeedPlan
from interplay.train.events import Alive, BatchSeen, EpochEnded, ModelReady, Note, RunEnded
from interplay.trial import Spec

MAX_START_FAILURES = 3
"""Workers of one slot that may in a row die before they are ready, or find their device broken."""

START_SECONDS = 600.0
"""Within which a worker must be ready; importing torch from a busy file server may take minutes."""


class Handle(Protocol):
    """What a pool does with a worker, once it is started."""

    def send(self, order: object) -> None:
        """Give it an order; where it is gone, that is noticed by its death."""

    def dismiss(self) -> None:
        """Let it go: it takes no more orders."""

    def kill(self) -> None:
        """End it at once; its death is noticed as any other."""

    def close(self) -> object:
        """Wait for its end, and free what it held."""


@dataclass(frozen=True)
class Gone:
    """The last that is heard of a worker."""

    reason: str
    blameless: bool = False
    """Whether the machine went and took the worker with it: that counts against no run."""


H = TypeVar("H", bound=Handle)


class Member(Generic[H]):
    """A worker of a pool and what it is doing."""

    def __init__(self, slot: Slot, handle: H) -> None:
        self.slot, self.handle = slot, handle
        self.runs: dict[Spec, None] = {}
        """What it has been given and has not ended yet: one run, or those of a stack."""
        self.ready = False
        self.leaving = False
        """It will take no more runs."""
        self.sharing = 1
        """Workers on its GPU when it was given its runs."""
        self.heard = time.monotonic()


class Pool(ABC, Generic[H]):
    """The state of one call of `Executor.run`.

    Args:
        slots: where workers go, one each.
        queue: the runs.
        job: what workers are told.
        listener: is told what happens.
        speed: which runs are trained in stacks, and how many at once on a GPU.
    """

    start_seconds: ClassVar[float] = START_SECONDS

    def __init__(
        self, slots: Sequence[Slot], queue: Queue, job: Job, listener: Listener, speed: SpeedPlan | None = None
    ) -> None:
        self.slots, self.queue, self.job, self.listener = list(slots), queue, job, listener
        self.speed = speed or SpeedPlan()
        self.members: dict[str, Member[H]] = {}
        self._start_failures = Counter[str]()
        self._stopping = False

    # -- for the executor to say ----------------------------------------------------------------------------------

    @abstractmethod
    def start_worker(self, slot: Slot) -> H:
        """Start a worker, which can be given orders at once."""

    @abstractmethod
    def messages(self, seconds: float) -> list[tuple[Member[H], object]]:
        """What members say, the last of each being `Gone`; returns when there is something, or after ``seconds``."""

    def beside(self, member: Member[H]) -> list[Member[H]]:
        """The other members on the same GPU."""
        if not member.slot.visible:
            return []
        return [
            each for each in self.members.values() if each is not member and each.slot.visible == member.slot.visible
        ]

    def at_once(self, member: Member[H]) -> int | None:
        """How many runs share the GPU with one that begins now, to be noted in its record; ``None`` on a CPU."""
        if not member.slot.visible:
            return None
        return 1 + sum(bool(other.runs) for other in self.beside(member))

    # -- the loop -------------------------------------------------------------------------------------------------

    def run(self, stop: StopRequest) -> Report:
        """Start workers and supervise them until the queue is finished; they are gone after it."""
        stop.armed = True
        try:
            self.start()
            while not self.queue.finished:
                if stop.requested:
                    self.stop()
                self.turn()
            return self.queue.close()
        finally:
            stop.armed = False
            self.end()

    def start(self) -> None:
        """Start workers, as many as there are slots and runs."""
        for slot in self.slots[: self.queue.open]:
            self._start(slot)

    def turn(self) -> None:
        """Hand out runs, hear what members have to say, look after those that say nothing."""
        self._hand_out()
        for member, message in self.messages(0.2):
            if self.members.get(member.slot.name) is member:  # its slot may have been given up meanwhile
                self._take(member, message)
        self._look_for_hangs()

    def stop(self) -> None:
        """Ask every worker to stop at its next epoch; hand out nothing more."""
        if not self._stopping:
            self._stopping = True
            self.queue.stop()
            for member in self.members.values():
                member.handle.send(Stop())

    def end(self) -> None:
        """Let idle workers go and kill all others; leave none behind, whatever has happened."""
        for member in self.members.values():
            if member.ready and not member.runs:
                member.handle.dismiss()
            else:
                member.handle.kill()
        for member in list(self.members.values()):
            self._remove(member)

    def _start(self, slot: Slot) -> None:
        member = Member(slot, self.start_worker(slot))
        self.members[slot.name] = member
        member.handle.send(Begin(replace(self.job, device=slot.device), f"{slot.name} of {os.getpid()}"))

    def _remove(self, member: Member[H]) -> None:
        del self.members[member.slot.name]
        member.handle.close()

    # -- giving out -----------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        for member in self.members.values():
            if not member.ready or member.leaving or member.runs:
                continue
            idle = sum(not other.runs and not other.leaving for other in self.members.values())
            beside = self.beside(member)
            given = self.queue.take(idle, self._room_for(beside))
            if given is None:
                continue
            member.runs = dict.fromkeys(given.specs)
            member.heard, member.sharing = time.monotonic(), 1 + len(beside)
            member.handle.send(self._order(member, given))

    def _order(self, member: Member[H], given: Assignment) -> Train:
        first, at_once = given.specs[0], self.at_once(member)
        facts = self.speed.facts(first) | ({} if at_once is None else {"at_once": at_once})
        way = self.speed.path(first) if given.stacked else "single"
        return Train(given.specs, way, facts, "none" if given.again else self.speed.autotune(first))

    def _room_for(self, beside: Sequence[Member[H]]) -> Callable[[Spec], bool]:
        """Whether a GPU can take a run besides those of the members ``beside``: each takes its measured share of it."""
        busy = [next(iter(other.runs)) for other in beside if other.runs]
        slots = 1 + len(beside)
        taken = sum(self.speed.share(spec, slots) for spec in busy)

        def room(spec: Spec) -> bool:
            # The tolerance is for sums such as three thirds.
            return not busy or taken + self.speed.share(spec, slots) < 1 + 1e-6

        return room

    # -- what members say -----------------------------------------------------------------------------------------

    def _take(self, member: Member[H], message: object) -> None:
        name = member.slot.name
        member.heard = time.monotonic()
        match message:
            case Ready():
                member.ready = True
                self._start_failures[name] = 0
            case Gone():
                self._replace(member, message)
            case Note():
                self.listener.note(message.text)
            case RunEnded():
                self._ended(member, message.spec, message.outcome)
            case ModelReady():
                self.listener.started(name, message.spec)
            case EpochEnded():
                self.listener.epoch(name, message.spec, message.metrics)
            case Alive():
                pass
            case BatchSeen():
                self.listener.batch(name, message.spec, message)
            case _:
                raise RuntimeError(f"worker {name} says {message!r}, which means nothing to its supervisor")

    def _ended(self, member: Member[H], spec: Spec, outcome: Outcome) -> None:
        name = member.slot.name
        if spec not in member.runs:
            raise RuntimeError(f"worker {name} reports run {spec.run_id}, which it was not given")
        del member.runs[spec]
        if outcome.end is End.OUT_OF_MEMORY and member.sharing > 1 and not self.queue.shared(spec):
            # It never had the GPU to itself: once more, with less beside it.
            self._give_up_slot(member)
            self.queue.again(spec)
            return
        if outcome.end in (End.INTERRUPTED, End.DEVICE, End.CAPTURE):
            member.leaving = True  # asked to go, or its device is broken for this process
        if outcome.end is End.DEVICE:
            self._start_failures[name] += 1
        elif outcome.end is End.COMMITTED:
            self._start_failures[name] = 0
        self.queue.ended(spec, outcome)
        self.listener.ended(name, spec, outcome)

    def _give_up_slot(self, member: Member[H]) -> None:
        """Close this slot if its GPU has another one."""
        others = len(self.beside(member))
        if others:
            gpu = f"GPU {member.slot.visible}" if member.slot.visible else "a GPU"
            self.listener.note(f"{gpu} is out of memory: {others} instead of {others + 1} slots")
            member.handle.kill()
            self._remove(member)

    # -- accidents ------------------------------------------------------------------------------------------------

    def _replace(self, member: Member[H], gone: Gone) -> None:
        """A worker is gone: look after its runs, and start another one for the slot."""
        self._remove(member)
        name, runs = member.slot.name, list(member.runs)
        reason = f"worker {name} died {gone.reason}"
        for spec in reversed(runs):  # each is put back at the front
            if gone.blameless:
                self.queue.again(spec)
                self.listener.note(f"the node of worker {name} has gone; run {spec.run_id} goes on elsewhere")
                continue
            again = self.queue.died(spec, reason)
            self.listener.note(f"{reason}; run {spec.run_id} {'is tried again' if again else 'is marked failed'}")
            if not again:
                self.listener.ended(name, spec, Outcome(End.FAILED, reason=reason))
        if not (runs or self._stopping or member.leaving):
            self.listener.note(reason)
        if not member.ready:
            self._start_failures[name] += 1
        if self._start_failures[name] >= MAX_START_FAILURES:
            if not self.members:
                self.queue.stop(f"no worker can be started: {reason}")
        elif not self.queue.stopped:
            self._start(member.slot)

    def _look_for_hangs(self) -> None:
        for member in self.members.values():
            limit = self.job.lease.hang if member.runs else self.start_seconds
            if (member.runs or not member.ready) and time.monotonic() - member.heard > limit:
                self.listener.note(f"worker {member.slot.name} shows no progress for {limit:g} s: killed")
                member.heard = time.monotonic()
                member.handle.kill()  # it is gone at the next turn, which replaces it
