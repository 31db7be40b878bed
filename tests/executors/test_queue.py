from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import Patience, Queue
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store

SPECS = [RunSpec(dataset="digits", seed=seed) for seed in range(3)]


def committed(spec: RunSpec) -> Outcome:
    return Outcome(End.COMMITTED, RunRecord(spec, Status.FINISHED))


def test_runs_are_handed_out_in_order_and_once(tmp_path: Path) -> None:
    queue = Queue(SPECS, Store(tmp_path))
    assert [queue.next() for _ in range(4)] == [*SPECS, None]
    assert not queue.finished
    for spec in SPECS:
        queue.ended(spec, committed(spec))
    assert queue.finished
    assert [r.spec for r in queue.close().committed] == SPECS


def test_a_run_of_another_worker_is_waited_for_and_taken_when_it_is_given_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    queue = Queue(SPECS[:2], store, patience=Patience(look_again=0.0))
    for spec in SPECS[:2]:
        assert queue.next() == spec
        queue.ended(spec, Outcome(End.TAKEN))
    assert not queue.finished
    store.commit(RunRecord(SPECS[0], Status.FINISHED))
    assert queue.next() == SPECS[1]
    queue.ended(SPECS[1], committed(SPECS[1]))
    assert queue.finished
    assert queue.close().elsewhere == 1


def test_what_others_finish_is_known_from_the_table_without_a_look_at_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    queue = Queue(SPECS, store, patience=Patience(look_again=0.0))
    store.commit(RunRecord(SPECS[1], Status.DIVERGED, reason="x"))
    store.fail(RunRecord(SPECS[2], Status.FAILED, reason="raised elsewhere"))  # tried there; not to be tried again here
    store.is_done = None  # type: ignore[method-assign, assignment]
    assert [queue.next(), queue.next()] == [SPECS[0], None]
    assert queue.report.elsewhere == 1
    assert queue.report.failed == [(SPECS[2], "raised elsewhere")]


