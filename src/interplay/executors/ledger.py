"""What is still to do in one sitting of a study, whoever does it: the part that all executors share."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from interplay.executors.worker import End, Outcome, failure
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store

LOOK_AGAIN = 1.0
"""Seconds between two looks at a run that another worker has."""


@dataclass
class Report:
    """How a sitting ended."""

    committed: list[RunRecord] = field(default_factory=list)
    elsewhere: int = 0
    """Runs that other workers finished meanwhile."""
    failed: list[tuple[RunSpec, str]] = field(default_factory=list)
    left: list[RunSpec] = field(default_factory=list)
    """Runs not done, because the sitting was stopped."""
    problem: str | None = None
    """Why it was stopped, where that was not asked for."""
    stopped: bool = False
    """Whether it was asked to stop."""

    @property
    def diverged(self) -> int:
        """Number of runs committed as diverged."""
        return sum(record.status is Status.DIVERGED for record in self.committed)


class Ledger:
    """The queue of one sitting: hands out runs, takes outcomes, decides what is tried again.

    Args:
        specs: the missing runs, in the order in which they are to start.
        store: where they are committed.
        max_attempts: how often a run may kill its worker before it counts as failed.
    """

    def __init__(self, specs: Iterable[RunSpec], store: Store, max_attempts: int = 3) -> None:
        self.store, self.max_attempts = store, max_attempts
        self.report = Report()
        self._ready: deque[RunSpec] = deque(specs)
        self._elsewhere: dict[RunSpec, float] = {}
        self._running: set[RunSpec] = set()
        self._deaths: Counter[RunSpec] = Counter()
        self.stopped = False

    @property
    def open(self) -> int:
        """Runs that are not done yet, those of other workers included."""
        return len(self._ready) + len(self._elsewhere) + len(self._running)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self._running and (self.stopped or not (self._ready or self._elsewhere))

    def next(self) -> RunSpec | None:
        """The next run to try, or ``None`` for now: all are running here or elsewhere."""
        if self.stopped:
            return None
        now = time.monotonic()
        for spec, due in list(self._elsewhere.items()):
            if due > now:
                continue
            if self.store.is_done(spec.run_id):
                del self._elsewhere[spec]
                self.report.elsewhere += 1
            elif not self._ready:
                del self._elsewhere[spec]
                self._ready.append(spec)
        if not self._ready:
            return None
        spec = self._ready.popleft()
        self._running.add(spec)
        return spec

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        """Note how an attempt ended."""
        self._running.discard(spec)
        match outcome.end:
            case End.COMMITTED:
                assert outcome.record is not None, "a committed outcome brings its record"
                self.report.committed.append(outcome.record)
            case End.DONE:
                self.report.elsewhere += 1
            case End.TAKEN:
                self._elsewhere[spec] = time.monotonic() + LOOK_AGAIN
            case End.INTERRUPTED if self.stopped:
                self.report.left.append(spec)
            case End.INTERRUPTED:  # one worker was asked to go, not the sitting
                self._ready.appendleft(spec)
            case End.FAILED:
                self.report.failed.append((spec, outcome.reason or "unknown reason"))
            case End.OUT_OF_MEMORY:
                self._fail(spec, outcome.reason or "out of memory")
            case End.DEVICE:
                self.died(spec, outcome.reason or "the device is broken")
            case End.UNABLE:
                # Every further run would end the same way; nothing is lost by stopping here.
                self.report.left.append(spec)
                self.stop(outcome.reason)

    def again(self, spec: RunSpec) -> None:
        """Put a run back, to be tried next."""
        self._running.discard(spec)
        self._ready.appendleft(spec)

    def died(self, spec: RunSpec, reason: str) -> bool:
        """Note that a worker died over a run; True if it will be tried again, else it is marked failed."""
        self._running.discard(spec)
        self._deaths[spec] += 1
        if self._deaths[spec] < self.max_attempts:
            self._ready.appendleft(spec)
            return True
        self._fail(spec, f"{reason}, {self._deaths[spec]} times")
        return False

    def _fail(self, spec: RunSpec, reason: str) -> None:
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
