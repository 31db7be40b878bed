"""The store: a folder a run under ``runs/``, and ``results/results.csv`` beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock

from interplay.errors import SchemaError, SpecError
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import SPEC_SCHEMA, RunSpec
from interplay.store import results
from interplay.store.claims import claim_of
from interplay.store.files import write_once, write_whole
from interplay.store.results import ForeignRow, Rows


class Store:
    """All runs under one output folder.

    In ``runs/<run_id>/`` lie ``spec.json``, what was asked for; ``history.jsonl``, a line an epoch while the run goes
    on; and ``record.json``, which appears once, whole, when the run has finished or diverged. A run that failed leaves
    ``failed.json`` instead, which a later attempt replaces. ``results/results.csv`` has a row for each record and can
    always be made anew from the folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.results = root / "results" / "results.csv"
        self.aside = root / "results" / "foreign_rows.csv"

    def folder(self, run_id: str) -> Path:
        """Where the run lives."""
        return self.runs / run_id

    def open(self, spec: RunSpec) -> Path:
        """Create the folder of a run, with its specification; returns the folder."""
        folder = self.folder(spec.run_id)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "spec.json").exists():
            text = json.dumps({"schema": SPEC_SCHEMA, **spec.to_dict()}, indent=1) + "\n"
            write_once(folder / "spec.json", text, durable=False)
        return folder

    # -- reading --------------------------------------------------------------------------------------------------

    def is_done(self, run_id: str) -> bool:
        """Whether the run has finished or diverged."""
        return (self.folder(run_id) / "record.json").exists()

    def is_to_retry(self, run_id: str) -> bool:
        """Whether the run has failed at some time and has no result: failures that were set aside for a retry count."""
        return not self.is_done(run_id) and any(self.folder(run_id).glob("failed*.json"))

    def has_failed(self, run_id: str) -> bool:
        """Whether the last attempt at the run failed."""
        return not self.is_done(run_id) and (self.folder(run_id) / "failed.json").exists()

    def record(self, run_id: str) -> RunRecord | None:
        """The record of a run that has finished, diverged or failed, or ``None``.

        Raises:
            SchemaError: it cannot be read; names the file.
        """
        for name in ("record.json", "failed.json"):
            path = self.folder(run_id) / name
            try:
                return RunRecord.from_json(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except (SchemaError, SpecError) as error:
                raise SchemaError(f"{path}: {error}") from error
        return None

    def spec(self, run_id: str) -> RunSpec:
        """What was asked for; raises `SchemaError` if it cannot be read."""
        path = self.folder(run_id) / "spec.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("schema", None) != SPEC_SCHEMA:
                raise SchemaError("another schema version")
            return RunSpec.from_dict(values)
        except (OSError, json.JSONDecodeError, SpecError, SchemaError, AttributeError) as error:
            raise SchemaError(f"{path}: {error}") from error

    def run_ids(self) -> list[str]:
        """Names of all runs that have a folder."""
        try:
            with os.scandir(self.runs) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return []

    def records(self) -> Iterator[RunRecord]:
        """All records, in the order of the rows of results.csv."""
        found = [record for run_id in self.run_ids() if (record := self.record(run_id)) is not None]
        yield from sorted(found, key=lambda record: (record.committed_at, record.run_id))

    def history(self, run_id: str) -> tuple[EpochMetrics, ...]:
        """Epochs so far of a run that goes on; empty if there is none. A line cut by a kill ends it."""
        found: list[EpochMetrics] = []
        try:
            for line in (self.folder(run_id) / "history.jsonl").read_text(encoding="utf-8").splitlines():
                found.append(EpochMetrics.from_dict(json.loads(line)))
        except (OSError, json.JSONDecodeError, SchemaError):
            pass
        return tuple(found)

    # -- writing --------------------------------------------------------------------------------------------------

    def add_epoch(self, run_id: str, metrics: EpochMetrics, *, first: bool) -> None:
        """Append one line to the run's history; the ``first`` line of an attempt drops what it trains again."""
        path = self.folder(run_id) / "history.jsonl"
        if first and path.exists():
            kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _epoch(line) < metrics.epoch]
            write_whole(path, "".join(f"{line}\n" for line in kept), durable=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics.to_dict()) + "\n")

    def commit(self, record: RunRecord, still_ours: Callable[[], None] = lambda: None) -> RunRecord | None:
        """Make ``record`` the one result of its run and add its row; ``None`` if the run has a record already.

        ``still_ours`` raises if another attempt has the run by now: the last look before the record is there.

        Under the table's lock, so that rows stand in the order of ``committed_at``. The record is the truth: should
        the process die before the row is written, `reconcile` adds it.
        """
        folder = self.open(record.spec)
        with self._locked():
            still_ours()
            record = dataclasses.replace(record, committed_at=self._next_moment())
            if not write_once(folder / "record.json", record.to_json()):
                return None
            self._append(record, replacing=self._set_failure_aside(folder))
        # Whose record it is alone writes here now, so others need not wait for it; after a kill `reconcile` does it.
        lines = "".join(json.dumps(m.to_dict()) + "\n" for m in record.history)
        write_whole(folder / "history.jsonl", lines, durable=False)
        return record

    def fail(self, record: RunRecord) -> bool:
        """Note that an attempt failed; False if the run has finished or diverged meanwhile, which stands."""
        folder = self.open(record.spec)
        with self._locked():
            if self.is_done(record.run_id):
                return False
            record = dataclasses.replace(record, committed_at=self._next_moment())
            replacing = self._set_failure_aside(folder)
            write_whole(folder / "failed.json", record.to_json())
            self._append(record, replacing=replacing)
        return True

    def forget_failure(self, run_id: str) -> bool:
        """Make a failed run one that is missing; the failure is kept beside as ``failed-N.json``."""
        with self._locked():
            if not self._set_failure_aside(self.folder(run_id)):
                return False
            # Should the checkpoint to resume from be what is broken, a retry must not trip over it again.
            (self.folder(run_id) / "last.pt").unlink(missing_ok=True)
            if self.results.exists():
                write_whole(self.results, results.without(self.results.read_text(encoding="utf-8"), run_id))
        return True

    def _set_failure_aside(self, folder: Path) -> bool:
        path = folder / "failed.json"
        if not path.exists():
            return False
        number = 1 + sum(1 for _ in folder.glob("failed-*.json"))
        path.replace(folder / f"failed-{number}.json")
        return True

    def _append(self, record: RunRecord, *, replacing: bool) -> None:
        """Add a row. A table that is absent, cut short or of another version is made anew first."""
        row = results.row(record)
        if not _is_whole(self.results):
            self._rebuild()  # the record is on disk already, so its row is there too
        elif replacing:
            text = results.without(self.results.read_text(encoding="utf-8"), record.run_id)
            write_whole(self.results, text + row)
        else:
            with self.results.open("a", encoding="utf-8", newline="") as file:
                file.write(row)
        self._last_commit.write_text(record.committed_at)

    def back_up(self) -> Path | None:
        """Copy results.csv under ``results/backup/`` with the date in its name; ``None`` if there is none."""
        if not self.results.exists():
            return None
        target = self.results.parent / "backup" / f"results_{datetime.now():%Y%m%d_%H%M%S}.csv"
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(self.results, target)
        return target

    # -- the table ------------------------------------------------------------------------------------------------

    def rebuild(self) -> list[ForeignRow]:
        """Make results.csv anew from the records; rows that are no record's are kept aside and returned."""
        with self._locked():
            return self._rebuild()

    def reconcile(self) -> list[ForeignRow]:
        """Make results.csv and the records agree, where a kill or a hand has set them apart; usually only a look."""
        ends = {run_id: self.has_failed(run_id) for run_id in self.run_ids()}
        ends = {run_id: failed for run_id, failed in ends.items() if failed or self.is_done(run_id)}
        for run_id, failed in ends.items():
            if not failed and (claim := claim_of(self.folder(run_id))) is not None and claim["dead"]:
                self._tidy(run_id)
        if not self.results.exists():
            return self.rebuild() if ends else []
        rows = results.parse(self.results.read_text(encoding="utf-8", errors="replace"))
        listed = {row.run_id: row.status == "failed" for row in rows.own}
        agree = not rows.outdated and not rows.foreign and len(listed) == len(rows.own) and listed == ends
        return [] if agree else self.rebuild()

    def mend(self, run_id: str) -> None:
        """Add the row of a run that is done and has none, and tidy up after its worker, if that is dead."""
        with self._locked():
            record = self.record(run_id) if self.is_done(run_id) else None
            if record is None:
                return
            text = self.results.read_text(encoding="utf-8", errors="replace") if self.results.exists() else ""
            if run_id not in {row.run_id for row in results.parse(text).own}:
                self._append(record, replacing=False)
        if (claim := claim_of(self.folder(run_id))) is not None and claim["dead"]:
            self._tidy(run_id)

    def _tidy(self, run_id: str) -> None:
        """Finish what a worker left undone that was killed right after it had written the record."""
        folder = self.folder(run_id)
        record = self.record(run_id)
        if record is not None:
            lines = "".join(json.dumps(m.to_dict()) + "\n" for m in record.history)
            write_whole(folder / "history.jsonl", lines, durable=False)
        self.sweep(run_id)
        for litter in [folder / "last.pt", *folder.glob("beat.*.json"), folder / "claim.json"]:
            litter.unlink(missing_ok=True)

    def sweep(self, run_id: str) -> None:
        """Remove halves of files that killed attempts at a run left; for whoever has the run, once it is done."""
        for half in self.folder(run_id).glob(".*"):
            half.unlink(missing_ok=True)

    def _rebuild(self) -> list[ForeignRow]:
        rows = {record.run_id: results.row(record) for record in self.records()}
        foreign: list[ForeignRow] = []
        if self.results.exists():
            old = results.parse(self.results.read_text(encoding="utf-8", errors="replace"))
            foreign = old.foreign + [row.foreign() for row in old.own if row.run_id not in rows]
            # A row of a failure that was set aside or superseded is our own, left by a kill: it just goes.
            foreign = [row for row in foreign if not self._was_failure(old, row)]
            foreign += [
                row.foreign()
                for row in old.own
                if not old.outdated and row.run_id in rows and row.text != rows[row.run_id] and row.status != "failed"
            ]
            foreign.sort(key=lambda row: row.line)
        if foreign:
            known = self.aside.read_text(encoding="utf-8").splitlines() if self.aside.exists() else []
            with self.aside.open("a", encoding="utf-8", newline="") as file:
                file.writelines(f"{row.text}\n" for row in foreign if row.text not in known)
        write_whole(self.results, results.header() + "".join(rows.values()))
        return foreign

    def _was_failure(self, old: Rows, row: ForeignRow) -> bool:
        own = next((each for each in old.own if each.line == row.line), None)
        return own is not None and own.status == "failed" and any(self.folder(own.run_id).glob("failed*.json"))

    def _locked(self) -> FileLock:
        self.results.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.results.with_name(".results.lock"))

    @property
    def _last_commit(self) -> Path:
        return self.results.with_name(".last_commit")

    def _next_moment(self) -> str:
        """Now, but after every moment in the table: clocks of several machines may disagree."""
        now = datetime.now(UTC)
        try:
            last = datetime.fromisoformat(self._last_commit.read_text())
        except (OSError, ValueError):
            last = None
        if last is not None and last.tzinfo and last >= now:
            now = last + timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")


def _is_whole(path: Path) -> bool:
    """Whether the table has this version's header and ends with a whole line. Reads its two ends only."""
    header = results.header().encode()
    try:
        with path.open("rb") as file:
            if file.read(len(header)) != header:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return False


def _epoch(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line cut by a kill goes
