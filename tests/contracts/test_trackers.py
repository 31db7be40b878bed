"""The contract of all trackers: they see what the record says, and none of them can cost a run or change a number."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from following import hearing

from interplay.data.splits import load as load_data
from interplay.executors.base import Listener
from interplay.executors.inline import InlineExecutor
from interplay.executors.job import Job
from interplay.executors.queue import Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics, RunRecord, Status, best_epoch
from interplay.spec import RunSpec
from interplay.speed.plan import SpeedPlan
from interplay.stack.grouping import stack_key
from interplay.store.store import Store
from interplay.summary import setting
from interplay.trackers import base, choose, guard, registry, weights_biases
from interplay.trackers.base import NullTracker, Row, TrackedRun, Tracker
from interplay.trackers.guard import Guarded, Limits, Resent
from interplay.trackers.registry import TrackerSettings
from interplay.train import checkpoint
from interplay.train.events import BatchSeen
from interplay.train.loop import train

TRACKERS = ["none", *registry.TRACKERS]
KEY = "0123456789" * 4
"""Looks like a key of W&B and is none."""

SPEC = RunSpec(dataset="digits", model="mlp", label_noise=0.2, epochs=3, batch_size=10, precision="fp32")


@pytest.fixture(autouse=True)
def _nobody_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    yield
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()


class Heard(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def sitting(output: Path, *specs: RunSpec, stop: StopRequest | None = None, **job: Any) -> tuple[Report, list[str]]:
    """Run ``specs`` in this process; the report and all notes."""
    heard = Heard()
    told = Job(data_dir="data", output_dir=str(output), **job)
    return InlineExecutor().run(specs, Store(output), told, heard, stop or StopRequest()), heard.notes


def numbers(record: RunRecord) -> list[dict[str, Any]]:
    """All of the history but what a clock measured."""
    timed = {"seconds": 0.0, "images_per_second": 0.0}
    return [dataclasses.replace(m, **timed).to_dict() for m in record.history]


@pytest.fixture(scope="module")
def plain() -> RunRecord:
    """The run without any tracker."""
    return train(SPEC, load_data(SPEC, Path("/nonexistent")))


# -- reading a W&B file back ------------------------------------------------------------------------------------------


def wandb_records(folder: Path) -> list[Any]:
    """All records of the one ``.wandb`` file in ``folder``: a header, then a LevelDB log with zlib's checksums."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    data, found, whole, at = path.read_bytes(), [], b"", 7
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        checksum, size, kind = struct.unpack("<IHB", data[at : at + 7])
        part = data[at + 7 : at + 7 + size]
        assert zlib.crc32(bytes([kind]) + part) == checksum
        at, whole = at + 7 + size, whole + part
        if kind in (1, 4):  # a full record, or the last part of one
            found.append(Record.FromString(whole))
            whole = b""
    return found


def items(entries: Any) -> dict[str, Any]:
    """Values by name; those inside a value by ``name/part``."""
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found = [items(r.history.item) for r in wandb_records(folder) if r.WhichOneof("record_type") == "history"]
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in found]


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "summary":
            summary |= items(record.summary.update)
    return summary


def folders_of(output: Path, run_id: str = "") -> list[Path]:
    if "wandb" in sys.modules:
        import wandb

        # Its service writes the last block of a file a moment after `finish` has returned; this waits for its end.
        wandb.teardown()
    return sorted((output / "wandb").glob(f"offline-run-*-{run_id}*"), key=lambda p: p.stat().st_ctime_ns)


