"""What is still to do of a study, whoever does it: the part that all executors share."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from interplay.executors.outcomes import End, Outcome, failure
from interplay.record import RunRecord, Status
from interplay.stack.grouping import stack_key
from interplay.store.ends import Ends
from interplay.store.store import Store
from interplay.trial import Spec

LOOK_AGAIN = 1.0
"""Seconds between two looks at a run that another worker has."""

_TRIES = 4
"""Runs of others that a queue tries again at one look: a thousand idle ones must not all ask for all that is left."""


@dataclass(frozen=True)
class Patience:
    """How a queue deals with runs that others have. Many supervisors of one store look more rarely than two."""

    look_again: float = LOOK_AGAIN
    """Seconds between two tries at a run that another worker has."""
    linger: float | None = None
    """Seconds after which a queue with nothing else to do leaves such runs to their workers; ``None``: never."""


@dataclass
class Report:
    """How the runs ended that an executor was given."""

    committed: list[RunRecord] = field(default_factory=list)
    elsewhere: int = 0
    """Runs that other workers finished meanwhile."""
    failed: list[tuple[Spec, str]] = field(default_factory=list)
    left: list[Spec] = field(default_factory=list)
    """Runs not done, because the executor was stopped."""
    problem: str | None = None
    """Why it was stopped, where that was not asked for."""
    stopped: bool = False
    """Whether it was asked to stop."""

    @property
    def diverged(self) -> int:
        """Number of runs committed as diverged."""
        return sum(record.status is Status.DIVERGED for record in self.committed)


@dataclass(frozen=True)
class Assignment:
    """What one worker is to do next."""

    specs: tuple[Spec, ...]
    stacked: bool = False
    """Whether to train them as a stack, which may have one run; otherwise it is one run on the plain path."""
    again: bool = False
    """Whether a stack with such runs has failed before: they are tried with no more than is needed."""


class Queue:
    """Of one call of an executor: hands out runs, takes outcomes, decides what is tried again.

    Args:
        specs: the missing runs, in the order in which they are to start.
        store: where they are committed.
        max_attempts: how often a run may kill its worker before it counts as failed.
        patience: with runs that other workers have.
        stacking: how many runs such as this one may share a stack; 0 where it takes the plain path.
    """

    def __init__(
        self,
        specs: Iterable[Spec],
        store: Store,
        max_attempts: int = 3,
        patience: Patience | None = None,
        stacking: Callable[[Spec], int] | None = None,
    ) -> None:
        self.store, self.max_attempts, self.patience = store, max_attempts, patience or Patience()
        self._stacking = stacking
        self._sizes: dict[Spec, int] = {}
        """How many runs were in the stack that each run was last part of."""
        self._apart: set[Spec] = set()
        """Runs whose stack went wrong: they are tried by themselves, so that one bad run does not fail the others."""
        self._largest: dict[str | None, int] = {}
        """Largest stack of a kind, where memory did not suffice for more; 0 where its step could not be captured."""
        self.report = Report()
        self._ready: deque[Spec] = deque(specs)
        self._elsewhere: dict[Spec, float] = {}
        self._running: set[Spec] = set()
        self._deaths: Counter[Spec] = Counter()
        self._ends = Ends(store.results)
        self._looked = self._moved = time.monotonic()
        self.stopped = False

    @property
    def open(self) -> int:
        """Runs that are not done yet, those of other workers included."""
        return len(self._ready) + len(self._elsewhere) + len(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for, or not worth to."""
        if self._running:
            return False
        linger = self.patience.linger
        waited = linger is not None and not self._ready and time.monotonic() - self._moved > linger
        return self.stopped or waited or not (self._ready or self._elsewhere)

    def next(self, room: Callable[[Spec], bool] = lambda spec: True) -> Spec | None:
        """The next run to try for which there is ``room``; ``None`` for now if all others are running."""
        if self.stopped:
            return None
        now = time.monotonic()
        if now - self._looked >= min(LOOK_AGAIN, self.patience.look_again):
            self._look(now)
        passed: list[Spec] = []
        found = None
        while self._ready and found is None:
            spec = self._ready.popleft()
            if self._is_over(spec):
                self._ended_elsewhere(spec)
            elif room(spec):
                found = spec
                self._running.add(spec)
            else:
                passed.append(spec)
        self._ready.extendleft(reversed(passed))
        return found

    def _look(self, now: float) -> None:
        """Once a second at most: what have others finished, and which of their runs may be tried again?"""
        self._looked = now
        if self._ends.look():
            self._moved = now
        tries = 0 if self._ready else _TRIES
        for spec, due in list(self._elsewhere.items()):
            if self._is_over(spec):
                del self._elsewhere[spec]
                self._ended_elsewhere(spec)
            elif due <= now and tries:
                tries -= 1
                del self._elsewhere[spec]
                self._ready.append(spec)

    def _is_over(self, spec: Spec) -> bool:
        """Whether the table has the run meanwhile: no look at its folder is needed.

        A failure counts: whoever had the run tried it as often as that is done, and no other is to repeat it.
        """
        return spec.run_id in self._ends.status

    def _ended_elsewhere(self, spec: Spec) -> None:
        if self._ends.status.get(spec.run_id) != "failed":
            self.report.elsewhere += 1
            return
        record = self.store.readable_record(spec.run_id)
        self.report.failed.append((spec, (record.reason if record is not None else None) or "failed elsewhere"))

    def take(self, idle: int = 1, room: Callable[[Spec], bool] = lambda spec: True) -> Assignment | None:
        """What one of ``idle`` workers is to do next, or ``None`` for now; only runs for which there is ``room``.

        Runs that may share a stack are spread over the idle workers before stacks grow.
        """
        spec = self.next(room)
        if spec is None:
            return None
        kind = stack_key(spec)
        limit = self._stacking(spec) if self._stacking is not None and kind is not None else 0
        limit = min(limit, self._largest.get(kind, limit))
        again = spec in self._apart or kind in self._largest
        if limit < 1:
            self._sizes.pop(spec, None)
            return Assignment((spec,), again=again)
        alike: list[Spec] = []
        if spec not in self._apart:
            alike = [each for each in self._ready if each not in self._apart and stack_key(each) == kind]
        count = min(limit, -(-(1 + len(alike)) // max(1, idle)))
        stack = (spec, *alike[: count - 1])
        others = set(stack[1:])
        self._ready = deque(each for each in self._ready if each not in others)
        self._running |= others
        self._sizes |= dict.fromkeys(stack, len(stack))
        return Assignment(stack, stacked=True, again=again)

    def shared(self, spec: Spec) -> bool:
        """Whether the run was last tried with others in a stack."""
        return self._sizes.get(spec, 1) > 1

    def ended(self, spec: Spec, outcome: Outcome) -> None:
        """Note how an attempt ended."""
        self._running.discard(spec)
        if outcome.end is not End.TAKEN:
            self._moved = time.monotonic()
        match outcome.end:
            case End.COMMITTED:
                assert outcome.record is not None, "a committed outcome brings its record"
                self.report.committed.append(outcome.record)
            case End.DONE:
                self.report.elsewhere += 1
                self._repair_row(spec)
            case End.TAKEN:
                self._elsewhere[spec] = time.monotonic() + self.patience.look_again
            case End.INTERRUPTED if self.stopped:
                self.report.left.append(spec)
            case End.INTERRUPTED:  # one worker was asked to go, not all
                self._ready.appendleft(spec)
            case End.FAILED:
                self.report.failed.append((spec, outcome.reason or "unknown reason"))
            case End.APART if spec in self._apart and not self.shared(spec):  # there is nothing more to leave
                self._fail(spec, outcome.reason or "unknown reason")
            case End.APART:
                self._apart.add(spec)
                self._ready.appendleft(spec)
            case End.CAPTURE if self._largest.get(stack_key(spec)) != 0:
                self._largest[stack_key(spec)] = 0
                self._ready.appendleft(spec)
            case End.CAPTURE if spec in self._sizes:  # of the same stack
                self._ready.appendleft(spec)
            case End.CAPTURE:  # on the plain path nothing is captured
                self._fail(spec, outcome.reason or "a step could not be captured")
            case End.OUT_OF_MEMORY if self.shared(spec):
                self._largest[stack_key(spec)] = self._sizes[spec] // 2
                self._ready.appendleft(spec)
            case End.OUT_OF_MEMORY:
                self._fail(spec, outcome.reason or "out of memory")
            case End.DEVICE:
                self.died(spec, outcome.reason or "the device is broken")
            case End.KILLED:
                self.died(spec, outcome.reason or "the training was killed")
            case End.UNABLE:
                # Every further run would end the same way; nothing is lost by stopping here.
                self.report.left.append(spec)
                self.stop(outcome.reason)

    def _repair_row(self, spec: Spec) -> None:
        """A run with a record has a row, unless its worker was killed between the two."""
        self._ends.look()
        if spec.run_id not in self._ends.status:
            try:
                self.store.repair_row(spec.run_id)
            except OSError as error:
                self.stop(f"cannot write: {error}")

    def again(self, spec: Spec) -> None:
        """Put a run back, to be tried next."""
        self._running.discard(spec)
        self._ready.appendleft(spec)

    def died(self, spec: Spec, reason: str) -> bool:
        """Note that a worker died over a run; True if it will be tried again, else it is marked failed."""
        self._running.discard(spec)
        if self.shared(spec):
            self._apart.add(spec)
        self._deaths[spec] += 1
        if self._deaths[spec] < self.max_attempts:
            self._ready.appendleft(spec)
            return True
        self._fail(spec, f"{reason}, {self._deaths[spec]} times")
        return False

    def _fail(self, spec: Spec, reason: str) -> None:
        try:
            noted = self.store.fail(failure(spec, reason))
        except OSError as error:
            self.report.left.append(spec)
            self.stop(f"cannot write: {error}")
            return
        if noted:
            self.report.failed.append((spec, reason))
        else:  # committed after all, by the worker before it died or by another one
            self.report.elsewhere += 1

    def stop(self, problem: str | None = None) -> None:
        """Hand out no more runs; those that run may end."""
        self.stopped = True
        self.report.problem = self.report.problem or problem

    def close(self) -> Report:
        """The report, with everything that was not done."""
        self.report.left += [*self._running, *self._ready, *self._elsewhere]
        self._running.clear()
        self._ready.clear()
        self._elsewhere.clear()
        return self.report
