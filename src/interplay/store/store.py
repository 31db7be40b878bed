"""The store: a folder a run under ``runs/``, and ``results/results.csv`` beside it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from interplay.errors import DamagedError, SchemaError
from interplay.locks import locked
from interplay.notes import note
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import SPEC_SCHEMA
from interplay.store import table
from interplay.store.files import partial_of, readable, set_aside, write_once, write_under_lock, write_whole
from interplay.store.folders import entries, names_in, read_history, read_record, read_spec
from interplay.store.leases import LOCKS, claim_of
from interplay.store.leftovers import clean_results, clean_root, clean_run, is_leftover, unlinked
from interplay.store.table import ForeignRow, Rows
from interplay.trial import Spec

THOROUGH = 1000
"""Runs up to which every command reads all records; in larger stores ``rebuild`` and ``doctor`` alone do."""


_ENDS = ("record.json", "failed.json")


class Store:
    """All runs under one output folder.

    In ``runs/<run_id>/`` lie ``spec.json``, what was asked for; ``history.jsonl``, a line an epoch while the run goes
    on; and ``record.json``, which appears once, whole, when the run has finished or diverged. A run that failed leaves
    ``failed.json`` instead, which a later attempt replaces. ``results/results.csv`` has a row for each record and can
    always be made anew from the folders.

    What is damaged under ``runs/``, or no run at all, is named in a note and passed over, and the rest goes on.
    `reconcile` and `rebuild` give damaged records another name, so that their runs count as missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.results = root / "results" / "results.csv"
        self.aside = root / "results" / "foreign_rows.csv"

    def folder(self, run_id: str) -> Path:
        """Where the run lives."""
        return self.runs / run_id

    def open(self, spec: Spec) -> Path:
        """Create the folder of a run, with its specification; returns the folder."""
        folder = self.folder(spec.run_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if not os.path.lexists(folder):
                raise  # what stands in the way is no part of this run
            self._set_aside(folder, "no folder")
            folder.mkdir(exist_ok=True)
        text = json.dumps({"schema": SPEC_SCHEMA, **spec.to_dict()}, indent=1) + "\n"
        path = folder / "spec.json"
        if os.path.lexists(path) or not write_once(path, text, durable=False):
            try:
                read_spec(path)
            except DamagedError as error:
                if path.is_symlink() or not path.is_file() or path.stat().st_size:
                    self._set_aside(path, str(error))
                write_whole(path, text, durable=False)  # of one run all write the same
            except SchemaError:
                pass  # of another version, and this run is named by its folder
        return folder

    # -- reading --------------------------------------------------------------------------------------------------

    def is_done(self, run_id: str) -> bool:
        """Whether the run has finished or diverged."""
        return (self.folder(run_id) / "record.json").exists()

    def is_to_retry(self, run_id: str) -> bool:
        """Whether the run has failed at some time and has no result: failures that were set aside for a retry count."""
        return not self.is_done(run_id) and any(self.folder(run_id).glob("failed*.json"))

    def has_checkpoint(self, run_id: str) -> bool:
        """Whether there is one to resume from; of a trial, whatever its training has left in its folder."""
        return (self.folder(run_id) / "last.pt").exists() or bool(names_in(self.folder(run_id) / "trial"))

    def has_failed(self, run_id: str) -> bool:
        """Whether the last attempt at the run failed."""
        return not self.is_done(run_id) and (self.folder(run_id) / "failed.json").exists()

    def record(self, run_id: str) -> RunRecord | None:
        """The record of a run that has finished, diverged or failed, or ``None``.

        Raises:
            DamagedError: it is not what was once written there; names the file.
            SchemaError: it cannot be read by this version, or by this user; names the file.
        """
        folder = self.folder(run_id)
        return read_record(folder / "record.json") or read_record(folder / "failed.json")

    def readable_record(self, run_id: str) -> RunRecord | None:
        """`record`, and ``None`` for one that cannot be read, which a note names."""
        try:
            return self.record(run_id)
        except SchemaError as error:
            note(f"{error}; passed over", "store")
            return None

    def is_damaged(self, run_id: str) -> bool:
        """Whether the record of the run is not what was once written; one that cannot be read otherwise is named."""
        try:
            self.record(run_id)
        except DamagedError:
            return True
        except SchemaError as error:
            note(f"{error}; passed over", "store")
        return False

    def spec(self, run_id: str) -> Spec:
        """What was asked for.

        Raises:
            DamagedError: it is not what was once written there; names the file.
            SchemaError: it cannot be read by this version, or by this user; names the file.
        """
        return read_spec(self.folder(run_id) / "spec.json")

    def run_ids(self) -> list[str]:
        """Names of all runs that have a folder. What else lies among them is named in a note."""
        names = dict(entries(self.runs))
        others = sorted(name for name, why in names.items() if why is not None and not name.startswith("damaged-"))
        if others:
            shown = ", ".join(ascii(name) if not name.isprintable() else name for name in others[:5])
            more = f" and {len(others) - 5} more" if len(others) > 5 else ""
            note(f"no runs, passed over in {self.runs}: {shown}{more}", "store")
        return sorted(name for name, why in names.items() if why is None)

    def records(self) -> Iterator[RunRecord]:
        """All records that can be read, in the order of the rows of results.csv; a note names the others."""
        found = [record for run_id in self.run_ids() if (record := self.readable_record(run_id)) is not None]
        yield from sorted(found, key=lambda record: (record.committed_at, record.run_id))

    def accuracies(self) -> dict[str, float]:
        """The final test accuracy (%) of each run that has one, by run_id, from results.csv: no record is opened."""
        finished = (row for row in table.parse(self._table()).own if row.status == Status.FINISHED)
        return {row.run_id: row.accuracy for row in finished if row.accuracy is not None}

    def history(self, run_id: str) -> tuple[EpochMetrics, ...]:
        """Epochs so far of a run that goes on; empty if there is none. A line cut by a kill ends it."""
        return read_history(self.folder(run_id) / "history.jsonl")

    # -- writing --------------------------------------------------------------------------------------------------

    def add_epoch(self, run_id: str, metrics: EpochMetrics, *, first: bool) -> None:
        """Append one line to the run's history; the ``first`` line of an attempt drops what it trains again."""
        path = self.folder(run_id) / "history.jsonl"
        if first and path.exists():
            kept = [each for each in read_history(path) if each.epoch < metrics.epoch]
            write_whole(path, "".join(f"{json.dumps(each.to_dict())}\n" for each in kept), durable=False)
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
            if not write_under_lock(folder / "record.json", record.to_json()):
                if not self._damaged(folder / "record.json"):
                    return None
                if not write_under_lock(folder / "record.json", record.to_json()):
                    return None
            self._append(record, replacing=self._set_failure_aside(folder))
        # Whose record it is alone writes here now, so others need not wait for it; after a kill `reconcile` does it.
        self._write_history(record)
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
                write_whole(self.results, table.without(self._table(), run_id))
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
        row = table.row(record)
        if not _is_whole(self.results):
            self._rebuild()  # the record is on disk already, so its row is there too
        elif replacing:
            write_whole(self.results, table.without(self._table(), record.run_id) + row)
        else:
            with self.results.open("a", encoding="utf-8", newline="") as file:
                file.write(row)
        write_whole(self._last_commit, record.committed_at, durable=False)

    def _table(self) -> str:
        """The text of results.csv; empty if there is none."""
        try:
            return readable(self.results).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

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
        """Make results.csv anew from the records; rows that are no record's are kept aside and returned.

        Records that are damaged get another name before, so that their runs count as missing.
        """
        with self._locked():
            self._set_damage_aside(self.run_ids())
            return self._rebuild()

    def reconcile(self) -> list[ForeignRow]:
        """Make results.csv and the records agree, where a kill or a hand has set them apart; usually only a look."""
        found = {run_id: names_in(self.folder(run_id)) for run_id in self.run_ids()}
        if len(found) <= THOROUGH and (damaged := [run_id for run_id in found if self.is_damaged(run_id)]):
            with self._locked():
                self._set_damage_aside(damaged)
            found |= {run_id: names_in(self.folder(run_id)) for run_id in damaged}
        ends = {each: "record.json" not in names for each, names in found.items() if not names.isdisjoint(_ENDS)}
        for run_id in ends:
            self._clean(run_id, found[run_id], done=not ends[run_id])
        clean_root(self.root)
        if any(map(partial_of, names_in(self.results.parent))):
            with self._locked():
                clean_results(self.results)
        if not self.results.exists():
            return self.rebuild() if ends else []
        rows = table.parse(self._table())
        listed = {row.run_id: row.status == "failed" for row in rows.own}
        agree = not rows.outdated and not rows.foreign and len(listed) == len(rows.own) and listed == ends
        return [] if agree else self.rebuild()

    def repair_row(self, run_id: str) -> None:
        """Add the row of a run that is done and has none, and finish what its worker left undone, if that is dead."""
        with self._locked():
            record = self.readable_record(run_id) if self.is_done(run_id) else None
            if record is None:
                return
            if run_id not in {row.run_id for row in table.parse(self._table()).own}:
                self._append(record, replacing=False)
        self._clean(run_id, names_in(self.folder(run_id)), done=True)

    def _clean(self, run_id: str, names: frozenset[str], *, done: bool) -> None:
        """Finish what the dead worker of a run left undone, and remove what it left."""
        folder = self.folder(run_id)
        if "claim.json" in names:
            if not done or (claim := claim_of(folder)) is None or not claim["dead"] or folder.is_symlink():
                return  # whoever takes up an unfinished run removes what the dead left
            record = self.readable_record(run_id)
            if record is None:
                return
            self._write_history(record)
            clean_run(folder, done=True)
            (folder / "claim.json").unlink(missing_ok=True)
        elif any(is_leftover(name, done=done) for name in names):
            clean_run(folder, done=done)

    def clean(self, run_id: str, attempt: str) -> None:
        """Remove what killed attempts at a run left, for the ``attempt`` that has it."""
        clean_run(self.folder(run_id), done=self.is_done(run_id), attempt=attempt)

    def _set_damage_aside(self, run_ids: list[str]) -> None:
        """Give another name to damaged records. Under the lock of the table: no record is being written."""
        for run_id in run_ids:
            for name in _ENDS:
                self._damaged(self.folder(run_id) / name)

    def _damaged(self, path: Path) -> bool:
        """Set the record in ``path`` aside, if it is damaged; returns whether."""
        try:
            read_record(path)
        except DamagedError as error:
            self._set_aside(path, str(error))
            return True
        except SchemaError:
            pass
        return False

    def _set_aside(self, path: Path, why: str) -> None:
        try:
            aside = set_aside(path)
        except OSError as error:
            note(f"{path}: {why.removeprefix(f'{path}: ')}; it cannot be set aside: {error.strerror}", "store")
            return
        note(f"{path}: {why.removeprefix(f'{path}: ')}; set aside as {aside.name}", "store")

    def _write_history(self, record: RunRecord) -> None:
        lines = "".join(json.dumps(m.to_dict()) + "\n" for m in record.history)
        write_whole(self.folder(record.run_id) / "history.jsonl", lines, durable=False)

    def _rebuild(self) -> list[ForeignRow]:
        rows = {record.run_id: table.row(record) for record in self.records()}
        foreign: list[ForeignRow] = []
        if self.results.exists():
            old = table.parse(self._table())
            foreign = old.foreign + [row.foreign(recorded=False) for row in old.own if row.run_id not in rows]
            # A row of a failure that was set aside or superseded is our own, left by a kill: it just goes.
            foreign = [row for row in foreign if not self._was_failure(old, row)]
            foreign += [
                row.foreign(recorded=True)
                for row in old.own
                if not old.outdated and row.run_id in rows and row.text != rows[row.run_id] and row.status != "failed"
            ]
            foreign.sort(key=lambda row: row.line)
        if foreign:
            unlinked(self.aside)
            text = self.aside.read_text(encoding="utf-8", errors="replace") if self.aside.exists() else ""
            known = set(text.splitlines())
            with self.aside.open("a", encoding="utf-8", newline="") as file:
                file.writelines(f"{row.text}\n" for row in foreign if row.text not in known)
        write_whole(self.results, table.header() + "".join(rows.values()))
        clean_results(self.results)
        return foreign

    def _was_failure(self, old: Rows, row: ForeignRow) -> bool:
        own = next((each for each in old.own if each.line == row.line), None)
        return own is not None and own.status == "failed" and any(self.folder(own.run_id).glob("failed*.json"))

    def _locked(self) -> AbstractContextManager[None]:
        """The lock of the table. It stays where earlier versions have it, so that both can share a store."""
        self.results.parent.mkdir(parents=True, exist_ok=True)
        (self.root / LOCKS).mkdir(exist_ok=True)
        return locked(self.results.with_name(".results.lock"), self.root / LOCKS / "results.owner")

    @property
    def _last_commit(self) -> Path:
        return self.results.with_name(".last_commit")

    def _next_moment(self) -> str:
        """Now, but after every moment in the table: clocks of several machines may disagree."""
        now = datetime.now(UTC)
        try:
            last = datetime.fromisoformat(readable(self._last_commit).read_text())
        except (OSError, ValueError):
            last = None
        if last is not None and last.tzinfo and last >= now:
            now = last + timedelta(microseconds=1)
        return now.isoformat(timespec="microseconds")


def _is_whole(path: Path) -> bool:
    """Whether the table has this version's header and ends with a whole line. Reads its two ends only."""
    header = table.header().encode()
    try:
        with readable(path).open("rb") as file:
            if file.read(len(header)) != header:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return False