def test_a_wandb_file_holds_every_documented_number(tmp_path: Path) -> None:
    told = {"tracker": "wandb", "wandb_project": "mine", "wandb_entity": "us", "group": "my study"}
    report, notes = sitting(tmp_path, SPEC, instruments=("weight_norm",), **told)
    assert notes == []
    (record,) = report.committed
    (folder,) = folders_of(tmp_path)
    records = wandb_records(folder)

    (run,) = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.project, run.entity, run.run_group) == (SPEC.run_id, "mine", "us", "my study")
    assert run.display_name == setting(SPEC)
    assert run.host == ""
    config = items(run.config.update)
    del config["_wandb"]
    assert config == SPEC.to_dict()

    seen: list[BatchSeen] = []
    train(SPEC, load_data(SPEC, Path("/nonexistent")), emit=hearing(BatchSeen, seen.append))
    rows = rows_of(folder)
    batches = [row for row in rows if "step" in row]
    assert [row["step"] for row in batches] == [50, 100, 150, 200, 250, 300]
    expected = [(b.epoch, b.batch_loss, b.batch_accuracy, b.lr) for b in seen if b.batch in (50, 100)]
    names = ("epoch", "batch_loss", "batch_accuracy", "batch_learning_rate")
    assert [tuple(row[name] for name in names) for row in batches] == expected

    epochs = [row for row in rows if "step" not in row]
    assert len(epochs) == 3
    for row, metrics in zip(epochs, record.history, strict=True):
        assert row == {
            "epoch": metrics.epoch,
            "train_loss": metrics.train_loss,
            "train_accuracy": metrics.train_acc,
            "test_loss": metrics.test_loss,
            "test_accuracy": metrics.test_acc,
            "learning_rate": metrics.lr,  # of this epoch, not of the next
            "epoch_seconds": metrics.seconds,
            "images_per_second": metrics.images_per_second,
            **metrics.instruments,
        }
    assert epochs[0]["learning_rate"] == SPEC.lr

    axes = {r.metric.name: r.metric.step_metric for r in records if r.WhichOneof("record_type") == "metric"}
    assert axes["batch_loss"] == axes["batch_learning_rate"] == "step"
    assert axes["test_accuracy"] == axes["learning_rate"] == axes["weight_norm/linear"] == "epoch"

    watched = {
        kind: [row["step"] for row in batches if any(name.startswith(f"{kind}/") for name in row)]
        for kind in ("gradients", "parameters")
    }
    # Passes over the test images are no steps. A gradient is there after its step, parameters before the next one.
    assert watched == {"gradients": [100, 200, 300], "parameters": [100, 200, 300]}
    globs = {r.metric.glob_name: r.metric.step_metric for r in records if r.WhichOneof("record_type") == "metric"}
    assert globs["parameters/*"] == globs["gradients/*"] == "step"

    best = max(record.history, key=lambda m: m.test_acc or 0.0)
    summary = summary_of(folder)
    assert (summary["best_accuracy"], summary["best_epoch"]) == (best.test_acc, best.epoch)
    assert summary["parameters"] == record.parameters
    assert summary["status"] == "finished"
    assert summary["epoch"] == 3

    (artifact,) = [r.artifact for r in records if r.WhichOneof("record_type") == "artifact"]
    assert (artifact.type, artifact.name) == ("model", f"model-{SPEC.run_id}")
    assert "best" in artifact.aliases
    (entry,) = artifact.manifest.contents
    assert Path(entry.local_path).is_absolute()
    state = checkpoint.read(Path(entry.local_path))
    assert state["epoch"] == best.epoch
    assert state["run_id"] == SPEC.run_id


def test_all_files_stay_below_the_output_folder_and_weights_nobody_asked_for_go(tmp_path: Path) -> None:
    sitting(tmp_path / "out", SPEC, tracker="wandb")
    assert {p.name for p in tmp_path.iterdir()} == {"out"}
    kept = {p.name for p in Store(tmp_path / "out").folder(SPEC.run_id).iterdir()}
    assert kept == {"spec.json", "history.jsonl", "record.json"}
    sitting(tmp_path / "kept", SPEC, tracker="wandb", save_checkpoints=True)
    kept = {p.name for p in Store(tmp_path / "kept").folder(SPEC.run_id).iterdir()}
    assert kept == {"spec.json", "history.jsonl", "record.json", "best.pt", "final.pt"}


