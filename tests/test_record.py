from __future__ import annotations

import json
import math
from typing import Any

import pytest

from interplay import record as module
from interplay.errors import SchemaError
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec


def epoch(number: int, test_acc: float, train_loss: float = 1.0) -> EpochMetrics:
    return EpochMetrics(number, 0.1, train_loss, 50.0, 1.5, test_acc, images_per_second=100.0 * number)


def record(status: Status = Status.FINISHED) -> RunRecord:
    history = (epoch(1, 40.0), epoch(2, 60.0), epoch(3, 55.0, 0.5))
    return RunRecord(RunSpec(dataset="digits"), status, history, environment={"torch": "2"}, collapse={"e_folds": 0.5})


def test_final_is_the_last_epoch_and_best_the_maximum() -> None:
    found = record()
    assert (found.final_test_acc, found.best_test_acc, found.final_train_loss) == (55.0, 60.0, 0.5)
    assert found.images_per_second == 200.0
    assert found.final_val_acc is None


@pytest.mark.parametrize("status", [Status.DIVERGED, Status.FAILED])
def test_a_run_that_did_not_finish_has_no_final_number(status: Status) -> None:
    found = record(status)
    assert found.final_test_acc is None
    assert found.final_train_loss is None
    assert found.best_test_acc == 60.0


def test_round_trip() -> None:
    found = record()
    assert RunRecord.from_json(found.to_json()) == found


def test_a_missing_number_stays_missing() -> None:
    metrics = EpochMetrics(1, 0.1, math.nan, 10.0, math.inf, None)
    text = json.dumps(metrics.to_dict(), allow_nan=False)
    again = EpochMetrics.from_dict(json.loads(text))
    assert (again.train_loss, again.test_loss, again.test_acc) == (None, None, None)


def changed(**changes: Any) -> str:
    values = {**record().to_dict(), **changes}
    return json.dumps({name: value for name, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(schema=...), "states no schema version"),
        (changed(schema=0), "schema 0; this version reads 1 and has no migration"),
        (changed(schema=99), "newer than 1: update interplay"),
        (changed(status=...), "missing status"),
        (changed(extra=1), "unknown extra"),
        (changed(status="crashed"), "crashed"),
        (changed(spec={"lr": 0.1}), "the stored spec lacks dataset"),
        ("{", "not a run record"),
        ("[]", "no JSON object"),
    ],
)
def test_what_cannot_be_read_exactly_is_an_error(text: str, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        RunRecord.from_json(text)


def test_an_older_version_goes_through_its_migration(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_zero(values: dict[str, Any]) -> dict[str, Any]:
        return {"reason": values.pop("why"), **values}

    monkeypatch.setitem(module.MIGRATIONS, 0, from_zero)
    old = record().to_dict()
    old |= {"schema": 0, "why": "because"}
    del old["reason"]
    assert RunRecord.from_dict(old).reason == "because"
