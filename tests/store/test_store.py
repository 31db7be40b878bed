from __future__ import annotations

import csv
import dataclasses
import threading
from pathlib import Path

import pytest

from interplay.errors import SchemaError
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store import files
from interplay.store.checkpoints import checkpoint_name, publish
from interplay.store.store import Store
from interplay.store.table import COLUMNS, DOCUMENTED


def record(seed: int = 42, status: Status = Status.FINISHED, acc: float = 55.5) -> RunRecord:
    history = (EpochMetrics(1, 0.1, 1.0, 50.0, 1.5, 60.0), EpochMetrics(2, 0.05, 0.5, 50.0, 1.5, acc))
    return RunRecord(RunSpec(dataset="digits", seed=seed), status, history, reason=None if acc else "x")


def rows(store: Store) -> list[dict[str, str]]:
    with store.results.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_committed_record_is_read_back_and_has_its_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.record(record().run_id) is None
    assert store.commit(record())
    found = store.record(record().run_id)
    assert found is not None
    assert found.committed_at
    assert dataclasses.replace(found, committed_at="") == record()
    folder = store.folder(found.run_id)
    assert sorted(p.name for p in folder.iterdir()) == ["history.jsonl", "record.json", "spec.json"]
    assert len((folder / "history.jsonl").read_text().splitlines()) == 2


def test_the_documented_columns_come_first_under_their_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record())
    header = store.results.read_text().splitlines()[0].split(",")
    assert tuple(header[:8]) == DOCUMENTED
    assert DOCUMENTED == (
        "method",
        "batch_size",
        "lr",
        "wd",
        "momentum",
        "final_test_acc",
        "final_train_loss",
        "best_test_acc",
    )
    assert header == list(COLUMNS)
    (row,) = rows(store)
    assert (row["method"], row["lr"], row["wd"], row["final_test_acc"]) == ("SGDM+WD", "0.1", "0.0005", "55.5")
    assert (row["seed"], row["status"], row["run_id"]) == ("42", "finished", record().run_id)


def test_knobs_of_a_model_or_an_optimiser_share_a_column(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record())
    spec = RunSpec(dataset="digits", model="wide_resnet", widening=2, optimizer="adamw", momentum=0.8)
    store.commit(dataclasses.replace(record(), spec=spec, run_id=spec.run_id))
    assert [row["own_knobs"] for row in rows(store)] == ["", "widening=2 blocks_per_stage=6 beta2=0.999 eps=1e-08"]
    assert [(row["method"], row["momentum"]) for row in rows(store)] == [("SGDM+WD", "0.9"), ("AdamW+WD", "0.8")]
    found = store.record(spec.run_id)
    assert found is not None
    assert found.spec == spec


def test_the_first_commit_wins_and_there_is_one_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.commit(record(acc=55.5))
    assert not store.commit(record(acc=99.0))
    assert [row["final_test_acc"] for row in rows(store)] == ["55.5"]
    found = store.record(record().run_id)
    assert found is not None
    assert found.final_test_acc == 55.5


def test_a_diverged_run_has_a_row_with_empty_cells(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(dataclasses.replace(record(status=Status.DIVERGED), reason="not finite, alas"))
    (row,) = rows(store)
    assert (row["final_test_acc"], row["final_train_loss"], row["best_test_acc"]) == ("", "", "60.0")
    assert (row["status"], row["reason"]) == ("diverged", "not finite, alas")


def test_rows_stand_in_the_order_of_commits_even_when_clocks_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.commit(record(1))
    (tmp_path / "results" / ".last_commit").write_text("2999-01-01T00:00:00.000000+00:00")
    store.commit(record(2))
    store.commit(record(3))
    assert [row["seed"] for row in rows(store)] == ["1", "2", "3"]
    assert [r.spec.seed for r in store.records()] == [1, 2, 3]
    moments = [row["committed_at"] for row in rows(store)]
    assert moments == sorted(moments)


def test_many_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    wins: list[int] = []

    def work(offset: int) -> None:
        store = Store(tmp_path)
        for seed in range(offset, offset + 12):
            if store.commit(record(seed)):
                wins.append(seed)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 4, 8, 12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == list(range(24))
    assert sorted(int(row["seed"]) for row in rows(Store(tmp_path))) == list(range(24))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record())
    path = store.folder(record().run_id) / "record.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(SchemaError, match=str(path)):
        store.record(record().run_id)