def test_tensorboard_files_hold_the_same_numbers(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report, notes = sitting(tmp_path, SPEC, tracker="tensorboard")
    assert notes == []
    (record,) = report.committed
    found = EventAccumulator(str(tmp_path / "tensorboard" / SPEC.run_id)).Reload()
    scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    for tag, name in {"test_accuracy": "test_acc", "train_loss": "train_loss", "learning_rate": "lr"}.items():
        assert scalars[tag] == [(m.epoch, pytest.approx(getattr(m, name))) for m in record.history]
    assert [step for step, _ in scalars["batch_loss"]] == [50, 100, 150, 200, 250, 300]
    assert {"batch_accuracy", "batch_learning_rate", "epoch_seconds", "train_accuracy", "test_loss"} <= set(scalars)
    best = max(record.history, key=lambda m: m.test_acc or 0.0)
    assert scalars["best_accuracy"] == [(best.epoch, pytest.approx(best.test_acc))]
    assert scalars["parameters"] == [(0, record.parameters)]


# -- the same for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_changes_no_bit_of_a_run(name: str, tmp_path: Path, plain: RunRecord) -> None:
    report, notes = sitting(tmp_path, SPEC, tracker=name)
    assert notes == []
    (record,) = report.committed
    assert numbers(record) == numbers(plain)
    for field in ("status", "collapse", "parameters", "run_id", "spec"):
        assert getattr(record, field) == getattr(plain, field)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_diverged_run_is_tracked_to_its_end(name: str, tmp_path: Path) -> None:
    spec = SPEC.replace(lr=1e6, schedule="constant")
    report, notes = sitting(tmp_path, spec, tracker=name)
    assert notes == []
    assert [r.status for r in report.committed] == [Status.DIVERGED]
    if name == "wandb":
        summary = summary_of(folders_of(tmp_path)[0])
        assert summary["status"] == "diverged"
        assert "not finite" in summary["reason"]
        assert all("train_loss" not in row for row in rows_of(folders_of(tmp_path)[0]) if "step" not in row)


def tracked_run(tmp_path: Path) -> TrackedRun:
    from torch import nn

    folder = tmp_path / "runs" / SPEC.run_id
    folder.mkdir(parents=True, exist_ok=True)
    return TrackedRun(SPEC, "a name", nn.Linear(2, 2), 6, tmp_path, folder)


@pytest.mark.parametrize("name", TRACKERS)
def test_the_calls_of_the_protocol_in_every_order(name: str, tmp_path: Path, plain: RunRecord) -> None:
    warnings: list[str] = []
    tracker = choose.open_tracker(TrackerSettings(name), warnings.append)
    row = base.batch_row(epoch=1, batch=50, batches=100, loss=1.0, accuracy=50.0, lr=0.1)
    tracker.close()  # before any run
    for end in (tracker.close, lambda: tracker.finish(plain, None)):
        tracker.start(tracked_run(tmp_path))
        tracker.batch(row)
        tracker.epoch(base.epoch_row(plain.history[0]))
        end()
        tracker.close()  # once more
    tracker.batch(row)  # of no run
    tracker.start(tracked_run(tmp_path))  # and a start upon a start
    tracker.start(tracked_run(tmp_path))
    tracker.close()
    assert warnings == []


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("kill", [False, True])
def test_a_run_that_goes_on_is_logged_as_it_was_trained(
    name: str, kill: bool, tmp_path: Path, plain: RunRecord
) -> None:
    """Stopped after epoch 1; or ended in epoch 2, which is then trained twice and logged twice."""
    logged: list[tuple[str, float]] = []

    class Noted(NullTracker):
        def start(self, run: TrackedRun) -> None:
            logged.append(("resumed after", len(run.history)))

        def batch(self, row: Row) -> None:
            logged.append(("step", row["step"]))

        def epoch(self, row: Row) -> None:
            logged.append(("epoch", row["epoch"]))

    class Killed(BaseException):
        pass

    class Killer(Heard):
        def epoch(self, worker: str, spec: RunSpec, metrics: EpochMetrics) -> None:
            if metrics.epoch == 2:
                raise Killed
            stop.requested = not kill

    stop = StopRequest()
    job = Job("data", str(tmp_path), tracker=name, checkpoint_seconds=0.0)
    with pytest.MonkeyPatch.context() as patch:
        if name == "none":
            patch.setattr("interplay.executors.inline.open_tracker", lambda *_: Guarded(Resent(Noted(), "x"), print))
        run = lambda heard: InlineExecutor().run([SPEC], Store(tmp_path), job, heard, stop)  # noqa: E731
        if kill:
            with pytest.raises(Killed):
                run(Killer())
        else:
            run(Killer())
        assert guard.mark_of(Store(tmp_path).folder(SPEC.run_id)).exists()
        stop.requested = False
        heard = Heard()
        (record,) = run(heard).committed
    assert heard.notes == []
    assert numbers(record) == numbers(plain)
    steps = [50, 100, *([150, 200] if kill else []), 150, 200, 250, 300]
    epochs = [1, *([2] if kill else []), 2, 3]
    if name == "none":
        assert [at for kind, at in logged if kind == "step"] == steps
        assert [at for kind, at in logged if kind == "epoch"] == epochs
        assert [at for kind, at in logged if kind == "resumed after"] == [0, 1]
    elif name == "wandb":
        first, second = folders_of(tmp_path, SPEC.run_id)
        rows = rows_of(first) + rows_of(second)
        assert [row["step"] for row in rows if "step" in row] == steps
        assert [row["epoch"] for row in rows if "step" not in row] == epochs
        best = max(record.history, key=lambda m: m.test_acc or 0.0)
        assert summary_of(second)["best_epoch"] == best.epoch
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(tmp_path / "tensorboard" / SPEC.run_id)).Reload()
        # Two files begun in one second are read in the order of a counter in their names, where 10 comes before 9.
        assert sorted(e.step for e in found.Scalars("batch_loss")) == sorted(steps)
        assert sorted(e.step for e in found.Scalars("test_loss")) == epochs
    assert not guard.mark_of(Store(tmp_path).folder(SPEC.run_id)).exists()


