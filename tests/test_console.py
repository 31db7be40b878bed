"""What a study shows while it starts and when it is stopped."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from interplay.executors.outcomes import End, Outcome
from interplay.lab.console import StudyProgress
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
