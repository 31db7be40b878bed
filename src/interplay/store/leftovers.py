"""Removing what killed attempts left behind: files of this lab's own names alone, and never through a link."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from interplay.store.files import partial_of, remove_file

_OF_A_RUN = re.compile(r"(spec|record|failed|tracked|beat\.[0-9A-Za-z-]+)\.json|history\.jsonl|(last|best|final)\.pt")
_BEAT = re.compile(r"beat\.(?P<attempt>[0-9A-Za-z-]+)\.json")
_OLD = 86_400.0
"""Seconds after which an unfinished file that nobody's lock protects belongs to nobody any more."""


def is_leftover(name: str, *, done: bool) -> bool:
    """Whether a file of this name in the folder of a run that nobody has is of no use.

    Claims that somebody may just be writing are spared while the run is not ``done``.
    """
    of = partial_of(name)
    if of == "claim.json":
        return done
    if of is not None:
        return _OF_A_RUN.fullmatch(of) is not None
    return _BEAT.fullmatch(name) is not None or (done and name in ("last.pt", "tracked.json"))


def clean_run(folder: Path, *, done: bool, attempt: str | None = None) -> None:
    """Remove the leftovers in ``folder``, for whoever has the run; its own ``attempt`` keeps its sign of life.

    A folder that is a link leads to where this lab may not tidy up, and stays as it is.
    """
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):  # what cannot be removed now is removed another time
        for path in folder.iterdir():
            if is_leftover(path.name, done=done) and path.name != f"beat.{attempt}.json":
                remove_file(path)


def clean_results(results: Path) -> None:
    """Remove halves of the files in the folder of ``results.csv``; for whoever holds the lock of the table."""
    _clean(results.parent, r"results\.csv|\.last_commit|foreign_rows\.csv")


def clean_root(root: Path) -> None:
    """Remove unfinished pages, notes, studies and second names of checkpoints that have lain for a day."""
    for folder, own in (
        (root, r"report\.html|pace\.json"),
        (root / "studies", r".+\.json"),
        (root / "jobs", r".+\.json"),
        (root / "checkpoints", r".+\.pth"),
    ):
        _clean(folder, own, _OLD)


def _clean(folder: Path, own: str, age: float = 0.0) -> None:
    if folder.is_symlink():
        return
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            of = partial_of(path.name)
            if of is None or not re.fullmatch(own, of):
                continue
            if not age or time.time() - path.lstat().st_mtime > age:
                remove_file(path)


def unlinked(path: Path) -> None:
    """Make sure that ``path`` is no link before it is written to: the file that a link leads to is not ours."""
    if path.is_symlink():
        path.unlink()
