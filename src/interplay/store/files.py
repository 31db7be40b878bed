"""Writing that survives a kill, a second writer and a network file system."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Replace ``path`` by ``text``: a reader sees the old file or the new one, never half of one."""
    partial = _written(path, text)
    try:
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_once(path: Path, text: str) -> bool:
    """Create ``path`` with ``text`` unless it exists; True for the one writer that created it.

    The content is complete before the name appears: a link to a finished file either succeeds for one writer or fails,
    on NFS too, where a rename would silently replace the other's file.
    """
    partial = _written(path, text)
    try:
        os.link(partial, path)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        return _create_exclusively(path, text)  # a file system without hard links
    finally:
        partial.unlink(missing_ok=True)


def _written(path: Path, text: str) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with partial.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _create_exclusively(path: Path, text: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return True
    except FileExistsError:
        return False
