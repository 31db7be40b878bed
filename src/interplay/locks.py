"""Locks between processes that say for whom they wait."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from interplay.notes import note

PATIENCE = 5.0
"""Seconds of silent waiting."""


@contextlib.contextmanager
def locked(path: Path, owner: Path | None = None) -> Iterator[None]:
    """Hold the lock file ``path``. After `PATIENCE` seconds of waiting, a note says who has it, and the wait goes on.

    Args:
        path: the lock file; it stays where it is, so that all who wait mean the same file.
        owner: file in which the holder leaves its process and host; by default beside ``path``.

    Raises:
        OSError: the file cannot be created or opened for writing.
    """
    owner = owner or path.with_name(f"{path.name}.owner")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        note(f"waiting for {path}, which {holder(path, owner)} holds; end that process if it is stuck")
        lock.acquire()
    try:
        with contextlib.suppress(OSError):  # a full disk must not keep anybody from giving a lock back
            owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}), encoding="utf-8")
        yield
    finally:
        lock.release()


def holder(path: Path, owner: Path) -> str:
    """Who has a lock, in words: from the kernel for processes of this machine, else from the note that they left."""
    here = _pid_here(path)
    if here is not None:
        return f"process {here} on this machine ({socket.gethostname()})"
    try:
        found = json.loads(owner.read_text(encoding="utf-8"))
        return f"process {int(found['pid'])} on {str(found['host'])[:100]}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"


def _pid_here(path: Path) -> int | None:
    """The process of this machine that holds a ``flock`` on ``path``; ``None`` where the kernel does not say."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    for line in lines:
        words = line.split()
        # "1: FLOCK ADVISORY WRITE 4242 fd:01:131 0 EOF"; those that wait have "->" as their second word.
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            pid = int(words[4])
            return pid if pid > 0 else None
    return None
