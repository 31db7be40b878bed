"""What the store says of every run: from any process, on any node, without asking a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from interplay.record import RunRecord, Status
from interplay.store.ends import Ends
from interplay.store.leases import claim_of
from interplay.store.store import THOROUGH, Store
from interplay.trial import Spec


@dataclass
class StudyStatus:
    """Runs by state. ``running`` has worker, host, epoch, epochs and eta as far as they are known."""

    finished: list[str] = field(default_factory=list)
    diverged: list[RunRecord] = field(default_factory=list)
    failed: list[RunRecord] = field(default_factory=list)
    running: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    """Runs that have begun and that nobody has: they go on from their checkpoint when asked for."""
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Runs whose record cannot be read."""


def status(store: Store, specs: Sequence[Spec] | None = None) -> StudyStatus:
    """The state of ``specs``, or of every run that has a folder.

    In stores of up to `THOROUGH` runs every record is read. In larger ones a listing and the table say what has
    finished; only what is not in it, and what has a message to show, is looked up in its folder. So a study of 100,000
    runs is not 100,000 files to open.
    """
    there, found = set(store.run_ids()), StudyStatus()
    ends = Ends(store.results)
    if len(there) > THOROUGH:
        ends.look()
    for run_id in [spec.run_id for spec in specs] if specs is not None else sorted(there):
        if run_id not in there:
            found.missing.append(run_id)
        elif ends.status.get(run_id) == Status.FINISHED:
            found.finished.append(run_id)
        else:
            _look(run_id, store, found)
    return found


def _look(run_id: str, store: Store, found: StudyStatus) -> None:
    record = store.readable_record(run_id)
    claim = claim_of(store.folder(run_id))
    if record is not None and record.status is Status.FINISHED:
        found.finished.append(run_id)
    elif record is not None and record.status is Status.DIVERGED:
        found.diverged.append(record)
    elif claim is not None and not claim["dead"]:
        found.running.append((run_id, claim))
    elif record is None and store.is_done(run_id):
        found.damaged.append(run_id)
    elif record is not None:
        found.failed.append(record)
    else:
        found.interrupted.append(run_id)