def epochs_logged(logged: list[Row]) -> list[int]:
    return [int(row["epoch"]) for row in logged]


class Kept(NullTracker):
    """Keeps the rows of epochs, and fails where it is told to."""

    def __init__(self, survives_kills: bool = False, fails_at: int = 0) -> None:
        self.rows: list[Row] = []
        self.survives_kills, self.fails_at = survives_kills, fails_at

    def epoch(self, row: Row) -> None:
        if row["epoch"] == self.fails_at:
            raise OSError("gone")
        self.rows.append(row)


def attempt(folder: Path, history: tuple[EpochMetrics, ...], epochs: Sequence[EpochMetrics], **how: Any) -> list[Row]:
    """Rows that a tracker gets from one attempt which goes on from ``history``; ``end`` says how it ends."""
    end, destination = how.pop("end", "close"), how.pop("destination", "x")
    inner = Kept(**how)
    tracker = Guarded(Resent(inner, destination), lambda _: None)
    tracker.start(dataclasses.replace(tracked_run(folder), history=history))
    for metrics in epochs:
        tracker.epoch(base.epoch_row(metrics))
    if end == "close":
        tracker.close()
    return inner.rows


def test_rows_that_a_kill_may_have_lost_are_sent_again(tmp_path: Path, plain: RunRecord) -> None:
    one, two, three = plain.history
    attempt(tmp_path, (), [one])
    attempt(tmp_path, (one,), [two])
    attempt(tmp_path, (one, two), [three], end="kill")
    again = attempt(tmp_path, (one, two, three), [])
    assert again == [base.epoch_row(three)]  # those before the orderly end are safe
    assert attempt(tmp_path, (one, two, three), []) == []


