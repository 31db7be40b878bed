"""One attempt at a trial in this process, with whatever script a test writes."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.executors.attempt import attempt
from interplay.executors.job import Job
from interplay.executors.outcomes import Outcome
from interplay.record import RunRecord
from interplay.store.leases import Claims
from interplay.store.store import Store
from interplay.train.events import EpochEnded, Event, Note, RunEnded
from interplay.trial import TrainerIdentity, Trial, TrialOptions


class Lab:
    """A store, and attempts in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "outputs")
        self.events: list[Event] = []

    def script(self, text: str) -> Path:
        path = self.folder / "script.py"
        path.write_text(textwrap.dedent(text))
        return path

    def trial(self, text: str = "", arguments: str = "", knobs: dict[str, Any] | None = None, **options: Any) -> Trial:
        """Of ``python script.py``, of which ``text`` is the code."""
        self.script(text)
        command = f"{sys.executable} script.py {arguments}".strip()
        return Trial(
            TrainerIdentity("command", command), knobs or {}, 3, TrialOptions(str(self.folder), grace=5.0, **options)
        )

    def attempt(self, trial: Trial, should_stop: Callable[[], bool] = lambda: False, device: str = "cpu") -> Outcome:
        self.events = []
        job = Job("data", str(self.store.root), device=device)
        attempt([trial], self.store, Claims(self.store.runs, "test"), job, self.events.append, should_stop)
        (ended,) = [each for each in self.events if isinstance(each, RunEnded)]
        assert isinstance(ended.outcome, Outcome)
        return ended.outcome

    def record(self, trial: Trial, **options: Any) -> RunRecord:
        outcome = self.attempt(trial)
        assert outcome.record is not None, outcome
        return outcome.record

    @property
    def epochs(self) -> list[int]:
        """That were told of, in that order."""
        return [each.metrics.epoch for each in self.events if isinstance(each, EpochEnded)]

    @property
    def notes(self) -> Sequence[str]:
        return [each.text for each in self.events if isinstance(each, Note)]

    def text(self, trial: Trial, name: str) -> str:
        return (self.store.folder(trial.run_id) / name).read_text()

    def replaced(self, trial: Trial, **options: Any) -> Trial:
        return replace(trial, options=replace(trial.options, **options))


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
