"""What is read from stores and tables, and what is no measurement."""

from __future__ import annotations

from pathlib import Path

import pytest

from interplay.analysis.cells import Cell
from interplay.analysis.observations import from_records, from_rows
from interplay.errors import InputError, SpecError
from interplay.lab import read
from interplay.lab.gathering import gather
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.store.table import COLUMNS

ACC = "final_test_acc"


def test_runs_at_chance_that_learnt_nothing_diverged_even_where_a_table_does_not_say_so() -> None:
    row = {"batch_size": "128", "lr": "2", "wd": "5e-4", "momentum": "0.9"}
    values = {"final_test_acc": "1.0", "final_train_loss": "4.605", "best_test_acc": "4.3"}
    lost, slow, told = from_rows(
        [row | values, row | values | {"final_train_loss": "4.2"}, row | values | {"status": "finished"}], "a.csv"
    ).runs
    assert (lost.value, slow.value, told.value) == (None, 1.0, 1.0)
    (infinite,) = from_rows([row | values | {"final_train_loss": "nan"}], "a.csv").runs
    assert infinite.value is None
    (diverged,) = from_rows([row | values | {"status": "diverged"}], "a.csv", "best_test_acc").runs
    assert diverged.value is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": "inf"}, "line 2: batch_size inf is out of range"),
        ({"other_knobs": "dampening=1"}, "line 2: dampening 1 is out of range"),
        ({"batch_size": "0"}, "line 2: batch_size 0 is out of range"),
        ({"epochs": "-1"}, "line 2: epochs -1 is out of range"),
        ({"lr": "0"}, "line 2: lr 0 is out of range"),
        ({"lr": "nan"}, "line 2: lr nan is out of range"),
        ({"momentum": "1"}, "line 2: momentum 1 is out of range"),
        ({"wd": "-0.1"}, "line 2: wd -0.1 is out of range"),
    ],
)
def test_numbers_that_no_run_can_have_are_named_by_line(change: dict[str, str], message: str) -> None:
    row = {"batch_size": "128", "lr": "0.1", "wd": "5e-4", "momentum": "0.9", "final_test_acc": "70"}
    with pytest.raises(InputError, match=message):
        from_rows([row | change], "a.csv")


def test_only_metrics_of_generalisation_are_maximised() -> None:
    with pytest.raises(SpecError, match="unknown metric 'wall_seconds'"):
        from_rows([], "a.csv", "wall_seconds")


def test_a_table_from_a_spreadsheet_is_read_and_one_that_is_not_text_is_refused(tmp_path: Path) -> None:
    text = "batch_size,lr,wd,momentum,final_test_acc\n128,0.1,5e-4,0.9,70\n"
    marked, latin = tmp_path / "marked.csv", tmp_path / "latin.csv"
    marked.write_text(text, encoding="utf-8-sig")
    latin.write_bytes(text.encode() + "é".encode("latin-1"))
    (observations,) = read.observations([marked], ACC)
    assert observations.runs[0].value == 70.0
    with pytest.raises(InputError, match=r"latin\.csv is not text in UTF-8"):
        read.observations([latin], ACC)


def finished(acc: float | None = 50.0, val: float | None = None, **knobs: object) -> RunRecord:
    spec = RunSpec(epochs=1).replace(**knobs)
    return RunRecord(spec, Status.FINISHED, (EpochMetrics(1, 0.1, 1.0, 50.0, 1.0, acc, val_acc=val),))


def test_what_was_not_measured_did_not_diverge(tmp_path: Path) -> None:
    split = finished(val_split=100, val=48.0)
    assert len(from_records([finished(), split], "final_val_acc").runs) == 1
    Store(tmp_path).commit(finished())
    with pytest.raises(InputError, match=r"no run of .* has final_val_acc: none held out images"):
        read.observations([tmp_path], "final_val_acc")


def test_the_page_reads_repetitions_as_the_analysis_does(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for acc, folder in zip((50.0, 51.0), folders, strict=True):
        Store(folder).commit(finished(acc))
        Store(folder).commit(finished(acc, val_split=100, val=acc))
    for metric in (ACC, "final_val_acc"):
        (page, _), analysed = gather(folders, metric), read.observations(folders, metric)
        assert [sorted(each.repetition for each in one.runs) for one in page] == [
            sorted(each.repetition for each in one.runs) for one in analysed
        ]


def test_equal_seeds_of_two_stores_are_two_repetitions() -> None:
    records = [finished(seed=seed) for seed in (1, 2)]
    assert {run.repetition for run in from_records(records).runs} == {"1", "2"}
    assert {run.repetition for run in from_records(records, source="b").runs} == {"b 1", "b 2"}


@pytest.mark.parametrize(
    "knobs",
    [
        {"augment": "flip"},
        {"dampening": 0.5},
        {"schedule_every": "step"},
        {"schedule": "step", "gamma": 0.2},
        {"schedule": "step", "milestones": (0.3, 0.6)},
        {"train_limit": 5000},
        {"model": "wide_resnet", "widening": 2},
        {"fingerprint": "cifar100:0123456789abcdef"},
        {"dataset": "/somewhere/mine.npz", "fingerprint": "npz:0123456789abcdef"},
    ],
)
def test_a_store_and_its_table_tell_the_same_settings_apart(knobs: dict[str, object]) -> None:
    spec = finished(**knobs)

    def row(record: RunRecord) -> dict[str, str]:
        values = {name: value(record) for name, value in COLUMNS.items()}
        return {name: "" if value is None else str(value) for name, value in values.items()}

    plain = row(finished(schedule=spec.spec.schedule, model=spec.spec.model))
    saved = row(spec) | {"train_limit": "5000.0" if spec.spec.train_limit else ""}  # as pandas writes it
    (by_table, other), (by_store,) = from_rows([saved, plain], "a.csv").runs, from_records([spec]).runs
    assert by_table.cell == by_store.cell != other.cell
    assert by_table.gain == pytest.approx(by_store.gain)


def test_data_are_told_apart_by_content_and_not_by_folder() -> None:
    def where(folder: str, digest: str) -> Cell:
        record = finished(dataset=f"{folder}/mine.npz", fingerprint=f"npz:{digest}")
        return from_records([record]).runs[0].cell

    assert where("/a", "11") == where("/b", "11") != where("/a", "22")


def test_a_table_is_parsed_once_for_all_metrics_but_where_they_decide_which_runs_ended(tmp_path: Path) -> None:
    head, row = "lr,wd,momentum,batch_size,seed,status,final_test_acc,final_test_loss", "0.1,0.001,0.9,64"
    path = tmp_path / "both.csv"
    path.write_text("\n".join([head, f"{row},0,finished,50,1.5", f"{row},1,,51,1.4"]) + "\n")
    tables = read.Tables()
    by_accuracy, by_loss = (tables.measured(path, "both.csv", name) for name in (ACC, "final_test_loss"))
    assert by_loss is by_accuracy
    for name in (ACC, "final_test_loss"):
        assert read.observations([path], name, tables) == read.observations([path], name)
    path.write_text("\n".join([head, f"{row},0,finished,50,1.5", f"{row},1,,51,"]) + "\n")
    tables = read.Tables()
    by_accuracy, by_loss = (tables.measured(path, "both.csv", name) for name in (ACC, "final_test_loss"))
    assert (len(by_accuracy.rows), len(by_loss.rows), len(by_loss.left_out)) == (2, 1, 1)
    assert any("without a state or a value 1" in note for note in by_loss.notes)