def test_write_once_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(files.os, "link", refuse)
    assert files.write_once(tmp_path / "x", "one")
    assert not files.write_once(tmp_path / "x", "two")
    assert (tmp_path / "x").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("knobs", "name"),
    [
        ({}, "exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth"),
        ({"momentum": 0, "weight_decay": 0, "lr": 1}, "exp1_SGD_bs128_lr1_wd0_mom0_best.pth"),
        ({"seed": 7}, "exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_seed7_best.pth"),
    ],
)
def test_documented_checkpoint_names(knobs: dict[str, float], name: str) -> None:
    assert checkpoint_name(RunSpec(**knobs), "best", 1) == name  # type: ignore[arg-type]


def test_the_documented_name_means_the_last_run_and_every_run_keeps_its_own_file(tmp_path: Path) -> None:
    first, second = RunSpec(), RunSpec(epochs=50)  # the documented name does not tell them apart
    for spec, text in ((first, "first"), (second, "second"), (second, "second")):
        folder = tmp_path / "runs" / spec.run_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "best.pt").write_text(text)
        publish(tmp_path, spec, folder, 1)
    (only,) = (tmp_path / "checkpoints").iterdir()
    assert (only.name, only.read_text()) == ("exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth", "second")
    assert (tmp_path / "runs" / first.run_id / "best.pt").read_text() == "first"


def test_a_failure_is_a_row_that_success_replaces(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record(1))
    failed = RunRecord(RunSpec(dataset="digits"), Status.FAILED, reason="RuntimeError: one\nline", traceback="...")
    assert store.fail(failed)
    assert store.has_failed(failed.run_id)
    assert [(r["status"], r["reason"]) for r in rows(store)] == [("finished", ""), ("failed", "RuntimeError: one line")]
    assert store.fail(dataclasses.replace(failed, reason="again"))
    assert [r["reason"] for r in rows(store)] == ["", "again"]
    assert store.commit(record())
    assert not store.has_failed(failed.run_id)
    assert [(r["seed"], r["status"]) for r in rows(store)] == [("1", "finished"), ("42", "finished")]
    assert not store.fail(failed)
    assert len(list(store.folder(failed.run_id).glob("failed-*.json"))) == 2


def test_a_forgotten_failure_is_missing_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    failed = RunRecord(RunSpec(dataset="digits"), Status.FAILED, reason="x")
    store.fail(failed)
    assert store.forget_failure(failed.run_id)
    assert store.record(failed.run_id) is None
    assert rows(store) == []
    assert not store.forget_failure(failed.run_id)


def test_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in (5, 3, 9, 1):
        store.commit(record(seed))
    store.fail(RunRecord(RunSpec(dataset="digits", seed=7), Status.FAILED, reason='a "quoted", reason'))
    store.commit(record(2, Status.DIVERGED))
    before = store.results.read_bytes()
    assert store.rebuild() == []
    assert store.results.read_bytes() == before
    store.results.unlink()
    assert store.rebuild() == []
    assert store.results.read_bytes() == before


def test_foreign_and_damaged_rows_are_named_by_line_and_kept_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record(1))
    clean = store.results.read_text()
    typed = "SGD,128,0.1,0,0,99.9,0.1,99.9"
    lines = clean.splitlines()
    edited = lines[1].replace("55.5", "77.7")
    store.results.write_text("\n".join([lines[0], typed, edited, "SGD,half"]))
    found = store.reconcile()
    assert [(row.line, row.text) for row in found] == [(2, typed), (3, edited), (4, "SGD,half")]
    assert "8 cells where" in str(found[0])
    assert "the record of run" in str(found[1])
    assert store.results.read_text() == clean
    assert store.aside.read_text().splitlines() == [typed, edited, "SGD,half"]
    assert store.reconcile() == []


