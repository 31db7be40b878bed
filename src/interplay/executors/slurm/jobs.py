"""Jobs that were handed to a cluster: what Slurm says of them from any node, and how to end them.

``jobs/slurm-<id>.json`` remembers each submission. What it did is in the store; Slurm is asked only whether it still
waits or runs.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError

_SECONDS = 60
"""Within which a client of Slurm must answer; a busy controller may take long."""


@dataclass(frozen=True)
class Submission:
    """One array job: its number, the study it is for, and how much it asked for."""

    engine: str
    job_id: str
    study: str
    manifest: str
    allocations: int
    slots: int
    """Runs at a time in all of them."""
    submitted_at: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return dataclasses.asdict(self)


def submissions(root: Path) -> list[Submission]:
    """All that were handed to Slurm from this store, oldest first; a file that cannot be read is passed over."""
    found = []
    for path in (root / "jobs").glob("slurm-*.json"):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
            # The name that files of before have.
            job = Submission(**{("slots" if name == "seats" else name): value for name, value in facts.items()})
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            continue
        if all(isinstance(each, str) for each in (job.job_id, job.study, job.manifest, job.submitted_at)):
            found.append(job)
    return sorted(found, key=lambda each: (each.submitted_at, int(each.job_id) if each.job_id.isdecimal() else 0))


def states(jobs: Sequence[Submission]) -> dict[str, Counter[str]] | None:
    """Of each job that Slurm still has, its allocations by state, in one question; ``None`` where there is no Slurm."""
    if shutil.which("squeue") is None:
        return None
    if not jobs:
        return {}
    # All of the user's own jobs: a list of numbers would fail as a whole for the first one that Slurm has forgotten.
    done = _client("squeue", "--me", "--noheader", "--array", "--format=%F %T")
    known = {job.job_id for job in jobs}
    found: dict[str, Counter[str]] = {}
    for line in done.splitlines():
        job_id, _, state = line.strip().partition(" ")
        if job_id in known:
            found.setdefault(job_id, Counter())[state.lower()] += 1
    return found


def alive(jobs: Sequence[Submission]) -> list[Submission]:
    """Those of ``jobs`` that wait or run."""
    found = states(jobs) or {}
    return [job for job in jobs if job.job_id in found]


def endings(job: Submission) -> str:
    """How its allocations ended, from the accounting: such as ``2 completed, 1 timeout``; says where there is none."""
    if shutil.which("sacct") is None:
        return "no accounting here"
    try:
        words = ["--jobs", job.job_id, "--allocations", "--noheader", "--parsable2", "--format=State"]
        lines = _client("sacct", *words).split("\n")
    except InterplayError:
        return "no accounting here"
    counts = Counter(line.split()[0].lower() for line in lines if line.strip())
    return ", ".join(f"{count} {state}" for state, count in counts.most_common()) or "not in the accounting"


def cancel(jobs: Sequence[Submission]) -> None:
    """End ``jobs``: their workers are asked to stop at the next epoch, with a checkpoint, and killed after KillWait."""
    _client("scancel", *[job.job_id for job in jobs])


def _client(program: str, *words: str) -> str:
    try:
        done = subprocess.run(
            [program, *words], capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InterplayError(f"{program} does not answer: {error}") from error
    if done.returncode:
        raise InterplayError(f"{program}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
