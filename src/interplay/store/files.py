"""Writing that survives a kill, a second writer and a network file system."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace ``path`` by ``text``: a reader sees the old file or the new one, never half of one.

    ``durable`` waits until the content is on the disk, which a heartbeat need not.
    """
    partial = _written(path, text, durable)
    try:
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_once(path: Path, text: str, *, durable: bool = True) -> bool:
    """Create ``path`` with ``text`` unless it exists; True for the one writer that created it.

    The content is complete before the name appears: a link to a finished file either succeeds for one writer or fails,
    on NFS too, where a rename would silently replace the other's file.
    """
    partial = _written(path, text, durable)
    try:
        os.link(partial, path)
        return True
    except FileExistsError:
        # NFS may repeat a request that had succeeded; then the file has two names, and the other one is ours.
        return partial.stat().st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_exclusively(path, text)
    finally:
        partial.unlink(missing_ok=True)


def _written(path: Path, text: str, durable: bool) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with partial.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _create_exclusively(path: Path, text: str) -> bool:
    """For file systems without hard links: exclusive, but a reader may see the file while it grows."""
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return True
    except FileExistsError:
        return False