def test_a_row_lost_to_a_kill_and_a_table_cut_short_are_made_good(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(record(1))
    store.commit(record(2))
    whole = store.results.read_text()
    store.results.write_text("".join(whole.splitlines(keepends=True)[:2]))  # killed between record and row
    assert store.reconcile() == []
    assert store.results.read_text() == whole
    store.results.write_text(whole[:-7])  # killed within the row
    store.commit(record(3))
    assert [row["seed"] for row in rows(store)] == ["1", "2", "3"]
    assert len({row["run_id"] for row in rows(store)}) == 3


def test_a_run_whose_folder_was_removed_and_that_ran_again_has_one_row(tmp_path: Path) -> None:
    import shutil

    store = Store(tmp_path)
    store.commit(record())
    shutil.rmtree(store.folder(record().run_id))
    (foreign,) = store.reconcile()
    assert foreign.line == 2
    assert f"there is no sound record of run {record().run_id}" in str(foreign)
    store.commit(record(acc=44.0))
    assert [row["final_test_acc"] for row in rows(store)] == ["44.0"]


def test_a_table_of_an_older_version_is_made_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.results.parent.mkdir(parents=True)
    store.results.write_text(",".join(DOCUMENTED) + "\nSGD,128,0.1,0,0,50.0,0.1,51.0\n")
    store.commit(record())
    assert [row["seed"] for row in rows(store)] == ["42"]
    assert "SGD,128,0.1,0,0,50.0,0.1,51.0" in store.aside.read_text()


def test_rows_of_a_table_with_other_columns_give_way_in_silence(tmp_path: Path) -> None:
    """A column was added since: the rows say what the records say, and nothing is set aside."""
    store = Store(tmp_path)
    store.commit(record())
    with store.results.open(newline="") as file:
        found = list(csv.DictReader(file))
    columns = [name for name in found[0] if name != "other_knobs"]
    stranger = found[0] | {"run_id": "0" * 16}
    with store.results.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*found, stranger])
    (foreign,) = store.reconcile()
    assert foreign.line == 3
    assert [row["other_knobs"] for row in rows(store)] == [""]


def test_history_drops_what_a_resumed_run_trains_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run_id = store.open(record().spec).name
    path = store.folder(run_id) / "history.jsonl"
    for number in (1, 2, 3):
        store.add_epoch(run_id, EpochMetrics(number, 0.1, 1.0, 50.0, 1.5, 60.0), first=number == 1)
    path.write_text(path.read_text() + '{"epoch": 4, "lr"')  # killed while writing
    store.add_epoch(run_id, EpochMetrics(3, 0.1, 1.0, 50.0, 1.5, 60.0), first=True)
    import json

    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_a_failed_row_left_by_a_kill_gives_way_to_the_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.fail(RunRecord(RunSpec(dataset="digits"), Status.FAILED, reason="x"))
    stale = store.results.read_text()
    store.commit(record())
    whole = store.results.read_text()
    store.results.write_text(stale)  # killed after the record and before the row
    assert store.reconcile() == []
    assert store.results.read_text() == whole


def test_what_a_kill_right_after_the_record_left_undone_is_finished(tmp_path: Path) -> None:
    import json
    import subprocess
    import sys

    from interplay.store.leases import Claims

    store = Store(tmp_path)
    folder = store.open(record().spec)
    script = (
        f"from pathlib import Path; from interplay.store.leases import Claims; Claims(Path({str(store.runs)!r}), 'w')"
    )
    subprocess.run([sys.executable, "-c", f"{script}.take({folder.name!r})"], check=True)
    (folder / "last.pt").write_text("x")
    (folder / ".history.jsonl.1.ab").write_text("half")
    (folder / "record.json").write_text(
        dataclasses.replace(record(), committed_at="2026-01-01T00:00:00+00:00").to_json()
    )
    assert store.reconcile() == []
    assert sorted(p.name for p in folder.iterdir()) == ["history.jsonl", "record.json", "spec.json"]
    assert [json.loads(line)["epoch"] for line in (folder / "history.jsonl").read_text().splitlines()] == [1, 2]
    assert len(rows(store)) == 1
    # The claim of a living worker, who is about to tidy up by itself, is left alone.
    assert Claims(store.runs, "me").take(folder.name) is not None
    store.reconcile()
    assert (folder / "claim.json").exists()
