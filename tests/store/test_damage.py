"""One bad thing under the output folder stops nothing: it is named, set aside or passed over, and the rest goes on."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interplay import notes
from interplay.cli.main import main
from interplay.errors import DamagedError, SchemaError
from interplay.executors.status import status
from interplay.lab.doctor import examine
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.estimate import plan
from interplay.store.ends import Ends
from interplay.store.store import Store
from interplay.store.table import COLUMNS

pytestmark = pytest.mark.usefixtures("notes_shown")

SPECS = [RunSpec(dataset="digits", model="mlp", precision="fp32", lr=0.01 * (i + 1)) for i in range(4)]
BAD = SPECS[1].run_id


def record(spec: RunSpec) -> RunRecord:
    history = tuple(EpochMetrics(n, 0.1, 1.0, 50.0, 1.5, 60.0) for n in range(1, spec.epochs + 1))
    return RunRecord(spec, Status.FINISHED, history)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished")
    for spec in SPECS:
        assert Store(root).commit(record(spec))
    return root


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Iterator[Store]:
    notes.forget()
    shutil.copytree(finished, tmp_path / "out")
    yield Store(tmp_path / "out")
    notes.forget()


def changed(change: Callable[[dict[str, object]], object]) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return apply


def epoch(**values: object) -> Callable[[Path], object]:
    return changed(lambda found: found["history"][0].update(values))  # type: ignore[index]


def linked_to(target: str) -> Callable[[Path], object]:
    def apply(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return apply


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut short": lambda path: path.write_text(path.read_text()[:-30]),
    "empty": lambda path: path.write_text(""),
    "zeroes": lambda path: path.write_bytes(b"\0" * 500),
    "not UTF-8": lambda path: path.write_bytes(path.read_bytes().replace(b"digits", b"dig\xff\xfes")),
    "UTF-16": lambda path: path.write_bytes(path.read_text().encode("utf-16")),
    "nested": lambda path: path.write_text("[" * 100_000),
    "nested within": lambda path: path.write_text(
        path.read_text().replace('"environment": {}', '"environment": {"x": ' + "[" * 300 + "]" * 300 + "}")
    ),
    "a list": lambda path: path.write_text("[1, 2]"),
    "a pipe": as_pipe,
    "a device": linked_to("/dev/zero"),
    "a number": lambda path: path.write_text("7"),
    "a number as text": epoch(test_acc="55.5"),
    "true as a number": epoch(test_loss=True),
    "epoch as text": epoch(epoch="1"),
    "an epoch that is none": changed(lambda found: found.update(history=[1, 2])),
    "history is an object": changed(lambda found: found.update(history={"a": 1})),
    "a huge number": lambda path: path.write_text(path.read_text().replace("60.0", "1" + "0" * 400)),
    "an endless number": lambda path: path.write_text(path.read_text().replace("60.0", "1" * 5000)),
    "NaN": lambda path: path.write_text(path.read_text().replace("60.0", "NaN")),
    "Infinity": lambda path: path.write_text(path.read_text().replace("60.0", "-Infinity")),
    "overflow": lambda path: path.write_text(path.read_text().replace("60.0", "1e999")),
    "half a surrogate": changed(lambda found: found.update(reason="\ud800")),
    "spec is text": changed(lambda found: found.update(spec="digits")),
    "a knob changed by hand": changed(lambda found: found["spec"].update(lr=7.0)),  # type: ignore[attr-defined]
    "a knob as text": changed(lambda found: found["spec"].update(lr="0.02")),  # type: ignore[attr-defined]
    "a knob removed": changed(lambda found: found["spec"].pop("lr")),  # type: ignore[attr-defined]
    "another's name": changed(lambda found: found.update(run_id=SPECS[0].run_id)),
    "name is a number": changed(lambda found: found.update(run_id=5)),
    "no version": changed(lambda found: found.pop("schema")),
    "unknown status": changed(lambda found: found.update(status="weird")),
    "environment": changed(lambda found: found.update(environment={"at_once": "two"})),
    "time is a number": changed(lambda found: found.update(committed_at=7)),
    "copied from another run": lambda path: shutil.copy(path.parents[1] / SPECS[0].run_id / "record.json", path),
    "a folder": as_folder,
    "a link to itself": linked_to("record.json"),
    "a link to nothing": linked_to("gone.json"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_named_and_the_rest_goes_on(
    store: Store, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.folder(BAD) / "record.json"
    damage(path)
    others = {spec.run_id for spec in SPECS} - {BAD}
    with pytest.raises(DamagedError, match=str(path)):
        store.record(BAD)
    assert set(status(store).finished) == others
    assert {found.run_id for found in store.records()} == others
    assert {found.run_id for found in store.records()} == others
    assert capsys.readouterr().err.count(str(path)) == 1, "named once a command"
    assert [str(path) in check.text for check in examine(store.root, store.root) if check.name == "store"] == [True]

    (row,) = store.reconcile()  # the row of the run is kept, and the run is missing, so that it is trained again
    assert BAD in row.text
    assert row.text in store.aside.read_text()
    assert not store.is_done(BAD)
    assert [spec.run_id for spec in plan(SPECS, store).missing] == [BAD]
    assert os.path.lexists(store.folder(BAD) / "damaged-1.record.json")
    assert store.commit(record(SPECS[1]))
    assert store.reconcile() == []
    assert len(store.results.read_text().splitlines()) == 5


@pytest.mark.parametrize("name", ["rebuild", "status", "analyze", "report"])
def test_no_command_stops_at_it(store: Store, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (store.folder(BAD) / "record.json").write_bytes(b"\xff{")
    (store.runs / "Thumbs.db").write_bytes(b"\0")
    words = [str(store.root), "--no_figures"] if name == "report" else [str(store.root)]
    code = main([name, *(["--output_dir"] if name in ("rebuild", "status") else []), *words])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.err.count(f"{store.folder(BAD) / 'record.json'}: ") == 1
    assert shown.err.count("Thumbs.db") == 1
    assert "Traceback" not in shown.err
    if name == "rebuild":
        assert "has 3 rows" in shown.out
    if name == "status":
        assert "3 finished" in shown.out
        assert "1 damaged" in shown.out


def test_a_record_of_a_later_version_is_passed_over_and_stays(store: Store) -> None:
    path = store.folder(BAD) / "record.json"
    changed(lambda found: found.update(schema=99))(path)
    with pytest.raises(SchemaError, match="update interplay"):
        store.record(BAD)
    store.reconcile()
    assert store.is_done(BAD)
    assert json.loads(path.read_text())["schema"] == 99
    assert len(list(store.records())) == 3


def stranger_file(runs: Path) -> Path:
    (runs / "Thumbs.db").write_bytes(b"\0\xff")
    return runs / "Thumbs.db"


def stranger_folder(runs: Path) -> Path:
    (runs / ".ipynb_checkpoints").mkdir()
    (runs / ".ipynb_checkpoints" / "record.json").write_text("{")
    return runs / ".ipynb_checkpoints"


def copied(runs: Path) -> Path:
    return shutil.copytree(runs / BAD, runs / f"{BAD} (copy)")


def copied_under_a_name(runs: Path) -> Path:
    return shutil.copytree(runs / BAD, runs / "0123456789abcdef")


def file_for_folder(runs: Path) -> Path:
    (runs / "fedcba9876543210").write_text("x")
    return runs / "fedcba9876543210"


def loop(runs: Path) -> Path:
    (runs / "00000000000000ff").symlink_to("00000000000000ff")
    return runs / "00000000000000ff"


@pytest.mark.parametrize("put", [stranger_file, stranger_folder, copied, copied_under_a_name, file_for_folder, loop])
def test_what_is_no_run_is_named_and_passed_over(
    store: Store, put: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    text = store.results.read_text()
    stranger = put(store.runs)
    assert len(status(store).finished) == 4
    assert len(list(store.records())) == 4
    store.reconcile()
    store.rebuild()
    assert store.results.read_text() == text
    assert stranger.name in capsys.readouterr().err
    assert any(str(stranger) in check.text for check in examine(store.root, store.root))
    assert os.path.lexists(stranger)


def test_a_file_where_the_folder_of_a_run_belongs_is_set_aside(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.runs.mkdir()
    store.folder(BAD).write_text("mine")
    assert store.commit(record(SPECS[1]))
    assert (store.runs / f"damaged-1.{BAD}").read_text() == "mine"
    assert store.is_done(BAD)


@pytest.mark.parametrize("text", ["", "{", '{"schema": 1, "lr": 5}', "changed", "[]", "\udcff"])
def test_a_specification_changed_by_hand_is_refused_and_written_anew(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    path = store.open(SPECS[0]) / "spec.json"
    good = path.read_text()
    if text == "changed":
        text = good.replace('"lr": 0.01', '"lr": 0.02')
        assert text != good
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    with pytest.raises(DamagedError, match=str(path)):
        store.spec(SPECS[0].run_id)
    store.open(SPECS[0])
    assert path.read_text() == good
    assert store.spec(SPECS[0].run_id) == SPECS[0]


@pytest.mark.parametrize(
    "line",
    [
        '"an open quote\n',
        'SGD,"128,0.1\n',
        "x" * 131_073 + "\n",
        "a," * 40 + '"' + "y" * 300_000 + '"\n',
        "SGD,\0,3\n",
        "\udcff\udcfe,1\n",
    ],
    ids=["quote", "inner quote", "long cell", "long quoted cell", "NUL", "not UTF-8"],
)
@pytest.mark.parametrize("place", [1, 3, 5])
def test_one_bad_line_of_a_table_is_kept_aside_and_swallows_no_other(store: Store, line: str, place: int) -> None:
    good = store.results.read_bytes()
    lines = good.splitlines(keepends=True)
    lines.insert(place, line.encode("utf-8", errors="surrogateescape"))
    store.results.write_bytes(b"".join(lines))
    ends = Ends(store.results)
    ends.look()
    assert set(ends.status) == {spec.run_id for spec in SPECS}
    found = store.reconcile()
    assert [row.line for row in found] == [place + 1]
    assert store.results.read_bytes() == good
    assert store.reconcile() == []
    assert len(store.aside.read_text().splitlines()) == 1


def test_an_unbalanced_quote_in_the_header_costs_no_row(store: Store) -> None:
    good = store.results.read_text()
    store.results.write_text('"' + good)
    store.reconcile()
    assert store.results.read_text() == good


def test_an_endless_error_is_cut_where_it_is_written(tmp_path: Path) -> None:
    from interplay.executors.outcomes import failure, first_line

    store = Store(tmp_path)
    error = ValueError("values " + "1, " * 200_000)
    failed = failure(SPECS[0], first_line(error), "Traceback\n" + str(error))
    assert failed.reason is not None
    assert len(failed.reason) == 500
    store.fail(failed)
    store.fail(
        dataclasses.replace(record(SPECS[1]), status=Status.FAILED, reason="z" * 200_000)
    )  # of an earlier version
    lines = store.results.read_text().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) < 2_000
    assert (store.folder(SPECS[0].run_id) / "failed.json").stat().st_size < 50_000
    assert store.reconcile() == []


def test_cells_of_other_columns_are_cut_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.commit(dataclasses.replace(record(SPECS[0]), environment={"device_name": "d" * 200_000}))
    ends = Ends(store.results)
    ends.look()
    assert set(ends.status) == {SPECS[0].run_id}
    assert store.reconcile() == []
    assert len(store.results.read_text().splitlines()[1].split(",")) == len(COLUMNS)


@pytest.mark.parametrize(
    "claim",
    [
        "{",
        '"x"',
        '{"attempt": "../../x", "pid": 1}',
        '{"attempt": 5, "pid": "1"}',
        '{"pid": 1e400}',
        "[" * 100_000,
        json.dumps({"attempt": "a", "pid": 10**30, "machine": "m", "eta": "soon", "epoch": []}),
    ],
)
def test_a_damaged_claim_stops_nothing(store: Store, claim: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = RunSpec(dataset="digits", model="mlp", precision="fp32", lr=0.5)
    (store.open(spec) / "claim.json").write_text(claim)
    assert main(["status", "--output_dir", str(store.root)]) == 0
    assert "4 finished, 1 running" in capsys.readouterr().out
    store.reconcile()


@pytest.mark.parametrize("line", ["[" * 100_000, '{"epoch": "1"}', "\udcff", "null", '{"epoch": 1e999}'])
def test_a_damaged_history_ends_there(tmp_path: Path, line: str) -> None:
    store = Store(tmp_path)
    run_id = store.open(SPECS[0]).name
    first, second = (EpochMetrics(n, 0.1, 1.0, 50.0, 1.5, 60.0) for n in (1, 2))
    store.add_epoch(run_id, first, first=True)
    path = store.folder(run_id) / "history.jsonl"
    path.write_bytes(path.read_bytes() + line.encode("utf-8", errors="surrogateescape") + b"\n")
    assert store.history(run_id) == (first,)
    store.add_epoch(run_id, second, first=True)
    assert store.history(run_id) == (first, second)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"job_id": 5}', "\udcff", '"x"', "1" * 5000, '{"a": {"path": 1}}'])
def test_notes_beside_the_runs_stop_nothing_either(store: Store, text: str) -> None:
    from interplay.executors.slurm.jobs import submissions
    from interplay.speed.choose import read_notes
    from interplay.store.manifest import read_manifest

    (store.root / "jobs").mkdir()
    path = store.root / "jobs" / "slurm-7.json"
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    assert submissions(store.root) == []
    assert isinstance(read_notes(path), dict)
    with pytest.raises(SchemaError, match=str(path)):
        read_manifest(path)


def test_a_run_with_a_damaged_record_counts_as_missing_in_a_plan(store: Store) -> None:
    (store.folder(BAD) / "record.json").write_text("{")
    assert [spec.run_id for spec in plan(SPECS, store).missing] == [BAD]


@pytest.mark.parametrize("name", ["results.csv", ".last_commit"])
@pytest.mark.parametrize("make", [as_pipe, linked_to("/dev/zero")], ids=["pipe", "device"])
def test_a_pipe_or_a_device_beside_the_table_is_never_waited_for(
    store: Store, name: str, make: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    make(store.results.with_name(name))
    assert main(["status", "--output_dir", str(store.root)]) == 0
    code = main(["rebuild", "--output_dir", str(store.root)])
    assert code == (1 if name == "results.csv" else 0)
    if code:
        assert "results.csv: no plain file" in capsys.readouterr().err