def test_an_epoch_that_a_kill_undid_is_no_longer_safe(tmp_path: Path, plain: RunRecord) -> None:
    one, two, three = plain.history
    attempt(tmp_path, (), plain.history)
    assert epochs_logged(attempt(tmp_path, (one,), [two, three], end="kill")) == [2, 3]
    assert epochs_logged(attempt(tmp_path, plain.history, [])) == [2, 3]


def test_a_row_that_a_failed_tracker_never_took_is_sent_by_the_next_attempt(tmp_path: Path, plain: RunRecord) -> None:
    assert epochs_logged(attempt(tmp_path, (), plain.history, fails_at=2)) == [1]
    assert epochs_logged(attempt(tmp_path, plain.history, [])) == [2, 3]


def test_what_is_on_disk_at_once_is_not_sent_again(tmp_path: Path, plain: RunRecord) -> None:
    attempt(tmp_path, (), plain.history[:2], end="kill", survives_kills=True)
    assert epochs_logged(attempt(tmp_path, plain.history[:2], plain.history[2:], survives_kills=True)) == [3]


def test_another_destination_gets_the_whole_history(tmp_path: Path, plain: RunRecord) -> None:
    attempt(tmp_path, (), plain.history[:2])
    assert epochs_logged(attempt(tmp_path, plain.history[:2], plain.history[2:], destination="y")) == [1, 2, 3]


@pytest.mark.parametrize("mark", ["", "[]", '{"destination": "x"}', '{"destination": "x", "epoch": 1e999}'])
def test_a_mark_that_cannot_be_read_counts_as_none(mark: str, tmp_path: Path, plain: RunRecord) -> None:
    path = guard.mark_of(tracked_run(tmp_path).folder)
    path.write_text(mark)
    assert epochs_logged(attempt(tmp_path, plain.history, [])) == [1, 2, 3]


# -- what goes wrong --------------------------------------------------------------------------------------------------


class Broken(NullTracker):
    """Raises at one of the calls, or never comes back from it."""

    wants_weights = True

    def __init__(self, call: str, error: BaseException | None = None, hang: float = 0.0) -> None:
        self.called: list[str] = []
        for name in ("start", "batch", "epoch", "finish", "close"):
            setattr(self, name, lambda *_, name=name: self._do(name, call, error, hang))

    def _do(self, name: str, call: str, error: BaseException | None, hang: float) -> None:
        self.called.append(name)
        if name == call:
            time.sleep(hang)
            if error is not None:
                raise error


