"""What a study shows while it starts and when it is stopped."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from interplay.executors.outcomes import End, Outcome
from interplay.lab.console import StudyProgress
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _specs() -> list[RunSpec]:
    return [RunSpec(model="mlp", dataset="digits", lr=lr) for lr in (0.1, 0.2)]


def test_a_stop_is_told_to_the_log_run_by_run_and_not_to_whoever_stopped_it(tmp_path: Path) -> None:
    specs, stream, log = _specs(), io.StringIO(), tmp_path / "study.log"
    with StudyProgress(specs, len(specs), log, stream) as progress:
        for spec in specs:
            progress.started("cpu0", spec)
            progress.ended("cpu0", spec, Outcome(End.INTERRUPTED, reason="stopped after epoch 1"))
    assert stream.getvalue() == ""
    assert log.read_text().count("stopped after epoch 1") == len(specs)


def test_a_terminal_says_that_workers_start_and_estimates_nothing_once_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    specs, stream = _specs(), _Terminal()
    with StudyProgress(specs, len(specs), None, stream) as progress:
        assert "starting the workers" in stream.getvalue()
        progress.started("cpu0", specs[0])
        progress.ended("cpu0", specs[0], Outcome(End.INTERRUPTED, reason="stopped after epoch 1"))
    assert "0 of 2 runs done, 1 stopped" in stream.getvalue()
    assert " left" not in stream.getvalue()


def test_lines_of_ended_runs_fit_a_terminal_and_runs_of_a_stack_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    now = 100.0
    monkeypatch.setattr("interplay.lab.console.time.monotonic", lambda: now)
    specs = [RunSpec(model="mlp", dataset="digits", lr=0.01 * n, seed=n, epochs=10) for n in range(1, 25)]
    stream = _Terminal()
    with StudyProgress(specs, len(specs), None, stream) as progress:
        for spec in specs[:3]:
            progress.started("cpu0", spec)
        for epoch in (1, 2):
            for spec in specs[:3]:
                progress.epoch("cpu0", spec, _metrics(epoch))
        table = stream.getvalue()
        now += 60.0
        history = tuple(map(_metrics, range(1, 11)))
        progress.ended(
            "cpu0",
            specs[0],
            Outcome(End.COMMITTED, RunRecord(specs[0], Status.FINISHED, history=history, wall_seconds=12.0)),
        )
        console = progress._live.console  # type: ignore[union-attr]
        console.print(progress._table())
    shown = stream.getvalue()
    line = next(line for line in shown.splitlines() if "[ 1/24]" in line)
    assert "lr 0.01 seed 1  test 50.00 %  12.0 s  about " in line
    assert len(line.strip()) <= 80
    assert "and 1 more" in shown  # the others of the stack train on
    assert " left" not in table  # of its first moments nothing is extrapolated


def test_an_estimate_counts_from_when_all_workers_train(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("interplay.lab.console.time.monotonic", lambda: now)
    specs = [RunSpec(model="mlp", dataset="digits", lr=0.01 * n, epochs=10) for n in range(1, 5)]
    progress = StudyProgress(specs, len(specs), None, io.StringIO())
    progress.started("cpu0", specs[0])
    now = 60.0  # a minute of one worker, in which little happens
    progress.epoch("cpu0", specs[0], _metrics(1))
    progress.started("cpu1", specs[1])
    now = 70.0
    for worker, spec, epoch in (("cpu0", specs[0], 6), ("cpu1", specs[1], 5)):
        progress.epoch(worker, spec, _metrics(epoch))
    # One run took a second an epoch of each worker since both train: 29 of 40 epochs are left, at one a second.
    assert progress._eta("", "") == "29 s"


def _metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(epoch, 0.1, train_loss=1.0, train_acc=50.0, test_loss=1.0, test_acc=50.0, seconds=1.0)


def test_a_quiet_study_tells_of_tenths_and_of_failures_while_the_log_has_every_run(tmp_path: Path) -> None:
    specs = [RunSpec(model="mlp", dataset="digits", lr=0.01 * n) for n in range(1, 31)]
    stream, log = io.StringIO(), tmp_path / "study.log"
    with StudyProgress(specs, len(specs), log, stream, quiet=True) as progress:
        for number, spec in enumerate(specs):
            progress.started("cpu0", spec)
            failed = number == 4
            record = RunRecord(spec, Status.FAILED if failed else Status.FINISHED)
            end = Outcome(End.FAILED, record, reason="no such file") if failed else Outcome(End.COMMITTED, record)
            progress.ended("cpu0", spec, end)
    lines = stream.getvalue().splitlines()
    assert [line.split("]")[0] for line in lines if "runs done" in line] == [f"[{n:>2}/30" for n in range(3, 31, 3)]
    assert len(lines) == 10 + 1
    assert sum("lr 0.05" in line for line in lines) == 1
    assert sum(f"lr {spec.lr:g} " in log.read_text() for spec in specs) == len(specs)
