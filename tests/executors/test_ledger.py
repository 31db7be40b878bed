from __future__ import annotations

from pathlib import Path

import pytest

from interplay.executors import ledger as module
from interplay.executors.ledger import Ledger
from interplay.executors.worker import End, Outcome
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store

SPECS = [RunSpec(dataset="digits", seed=seed) for seed in range(3)]


def committed(spec: RunSpec) -> Outcome:
    return Outcome(End.COMMITTED, RunRecord(spec, Status.FINISHED))


def test_runs_are_handed_out_in_order_and_once(tmp_path: Path) -> None:
    ledger = Ledger(SPECS, Store(tmp_path))
    assert [ledger.next() for _ in range(4)] == [*SPECS, None]
    assert not ledger.finished
    for spec in SPECS:
        ledger.ended(spec, committed(spec))
    assert ledger.finished
    assert [r.spec for r in ledger.close().committed] == SPECS


def test_a_run_of_another_worker_is_waited_for_and_taken_when_it_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN", 0.0)
    store = Store(tmp_path)
    ledger = Ledger(SPECS[:2], store)
    for spec in SPECS[:2]:
        assert ledger.next() == spec
        ledger.ended(spec, Outcome(End.TAKEN))
    assert not ledger.finished
    store.commit(RunRecord(SPECS[0], Status.FINISHED))
    assert ledger.next() == SPECS[1]
    ledger.ended(SPECS[1], committed(SPECS[1]))
    assert ledger.finished
    assert ledger.close().elsewhere == 1


def test_a_run_that_kills_its_worker_is_tried_three_times_and_then_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ledger = Ledger(SPECS[:1], store, max_attempts=3)
    for expected in (True, True, False):
        assert ledger.next() == SPECS[0]
        assert ledger.died(SPECS[0], "worker cpu0 died (SIGKILL)") is expected
    assert ledger.finished
    record = store.record(SPECS[0].run_id)
    assert record is not None
    assert record.status is Status.FAILED
    assert record.reason == "worker cpu0 died (SIGKILL), 3 times"
    assert ledger.close().failed == [(SPECS[0], "worker cpu0 died (SIGKILL), 3 times")]


def test_what_would_stop_every_run_stops_the_sitting(tmp_path: Path) -> None:
    ledger = Ledger(SPECS, Store(tmp_path))
    first, second = ledger.next(), ledger.next()
    assert first is not None
    assert second is not None
    ledger.ended(first, Outcome(End.UNABLE, reason="No space left on device"))
    assert ledger.next() is None
    assert not ledger.finished  # the other one may end
    ledger.ended(second, committed(second))
    report = ledger.close()
    assert report.problem == "No space left on device"
    assert report.left == [SPECS[0], SPECS[2]]


def test_one_worker_asked_to_go_gives_its_run_back(tmp_path: Path) -> None:
    ledger = Ledger(SPECS[:1], Store(tmp_path))
    ledger.next()
    ledger.ended(SPECS[0], Outcome(End.INTERRUPTED))
    assert ledger.next() == SPECS[0]
    ledger.stop()
    ledger.ended(SPECS[0], Outcome(End.INTERRUPTED))
    assert ledger.close().left == [SPECS[0]]