def broken_sitting(tmp_path: Path, tracker: Tracker, limits: Limits, *specs: RunSpec) -> tuple[Report, list[str]]:
    notes: list[str] = []
    guarded = Guarded(Resent(tracker, "broken"), notes.append, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interplay.executors.inline.open_tracker", lambda *_: guarded)
        report, more = sitting(tmp_path, *specs)
    return report, notes + more


STACK = [SPEC.replace(seed=seed, lr=0.01 * (seed + 1)) for seed in range(3)]


def stacked(output: Path, *specs: RunSpec, stop: StopRequest | None = None, **job: Any) -> tuple[Report, list[str]]:
    """`sitting` with all of ``specs`` in one stack."""
    heard = Heard()
    told = Job(data_dir="data", output_dir=str(output), **job)
    executor = InlineExecutor(SpeedPlan({stack_key(specs[0]) or "": len(specs)}))
    report = executor.run(specs, Store(output), told, heard, stop or StopRequest())
    assert all(record.environment["path"] == "fused" for record in report.committed)
    return report, heard.notes


def test_runs_of_a_stack_have_the_rows_in_wandb_that_they_have_alone(tmp_path: Path) -> None:
    told = {"tracker": "wandb", "instruments": ("weight_norm", "gradient_norm", "angle", "hessian")}
    _, notes = stacked(tmp_path / "stack", *STACK, **told)
    assert notes == []
    sitting(tmp_path / "alone", *STACK, **told)
    not_alike = ("epoch_seconds", "images_per_second", "gradients/", "parameters/")  # clocks, and what `watch` sees
    for spec in STACK:
        (mine,), (theirs,) = (folders_of(tmp_path / where, spec.run_id) for where in ("stack", "alone"))
        one, other = (
            [{name: value for name, value in row.items() if not name.startswith(not_alike)} for row in rows_of(folder)]
            for folder in (mine, theirs)
        )
        assert len(one) == 9  # of six batches and three epochs
        assert [row.keys() for row in one] == [row.keys() for row in other]
        for row, expected in zip(one, other, strict=True):
            assert row == pytest.approx(expected, rel=0.02)
        assert summary_of(mine)["parameters"] == summary_of(theirs)["parameters"]
        record = Store(tmp_path / "stack").record(spec.run_id)
        assert record is not None
        best = best_epoch(record.history)
        assert best is not None
        assert (summary_of(mine)["status"], summary_of(mine)["best_epoch"]) == ("finished", best.epoch)
        assert (tmp_path / "stack" / "wandb" / "artifacts" / spec.run_id / "best.pt").exists()


@pytest.mark.parametrize("call", ["start", "epoch"])
def test_a_tracker_that_is_given_up_over_one_run_of_a_stack_is_given_up_for_all(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, notes = Broken(call, hang=2.0), []  # type: ignore[var-annotated]
    guarded = Guarded(Resent(tracker, "broken"), notes.append, Limits(start=0.2, row=0.2, finish=0.2, close=0.2))
    monkeypatch.setattr("interplay.executors.inline.open_tracker", lambda *_: guarded)
    report, more = stacked(tmp_path, *STACK)
    assert len(report.committed) == 3
    assert more == []
    assert len(notes) == 1
    assert "nothing is tracked from here on" in notes[0]
    assert tracker.called.count(call) == 1


@pytest.mark.parametrize("call", ["start", "batch", "epoch", "finish"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit("bye"), None])
def test_a_tracker_that_fails_costs_one_line_and_no_run(
    call: str, error: BaseException | None, tmp_path: Path, plain: RunRecord
) -> None:
    """``None``: it does not answer."""
    limits = Limits() if error is not None else Limits(start=0.1, row=0.1, finish=0.1, close=0.1)
    began = time.monotonic()
    report, notes = broken_sitting(tmp_path, Broken(call, error, hang=0.0 if error else 30.0), limits, SPEC)
    assert time.monotonic() - began < 20
    (record,) = report.committed
    assert numbers(record) == numbers(plain)
    (note,) = notes
    assert note.startswith("the tracker failed, so nothing is tracked")
    assert ("No space left" in note) or ("bye" in note) or ("no answer within 0.1 s" in note)
    kept = {p.name for p in Store(tmp_path).folder(SPEC.run_id).iterdir()}
    assert kept == {"spec.json", "history.jsonl", "record.json"}


def test_a_tracker_that_cannot_start_is_not_tried_again_in_the_same_sitting(tmp_path: Path) -> None:
    tracker = Broken("start", RuntimeError("no network"))
    specs = [SPEC.replace(seed=seed, epochs=1) for seed in range(3)]
    report, notes = broken_sitting(tmp_path, tracker, Limits(), *specs)
    assert len(report.committed) == 3
    assert len(notes) == 1
    assert tracker.called.count("start") == 1


def test_a_tracker_that_fails_later_is_tried_three_times(tmp_path: Path) -> None:
    tracker = Broken("epoch", RuntimeError("refused"))
    specs = [SPEC.replace(seed=seed, epochs=2) for seed in range(5)]
    report, notes = broken_sitting(tmp_path, tracker, Limits(), *specs)
    assert len(report.committed) == 5
    assert [("for this run" in note, "from here on" in note) for note in notes] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert tracker.called.count("close") == 3  # what was logged before the failure is closed in good order


def test_a_warning_never_shows_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    notes: list[str] = []
    tracker = Guarded(Broken("start", RuntimeError(f"key {KEY} refused")), notes.append)
    tracker.start(tracked_run(tmp_path))
    assert "key *** refused" in notes[0]


def test_a_watch_that_fails_inside_the_backward_pass_costs_no_run(
    tmp_path: Path, plain: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.integration.torch.wandb_torch import TorchHistory

    def fails(*_: object) -> None:
        raise RuntimeError("the service is gone")

    monkeypatch.setattr(TorchHistory, "log_tensor_stats", fails)
    report, notes = sitting(tmp_path, SPEC, tracker="wandb")
    assert [numbers(r) for r in report.committed] == [numbers(plain)]
    assert len(notes) == 1
    assert "the service is gone" in notes[0]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_a_folder_that_cannot_be_written_costs_a_warning(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a file where the folder should be")
    report, notes = sitting(tmp_path, SPEC, tracker=name)
    assert len(report.committed) == 1
    assert len(notes) == 1


def test_weights_of_another_epoch_than_the_best_are_not_called_the_best(tmp_path: Path) -> None:
    """The best epoch was trained by a sitting without a tracker, which kept no weights."""
    from interplay.executors.attempt import _best_weights
    from interplay.train.checkpoint import Checkpoints

    checkpoints = Checkpoints(tmp_path, keep_best=True)
    record = train(SPEC, load_data(SPEC, Path("/nonexistent")), checkpoints=checkpoints)
    assert _best_weights(record, checkpoints) == tmp_path / "best.pt"
    other = dataclasses.replace(record.history[0], test_acc=100.0, epoch=99)
    assert _best_weights(dataclasses.replace(record, history=(other,)), checkpoints) is None
    assert _best_weights(record, Checkpoints(tmp_path / "empty")) is None


# -- logged in or not -------------------------------------------------------------------------------------------------


def test_who_is_not_logged_in_works_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def mode(**environment: str) -> str:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return weights_biases.wandb_mode()

    assert mode() == "offline"
    assert mode(WANDB_API_KEY=" ") == "offline"
    assert mode(WANDB_API_KEY=KEY) == "online"
    assert mode(WANDB_API_KEY=KEY, WANDB_MODE="offline") == "offline"
    assert mode(WANDB_MODE="disabled") == "disabled"
    (tmp_path / "home").mkdir()
    netrc = tmp_path / "home" / ".netrc"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    assert mode() == "online"
    assert mode(WANDB_BASE_URL="https://wandb.example.org") == "offline"
    assert mode(NETRC=str(tmp_path / "another")) == "offline"
    netrc.write_text("machine")  # cut short
    assert mode() == "offline"


def test_offline_says_in_one_line_how_to_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = choose.announcement(TrackerSettings("wandb"), tmp_path / "my outputs")
    assert line is not None
    assert line.endswith(f"to upload: wandb sync '{tmp_path}/my outputs/wandb'/offline-run-*")
    assert "\n" not in line
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert choose.announcement(TrackerSettings("wandb"), tmp_path) is None
    assert choose.announcement(TrackerSettings(), tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"WANDB_MODE": "offline"}, {"WANDB_BASE_URL": "http://127.0.0.1:9"}])
def test_no_network_and_no_key_anywhere(environment: dict[str, str], tmp_path: Path) -> None:
    """With a key and a server that cannot be reached, runs are kept offline; the key is in no file and not printed."""
    script = (
        "import sys; from interplay.trackers import weights_biases; weights_biases.INIT_SECONDS = 3.0\n"
        "from interplay.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words = "run --dataset digits --model mlp --epochs 2 --threads 1 --tracker wandb --output_dir out".split()
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env={**os.environ, "WANDB_API_KEY": KEY, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "finished: test accuracy" in done.stdout
    assert done.stderr.count("wandb sync out/wandb/offline-run-*") == 1
    assert KEY not in done.stdout + done.stderr
    assert len(folders_of(tmp_path / "out")) == 1
    assert len(rows_of(folders_of(tmp_path / "out")[0])) == 2 + 2
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


# -- worker processes -------------------------------------------------------------------------------------------------


def study(tmp_path: Path, *, runs: int, epochs: int) -> list[str]:
    rates = [round(0.01 * (i + 1), 6) for i in range(runs)]
    text = f'[base]\ndataset = "digits"\nmodel = "mlp"\nlabel_noise = 0.2\n[[grid]]\nepochs = {epochs}\nlr = {rates}\n'
    (tmp_path / "tiny.toml").write_text(text)
    words = ["study", "tiny.toml", "--workers", "2", "--output_dir", "out", "--tracker", "wandb"]
    return [sys.executable, "-m", "interplay.cli.main", *words]


def services() -> set[int]:
    return {p.pid for p in psutil.process_iter(["name"]) if "wandb-core" in (p.info["name"] or "")}


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_study_in_worker_processes_has_one_wandb_run_a_run(executor: str, tmp_path: Path) -> None:
    command = [*study(tmp_path, runs=4, epochs=4), "--executor", executor, "--wandb_project", "tiny-project"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("wandb sync") == 1
    assert "note:" not in done.stderr
    records = {record.run_id: record for record in Store(tmp_path / "out").records()}
    assert len(records) == 4
    for run_id, record in records.items():
        (folder,) = folders_of(tmp_path / "out", run_id)
        (run,) = [r.run for r in wandb_records(folder) if r.WhichOneof("record_type") == "run"]
        assert (run.run_id, run.run_group, run.project) == (run_id, "tiny", "tiny-project")
        rows = [row for row in rows_of(folder) if "step" not in row]
        assert [row["test_loss"] for row in rows] == [m.test_loss for m in record.history]


@pytest.mark.slow
def test_the_warning_of_a_worker_process_reaches_the_terminal_once(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "wandb").write_text("a file where the folder should be")
    command = [*study(tmp_path, runs=3, epochs=2), "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("note: the tracker failed, so nothing is tracked from here on") == 1
    assert len(list(Store(tmp_path / "out").records())) == 3


@pytest.mark.slow
def test_a_killed_worker_leaves_nobody_waiting_for_the_service_of_wandb(tmp_path: Path) -> None:
    before = services()
    process = subprocess.Popen(
        [*study(tmp_path, runs=3, epochs=150), "--executor", "local", "--checkpoint_seconds", "0.2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("out/runs/*/last.pt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = next(p for p in psutil.Process(process.pid).children() if "interplay.executors.worker" in p.cmdline())
        worker.kill()
        killed = time.monotonic()
        for line in process.stdout or ():
            if "SIGKILL" in line:
                break
        assert time.monotonic() - killed < 5
        out, _ = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, out
    records = list(Store(tmp_path / "out").records())
    assert len(records) == 3
    for record in records:
        rows = [row for folder in folders_of(tmp_path / "out", record.run_id) for row in rows_of(folder)]
        epochs = [row["epoch"] for row in rows if "step" not in row]
        # W&B may lose what a killed process had handed to it last (the record never does); nothing is there twice.
        assert epochs == sorted(set(epochs))
        assert epochs[-100:] == list(range(51, 151))
    deadline = time.monotonic() + 20
    while services() - before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert services() <= before


@pytest.mark.slow
def test_a_stop_reaches_a_tracked_run_and_its_pipes_close_at_once(tmp_path: Path) -> None:
    words = "run --dataset digits --model mlp --label_noise 0.2 --epochs 2000 --threads 1 --tracker wandb".split()
    for number, code in ((signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = subprocess.Popen(
            [sys.executable, "-m", "interplay.cli.main", *words, "--output_dir", "out"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   "):
                break
        process.send_signal(number)
        sent = time.monotonic()
        process.communicate(timeout=60)  # until every holder of the pipe has gone, W&B's service included
        assert time.monotonic() - sent < 15
        assert process.returncode == code