def test_a_run_whose_worker_died_between_record_and_row_gets_its_row_from_whoever_looks_next(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(RunRecord(SPECS[0], Status.FINISHED))
    table = store.results.read_text()
    store.commit(RunRecord(SPECS[1], Status.FINISHED))
    store.results.write_text(table)  # as it is after a kill at the wrong moment
    queue = Queue(SPECS[1:2], store)
    assert queue.next() == SPECS[1]
    queue.ended(SPECS[1], Outcome(End.DONE))
    assert queue.finished
    rows = store.results.read_text().splitlines()
    assert [spec.run_id in rows[1 + number] for number, spec in enumerate(SPECS[:2])] == [True, True]
    queue.ended(SPECS[1], Outcome(End.DONE))  # and not a second one
    assert store.results.read_text().splitlines() == rows


def test_a_queue_with_nothing_to_do_leaves_living_workers_their_runs(tmp_path: Path) -> None:
    queue = Queue(SPECS[:1], Store(tmp_path), patience=Patience(look_again=0.01, linger=0.2))
    began = time.monotonic()
    tries = 0
    while not queue.finished:
        if (spec := queue.next()) is not None:
            tries += 1
            queue.ended(spec, Outcome(End.TAKEN))
        time.sleep(0.005)
    assert time.monotonic() - began >= 0.2
    assert tries > 3
    report = queue.close()
    assert (report.left, report.problem) == (SPECS[:1], None)


def test_a_run_that_kills_its_worker_is_tried_three_times_and_then_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    queue = Queue(SPECS[:1], store, max_attempts=3)
    for expected in (True, True, False):
        assert queue.next() == SPECS[0]
        assert queue.died(SPECS[0], "worker cpu0 died (SIGKILL)") is expected
    assert queue.finished
    record = store.record(SPECS[0].run_id)
    assert record is not None
    assert record.status is Status.FAILED
    assert record.reason == "worker cpu0 died (SIGKILL), 3 times"
    assert queue.close().failed == [(SPECS[0], "worker cpu0 died (SIGKILL), 3 times")]


def test_what_would_stop_every_run_stops_the_queue(tmp_path: Path) -> None:
    queue = Queue(SPECS, Store(tmp_path))
    first, second = queue.next(), queue.next()
    assert first is not None
    assert second is not None
    queue.ended(first, Outcome(End.UNABLE, reason="No space left on device"))
    assert queue.next() is None
    assert not queue.finished  # the other one may end
    queue.ended(second, committed(second))
    report = queue.close()
    assert report.problem == "No space left on device"
    assert report.left == [SPECS[0], SPECS[2]]


def test_one_worker_asked_to_go_gives_its_run_back(tmp_path: Path) -> None:
    queue = Queue(SPECS[:1], Store(tmp_path))
    queue.next()
    queue.ended(SPECS[0], Outcome(End.INTERRUPTED))
    assert queue.next() == SPECS[0]
    queue.stop()
    queue.ended(SPECS[0], Outcome(End.INTERRUPTED))
    assert queue.close().left == [SPECS[0]]


def stacks_of(limit: int, count: int, folder: Path, **knobs: Any) -> Queue:
    specs = [RunSpec(dataset="digits", model="mlp", seed=seed, **knobs) for seed in range(count)]
    return Queue(specs, Store(folder), stacking=lambda spec: limit)


def sizes(queue: Queue, idle: list[int]) -> list[int]:
    return [len(given.specs) for workers in idle if (given := queue.take(workers)) is not None]


def test_stacks_are_spread_over_idle_workers_before_they_grow(tmp_path: Path) -> None:
    assert sizes(stacks_of(8, 10, tmp_path), [2, 1, 1]) == [5, 5]
    assert sizes(stacks_of(3, 10, tmp_path), [2, 1, 2, 1, 1]) == [3, 3, 2, 2]
    assert sizes(stacks_of(8, 1, tmp_path), [2, 1]) == [1]
    plain = Queue(SPECS, Store(tmp_path)).take()
    assert plain is not None
    assert (plain.specs, plain.stacked) == ((SPECS[0],), False)


def test_only_runs_of_one_kind_share_a_stack(tmp_path: Path) -> None:
    base = RunSpec(dataset="digits", model="mlp")
    other, dampened = base.replace(batch_size=32), base.replace(dampening=0.5)
    specs = [base, other, base.replace(lr=0.3), dampened, other.replace(seed=1)]
    queue = Queue(specs, Store(tmp_path), stacking=lambda spec: 8)
    taken = [queue.take() for _ in range(4)]
    assert [(t.specs, t.stacked) for t in taken if t is not None] == [
        ((specs[0], specs[2]), True),
        ((specs[1], specs[4]), True),
        ((dampened,), False),
    ]


def test_runs_of_a_stack_that_went_wrong_are_tried_by_themselves(tmp_path: Path) -> None:
    for accident in ("error", "death"):
        queue = stacks_of(4, 3, tmp_path)
        first = queue.take()
        assert first is not None
        for spec in first.specs:
            if accident == "error":
                queue.ended(spec, Outcome(End.APART, reason="ValueError: one of them"))
            else:
                assert queue.died(spec, "worker cpu0 died (SIGKILL)")
        again = [queue.take() for _ in range(3)]
        assert sorted(t.specs[0].seed for t in again if t is not None) == [0, 1, 2]
        assert all(t is not None and t.stacked and len(t.specs) == 1 for t in again)
        assert queue.take() is None


def test_a_stack_too_large_for_the_memory_is_halved(tmp_path: Path) -> None:
    queue = stacks_of(8, 8, tmp_path)
    for expected in (8, 4, 2, 1):
        given = queue.take()
        assert given is not None
        assert len(given.specs) == expected
        for spec in given.specs:
            queue.ended(spec, Outcome(End.OUT_OF_MEMORY, reason="OutOfMemoryError: CUDA out of memory"))
    report = queue.close()  # alone and still too large: that one has failed
    assert [spec for spec, _ in report.failed] == list(given.specs)
    assert len(report.left) == 7


def test_runs_whose_step_cannot_be_captured_take_the_plain_path(tmp_path: Path) -> None:
    queue = Queue(SPECS, Store(tmp_path), stacking=lambda spec: 2)
    stack = queue.take()
    assert stack is not None
    assert (stack.specs, stack.stacked) == (tuple(SPECS[:2]), True)
    for spec in stack.specs:
        queue.ended(spec, Outcome(End.CAPTURE, reason="operation not permitted when stream is capturing"))
    following = [queue.take() for _ in range(3)]
    assert all(each is not None and not each.stacked and len(each.specs) == 1 for each in following)
    assert {each.specs[0] for each in following if each is not None} == set(SPECS)
    # On the plain path nothing is captured: what says so there has failed.
    queue.ended(SPECS[0], Outcome(End.CAPTURE, reason="capturing"))
    assert [spec for spec, _ in queue.report.failed] == [SPECS[0]]


def test_a_run_that_fails_by_itself_is_not_put_back_for_ever(tmp_path: Path) -> None:
    spec = SPECS[0]
    queue = Queue([spec], Store(tmp_path), stacking=lambda spec: 2)
    for again in (False, True):
        given = queue.take()
        assert given is not None
        assert (given.specs, given.stacked, given.again) == ((spec,), True, again)
        queue.ended(spec, Outcome(End.APART, reason="no such kernel"))
    assert queue.finished
    assert queue.report.failed == [(spec, "no such kernel")]
