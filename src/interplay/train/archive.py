"""The files that checkpoints are: their checksum, and in words what a file is that is none.

A checkpoint is the zip archive that ``torch.save`` writes, with ``sha256:`` and 64 hex digits as its comment: the hash
of every byte before the comment. torch and zip tools read such a file as any other. Archives without that comment, of
earlier versions, are checked by the CRC-32 that zip keeps of each entry and that ``torch.load`` does not look at.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from interplay.errors import InterplayError

_MARK = b"sha256:"
_COMMENT = len(_MARK) + 64
_HEAD = 512

_KINDS = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the file itself: fetch that with git lfs pull",
    b"\x80": "it is a pickle, or a checkpoint in the format that torch had before 1.6",
    b"\x89HDF": "it is an HDF5 file",
    b"\x93NUMPY": "it is an array of numpy",
    b"\x1f\x8b": "it is packed with gzip",
    b"<!DOCTYPE": "it is a web page",
    b"<html": "it is a web page",
}


class CheckpointError(InterplayError):
    """A checkpoint is absent, damaged, or belongs to another run."""

    exit_code = 2


class ForeignCheckpointError(CheckpointError):
    """A file that is no checkpoint of this lab, whole or not."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is cut short or has other bytes than were written."""


def seal(file: BinaryIO) -> None:
    """Add the checksum to the zip archive in ``file``, which is open for reading and writing and has no comment."""
    file.seek(-2, os.SEEK_END)
    file.write(_COMMENT.to_bytes(2, "little"))  # the length of the comment, at the very end of a zip archive
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0, os.SEEK_END)
    file.write(_MARK + digest.encode())


def check(file: BinaryIO, path: Path) -> None:
    """Make sure that ``file`` is a checkpoint with the bytes that were written.

    Raises:
        DamagedCheckpointError: the checksum does not fit, or the archive is cut short.
        ForeignCheckpointError: it is something else; the message says what.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _COMMENT))
    comment = file.read()
    if comment.startswith(_MARK) and len(comment) == _COMMENT:
        file.seek(0)
        if _digest(file, size - _COMMENT) != comment.removeprefix(_MARK):
            raise DamagedCheckpointError(
                f"{path} is not a readable checkpoint: it is damaged (its checksum does not fit)"
            )
        return
    file.seek(0)
    head = file.read(_HEAD)
    if not any(head):
        what = "it is empty" if size == 0 else "it is damaged (zeros where its content was)"
        raise DamagedCheckpointError(f"{path} is not a readable checkpoint: {what}")
    if not head.startswith(b"PK\x03\x04"):
        raise ForeignCheckpointError(f"{path} is not a readable checkpoint: {_kind(head, size)}")
    _check_entries(file, path, size)


def _digest(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, 1 << 20))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest().encode()


def _kind(head: bytes, size: int) -> str:
    for start, words in _KINDS.items():
        if head.startswith(start):
            return words
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size:
        return "it is a safetensors file, which holds weights alone"
    if len(head) > 265 and head[257:262] == b"ustar":
        return "it is a tar archive"
    try:
        text = head[: _HEAD - 4].decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(letter.isprintable() or letter in "\r\n\t" for letter in text):
        return "it is a text file"
    return "it is no zip archive, as every checkpoint is"


def _check_entries(file: BinaryIO, path: Path, size: int) -> None:
    begin = f"{path} is not a readable checkpoint: "
    try:
        with zipfile.ZipFile(file) as archive:
            names = [entry.filename for entry in archive.infolist()]
            larger = sum(entry.file_size for entry in archive.infolist()) > size
            if any(name.endswith("/constants.pkl") for name in names):
                raise ForeignCheckpointError(f"{begin}it is a TorchScript program")
            if larger or not any(name.endswith("data.pkl") for name in names):
                raise ForeignCheckpointError(f"{begin}it is a zip archive that torch.save has not written")
            wrong = archive.testzip()
    except CheckpointError:
        raise
    except Exception as error:  # zipfile raises nearly anything on damaged archives
        raise DamagedCheckpointError(f"{begin}it is cut short or damaged") from error
    if wrong is not None:
        raise DamagedCheckpointError(f"{begin}it is damaged (the CRC-32 of its entry {wrong} does not fit)")
