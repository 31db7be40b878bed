"""Writing that survives a kill, a second writer and a network file system."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

_PARTIAL = re.compile(r"\.(?P<of>.+?)\.\d+(\.[0-9a-f]+)?")
"""Names under which the files of this lab are written before they get their own: process, then a random number."""


def readable(path: Path) -> Path:
    """``path`` itself, where opening it for reading returns: a pipe or a device of that name might wait for ever.

    Raises:
        OSError: there is no such file, or it is neither a plain file nor a folder.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "no plain file", str(path))
    return path


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
    on NFS too, where a rename would silently replace the other's file. Where the file system has no hard links, the
    name is taken by an empty file that the finished one replaces: a kill between the two leaves the empty one.
    """
    return _created(path, text, durable, _reserve)


def write_under_lock(path: Path, text: str, *, durable: bool = True) -> bool:
    """`write_once` for those who hold a lock that every writer of ``path`` holds.

    They need no empty file on file systems without hard links: whoever finds no file renames the finished one.
    """
    return _created(path, text, durable, lambda path: not os.path.lexists(path))


def _created(path: Path, text: str, durable: bool, free: Callable[[Path], bool]) -> bool:
    for _ in range(3):
        partial = _written(path, text, durable)
        try:
            os.link(partial, path)
            return True
        except FileExistsError:
            # NFS may repeat a request that had succeeded; then the file has two names, and the other one is ours.
            return partial.stat().st_nlink == 2
        except FileNotFoundError:
            if not path.parent.exists():
                raise
            continue  # whoever owns the folder took it for a leftover
        except OSError:  # no hard links here, as on exFAT; what is really wrong is wrong for a rename too
            if not free(path):
                return False
            partial.replace(path)
            return True
        finally:
            partial.unlink(missing_ok=True)
    raise FileNotFoundError(f"{path} cannot be written: its parts vanish")


def _reserve(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        return False
    return True


def partial_of(name: str) -> str | None:
    """The name of the file of which ``name`` is an unfinished writing, or ``None`` if it is the name of none."""
    found = _PARTIAL.fullmatch(name)
    return found["of"] if found else None


def remove_file(path: Path) -> None:
    """Remove a plain file; a link or a folder of that name is somebody else's and stays."""
    if path.is_file() and not path.is_symlink():
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Give ``path`` the first free name of the kind ``damaged-1.NAME`` in its folder; returns it."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"damaged-{number}.{path.name}")):
        number += 1
    path.rename(aside)
    return aside


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
