"""The store: a folder a run under ``runs/``, and ``results/results.csv`` beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock

from interplay.errors import SchemaError, SpecError
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.store import results
from interplay.store.files import write_once, write_whole


class Store:
    """All runs under one output folder.

    ``runs/<run_id>/spec.json`` says what was asked for, ``history.jsonl`` grows by a line an epoch, ``record.json``
    appears once, whole, when the run has ended. ``results/results.csv`` has a row for each record.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.results = root / "results" / "results.csv"

    def folder(self, run_id: str) -> Path:
        """Where the run lives."""
        return self.runs / run_id

    def open(self, spec: RunSpec) -> Path:
        """Create the folder of a run, with its specification; returns the folder."""
        folder = self.folder(spec.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "spec.json").exists():
            write_once(folder / "spec.json", json.dumps(spec.to_dict(), indent=1) + "\n")
        return folder

    def record(self, run_id: str) -> RunRecord | None:
        """The committed record of a run, or ``None``; raises `SchemaError` if it cannot be read."""
        path = self.folder(run_id) / "record.json"
        try:
            return RunRecord.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (SchemaError, SpecError) as error:
            raise SchemaError(f"{path}: {error}") from error

    def records(self) -> Iterator[RunRecord]:
        """All committed records, in the order of the rows of results.csv."""
        found = [
            record for folder in sorted(self.runs.glob("*/record.json")) if (record := self.record(folder.parent.name))
        ]
        yield from sorted(found, key=lambda record: (record.committed_at, record.run_id))

    def add_epoch(self, run_id: str, metrics: EpochMetrics) -> None:
        """Append one line to the run's history."""
        with (self.folder(run_id) / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics.to_dict()) + "\n")

    def commit(self, record: RunRecord) -> bool:
        """Make ``record`` the one result of its run and add its row; False if the run has a record already.

        Under the table's lock, so that rows stand in the order of ``committed_at``. The record is the truth: should
        the process die before the row is written, ``rebuild`` finds it.
        """
        folder = self.open(record.spec)
        with self._locked():
            record = dataclasses.replace(record, committed_at=self._next_moment())
            if not write_once(folder / "record.json", record.to_json()):
                return False
            lines = "".join(json.dumps(m.to_dict()) + "\n" for m in record.history)
            write_whole(folder / "history.jsonl", lines)
            new = not self.results.exists()
            with self.results.open("a", encoding="utf-8", newline="") as file:
                file.write((results.header() if new else "") + results.row(record))
            self._last_commit.write_text(record.committed_at)
        return True

    def _locked(self) -> FileLock:
        self.results.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.results.with_name(".results.lock"))

    @property
    def _last_commit(self) -> Path:
        return self.results.with_name(".last_commit")

    def _next_moment(self) -> str:
        """Now, but after every moment in the table: clocks of several machines may disagree."""
        now = datetime.now(UTC)
        last = self._last_moment()
        if last is not None and last >= now:
            now = last + timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")

    def _last_moment(self) -> datetime | None:
        try:
            last = datetime.fromisoformat(self._last_commit.read_text())
        except (OSError, ValueError):
            return None
        return last if last.tzinfo else None
