"""A simulation: 100,000 runs of ten minutes, 1,000 workers, one store. The clock is invented, the policies are not.

Allocations choose with `scattered` and keep their runs in a real `Queue`; of the store there is left who has a run, and
the table of those that have ended, which an allocation looks at once a second. docs/scale.md has what leases and looks
cost. By itself, with its figures: ``pytest -s tests/executors/test_crowds.py``.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from interplay.executors import queue
from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import Patience, Queue
from interplay.executors.slurm.allocation import scattered
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store

ALLOCATIONS, WORKERS_EACH, RUNS, SECONDS = 25, 40, 100_000, 600.0


class Table:
    """What all allocations see of results.csv; ``status`` is one dictionary for all, and a look costs nothing."""

    def __init__(self, status: dict[str, str]) -> None:
        self.status = status
        self._seen = 0

    def look(self) -> bool:
        """Whether there are new rows since the last look."""
        before, self._seen = self._seen, len(self.status)
        return before != self._seen


def simulate(folder: Path, monkeypatch: pytest.MonkeyPatch, *, mixed: bool) -> tuple[float, Counter[str], int]:
    """Virtual seconds until all has ended, ends of attempts, and attempts in vain in the first minute."""
    clock, store, status = [0.0], Store(folder), dict[str, str]()
    monkeypatch.setattr(queue.time, "monotonic", lambda: clock[0])
    base = RunSpec(dataset="digits", model="mlp", epochs=10, precision="fp32")
    specs = [base.replace(lr=1e-3 * (1 + i % 1000), seed=i // 1000) for i in range(RUNS)]
    slots, rng = ALLOCATIONS * WORKERS_EACH, random.Random(0)
    lapse = 60.0
    allocations: list[Any] = []
    for number in range(ALLOCATIONS):
        order = scattered(specs, slots, random.Random(number)) if mixed else specs
        allocation = Queue(order, store, patience=Patience(lapse / 4, 3 * lapse))
        allocation._ends = Table(status)  # type: ignore[assignment]
        allocations.append(allocation)
    owners: set[str] = set()
    ends, in_vain = Counter[str](), 0
    record = {spec.run_id: RunRecord(spec, Status.FINISHED) for spec in specs[:1]}[specs[0].run_id]
    # (moment, kind, allocation, run or None): an end of a run, or an idle worker that looks again
    events: list[tuple[float, int, int, RunSpec | None]] = []
    order = 0

    def at(moment: float, allocation: int, spec: RunSpec | None) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (moment, order, allocation, spec))

    for worker in range(slots):
        at(rng.uniform(0, 30), worker % ALLOCATIONS, None)  # allocations do not start in the same instant
    last = 0.0
    while events:
        clock[0], _, number, ended = heapq.heappop(events)
        allocation = allocations[number]
        if ended is not None:
            last = clock[0]
            status[ended.run_id] = "finished"
            ends[str(End.COMMITTED)] += 1
            allocation.ended(ended, Outcome(End.COMMITTED, record))
        while (spec := allocation.next()) is not None:
            if spec.run_id in owners:
                end = End.DONE if spec.run_id in status else End.TAKEN
                ends[str(end)] += 1
                in_vain += clock[0] < 60
                allocation.ended(spec, Outcome(end))
                continue
            owners.add(spec.run_id)
            at(clock[0] + SECONDS * rng.uniform(0.9, 1.1), number, spec)
            break
        else:
            if not allocation.finished:
                at(clock[0] + 1.0, number, None)
    return last, ends, in_vain


@pytest.mark.slow
@pytest.mark.cluster  # it takes a minute or two, so it waits for `make test-all`
def test_a_thousand_workers_share_a_hundred_thousand_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took, ends, in_vain = simulate(tmp_path, monkeypatch, mixed=True)
    assert ends[str(End.COMMITTED)] == RUNS
    ideal = RUNS * SECONDS / (ALLOCATIONS * WORKERS_EACH)
    assert ideal <= took < 1.02 * ideal + 2 * SECONDS  # workers wait for nobody, until the last runs are at work
    assert in_vain < ALLOCATIONS * WORKERS_EACH  # one ask in vain a worker, in one common order hundreds
    asks = sum(ends.values())
    print(f"\n{took / ideal:.3f} of the ideal time; {dict(ends)}; {asks / took:.1f} asks a second")
    print(f"{in_vain} asks in vain in the first minute")
    assert asks < 4 * RUNS
    assert asks / took < 10  # a store answers hundreds a second
