"""``interplay run --processes 2``: one run in several processes of this machine, under one lease."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from interplay.cli.main import main
from interplay.executors.attempt import attempt
from interplay.executors.job import Job
from interplay.lab import distributed
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.leases import Claims, claim_of
from interplay.store.store import Store
from interplay.train.ddp import SharedBatchNorm
from interplay.train.events import EpochEnded, Event

pytestmark = pytest.mark.slow

WORDS = "run --dataset digits --model cnn --train_limit 250 --batch_size 64 --lr 0.02 --no_use_amp".split()


def the_record(output: Path) -> RunRecord:
    (record,) = Store(output).records()
    return record


def losses(record: RunRecord) -> list[float | None]:
    return [value for m in record.history for value in (m.train_loss, m.test_loss)]


def until(look: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """What ``look`` finds, as long as the process lives."""
    while process.poll() is None:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it ended before: {process.communicate()}")


def begun(output: Path, epochs: int) -> Callable[[], Path | None]:
    """Finds the folder of a run that has some epochs behind it."""

    def look() -> Path | None:
        for path in output.glob("runs/*/history.jsonl"):
            if len(path.read_text().splitlines()) >= epochs:
                return path.parent
        return None

    return look


class Start:
    """Starts commands, which end with the test."""

    def __init__(self) -> None:
        self._all: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-m", "interplay", *WORDS, *words]
        pipe = subprocess.PIPE
        self._all.append(subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return self._all[-1]

    def end(self) -> None:
        for process in self._all:
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    each.kill()
            process.communicate()


@pytest.fixture
def start() -> Iterator[Start]:
    found = Start()
    yield found
    found.end()


def test_two_processes_give_the_record_of_one_under_the_same_name(tmp_path: Path, start: Start) -> None:
    instruments = ["--instruments", "gradient_norm", "angle"]
    both, one = tmp_path / "two", tmp_path / "one"
    process = start("--epochs", "3", "--processes", "2", "--output_dir", str(both), *instruments)
    owner = until(
        lambda: next((found for path in both.glob("runs/*") if (found := claim_of(path)) and "beat" in found), None),
        process,
    )
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "starting 2 processes" in err
    assert err.count("epoch ") == 3
    assert "finished: test accuracy" in out
    assert owner["pid"] != process.pid  # it is the process that trains that has the run
    assert main([*WORDS, "--epochs", "3", "--output_dir", str(one), *instruments]) == 0
    found, expected = the_record(both), the_record(one)
    assert found.run_id == expected.run_id
    assert found.environment["path"] == "2 processes"
    assert losses(found) == pytest.approx(losses(expected), rel=1e-3)
    for mine, theirs in zip(found.history, expected.history, strict=True):
        assert mine.instruments == pytest.approx(theirs.instruments, rel=1e-2)
    left = {path.name for path in Store(both).folder(found.run_id).iterdir()}
    assert left == {"spec.json", "history.jsonl", "record.json"}


def test_ctrl_c_stops_all_with_one_checkpoint_and_one_process_goes_on(tmp_path: Path, start: Start) -> None:
    words = ["--epochs", "400", "--output_dir", str(tmp_path)]
    process = start("--processes", "2", *words)
    folder = until(begun(tmp_path, 2), process)
    those = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command goes on from there" in err
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in those)
    assert (folder / "last.pt").exists()
    assert claim_of(folder) is None
    behind = len((folder / "history.jsonl").read_text().splitlines())
    assert main([*WORDS, *words]) == 0
    record = the_record(tmp_path)
    assert record.status is Status.FINISHED
    assert [m.epoch for m in record.history] == list(range(1, 401))
    assert record.environment["earlier_sittings"][0]["path"] == "2 processes"
    assert 2 <= behind < 400


@pytest.mark.parametrize("which", ["first", "other"])
def test_a_process_that_is_killed_ends_the_others_and_the_same_command_goes_on(
    tmp_path: Path, which: str, start: Start
) -> None:
    words = ["--epochs", "60", "--output_dir", str(tmp_path), "--checkpoint_seconds", "0", "--processes", "2"]
    process = start(*words)
    folder = until(begun(tmp_path, 2), process)
    owner = claim_of(folder)
    assert owner is not None
    trains = [
        each
        for each in psutil.Process(process.pid).children(recursive=True)
        if "interplay.lab.distributed" in each.cmdline() and "torch.distributed.run" not in each.cmdline()
    ]
    assert len(trains) == 2
    next(each for each in trains if (each.pid == owner["pid"]) == (which == "first")).kill()
    _, err = process.communicate()
    assert process.returncode == 1, err
    assert "Traceback" not in err
    failed = (folder / "failed.json").exists()
    if failed:  # the first one saw the other go, in the middle of a step: a retry begins anew
        assert main(["retry", "--executor", "inline", "--output_dir", str(tmp_path)]) == 0
    else:
        assert "goes on" in err
        assert main([*WORDS, *words]) == 0
    record = the_record(tmp_path)
    assert [m.epoch for m in record.history] == list(range(1, 61))
    assert failed or record.environment["earlier_sittings"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size", "50", "--train_limit", "201"], "the last batch of an epoch has 1 images for 2 processes"),
        (["--device", "cuda:0"], "cuda"),
        (["--processes", "-1"], "processes must be 0 or greater"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "Together", None)
    assert main([*WORDS, "--processes", "2", "--output_dir", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_another_worker_has_is_waited_for_and_not_trained_twice(tmp_path: Path, start: Start) -> None:
    spec = RunSpec(dataset="digits", model="cnn", train_limit=250, batch_size=64, lr=0.02, epochs=2, precision="fp32")
    store, job, said = Store(tmp_path), Job(data_dir=str(tmp_path), output_dir=str(tmp_path)), list[str]()
    second: subprocess.Popen[str] | None = None

    def emit(event: Event) -> None:
        nonlocal second
        if isinstance(event, EpochEnded) and second is None:  # it stays at its first epoch until the other has seen it
            second = start("--processes", "2", "--epochs", "2", "--output_dir", str(tmp_path))
            assert second.stderr is not None
            while "Another worker has this run; waiting" not in "".join(said):
                said.append(second.stderr.readline())
                assert said[-1], said

    attempt([spec], store, Claims(store.runs, "a test", job.lease), job, emit)
    assert second is not None
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert "starting 2 processes" not in "".join(said) + err
    assert "test accuracy" in out
    assert len((tmp_path / "results" / "results.csv").read_text().splitlines()) == 2


def test_batch_norm_of_any_number_of_axes_is_shared() -> None:
    import torch
    from torch import nn

    for layer, shape in ((nn.BatchNorm1d(4), (6, 4)), (nn.BatchNorm3d(4), (2, 4, 2, 2, 2))):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(SharedBatchNorm.of(layer).eval()(x), layer.eval()(x))
    assert "processes" not in json.dumps(RunSpec().to_dict())
