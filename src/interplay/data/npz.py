"""A user's own images: one ``.npz`` file with x_train, y_train, x_test, y_test.

What the file claims is compared with what it has before there is memory for it: nothing is read whose size is not
known to be right and below `LIMIT`.
"""

from __future__ import annotations

import hashlib
import math
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from interplay.data import arrays
from interplay.data.arrays import CHANNELS as _CHANNELS
from interplay.data.arrays import MOST_CLASSES
from interplay.data.cifar import Labels
from interplay.errors import DataError

LIMIT = 2 << 30
"""Bytes that the four arrays may take together, and the file: 2 GiB, some 700,000 colour images of 32x32."""

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_REFUSED = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}


@dataclass(frozen=True)
class Contents:
    """What a file holds, before any image of it is read."""

    shape: tuple[int, int, int]
    """Of an image: C, H, W; of a row of F numbers F, 1, 1."""
    table: bool
    """Whether it holds rows of numbers."""
    y_train: Labels
    y_test: Labels


def fingerprint(path: Path) -> str:
    """Identity of a file by its content: ``npz:`` and 16 hex digits. Raises `DataError` if it cannot be read."""
    with _opened(path) as file:
        return _fingerprint(file)


def contents(path: Path) -> Contents:
    """Shape of the images and all labels. Raises `DataError` for a file that `read` would refuse."""
    with _opened(path) as file, _archive(file, path) as archive:
        headers, shape, labels = _checked(archive, path)
    return Contents(shape, len(headers["x_train"].shape) == 2, *labels)


def read(path: Path, expected: str) -> arrays.Arrays:
    """Images as uint8 [n, C, H, W] and labels as int64 [n], for training and test.

    Images may be stored as NCHW, NHWC, or NHW (one channel). Labels are whole numbers from 0. A table of shape [n, F],
    of any numbers, is float64 [n, F, 1, 1].

    Raises:
        DataError: another file than ``expected``, one that is too large, a missing array, or one of the wrong shape or
            type.
    """
    with _opened(path) as file:
        if (found := _fingerprint(file)) != expected:
            raise DataError(f"{path} has changed: fingerprint {found}, but the run was specified with {expected}")
        with _archive(file, path) as archive:
            headers, _, (y_train, y_test) = _checked(archive, path)
            x_train, x_test = (_images(_array(archive, headers[key]), key, path) for key in ("x_train", "x_test"))
    return x_train, y_train, x_test, y_test


# -- the file ---------------------------------------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise DataError(f"cannot read {path}: it is {what}, not a file")
        if found.st_size > LIMIT:
            raise DataError(f"{path} has {_size(found.st_size)}; an .npz file may have {_size(LIMIT)}")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a name with a NUL
        raise DataError(f"cannot read {path!r}: {error}") from error


def _fingerprint(file: BinaryIO) -> str:
    file.seek(0)
    return f"npz:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"  # type: ignore[arg-type]


@contextmanager
def _archive(file: BinaryIO, path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive in ``file``; whatever goes wrong with it becomes one line."""
    file.seek(0)
    head = file.read(64)
    if head.startswith(b"\x93NUMPY"):
        raise DataError(f"{path} holds a single array, not the archive that np.savez writes")
    unreadable = f"{path} is not a readable .npz file of plain arrays: "
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{unreadable}it is a Git LFS pointer; fetch the file itself with git lfs pull")
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path} cannot be read: the memory does not suffice") from None
    except Exception as error:  # zipfile, zlib and numpy's parser of headers raise nearly anything on damaged files
        words = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise DataError(f"{unreadable}{words:.200}") from error


# -- what it claims ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Header:
    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def _checked(
    archive: zipfile.ZipFile, path: Path
) -> tuple[Mapping[str, _Header], tuple[int, int, int], tuple[Labels, Labels]]:
    """Headers of the four arrays, the shape of an image, and the labels: all that can be wrong with a file."""
    entries = _entries(archive, path)
    headers = {key: _header(archive, entries[key], key, path) for key in _KEYS}
    total = sum(header.entry.file_size for header in headers.values())
    if total > LIMIT:
        raise DataError(f"{path}: its arrays take {_size(total)}; {_size(LIMIT)} may be read")
    train, test = (_image_shape(headers[key], key, path) for key in ("x_train", "x_test"))
    if train[1:] != test[1:]:
        raise DataError(f"{path}: training images are {train[1:]}, test images {test[1:]} (C, H, W)")
    labels = (
        _labels(archive, headers["y_train"], "y_train", train[0], path),
        _labels(archive, headers["y_test"], "y_test", test[0], path),
    )
    return headers, train[1:], labels


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        key = entry.filename.removesuffix(".npy")
        if key not in _KEYS:
            continue
        if key in found:
            raise DataError(f"{path} holds {key} twice")
        if entry.flag_bits & 1:
            raise DataError(f"{path}: {key} is encrypted")
        if entry.compress_type not in _PACKINGS:
            packing = _REFUSED.get(entry.compress_type, f"method {entry.compress_type}")
            raise DataError(
                f"{path}: {key} is compressed with {packing}; write it with np.savez or np.savez_compressed"
            )
        found[key] = entry
    if missing := [key for key in _KEYS if key not in found]:
        raise DataError(f"{path} lacks {', '.join(missing)}; it must hold {', '.join(_KEYS)}")
    return found


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, key: str, path: Path) -> _Header:
    with archive.open(entry) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy warns of headers that Python 2 has written, and reads them
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # others are for types with fields, and may have headers of 4 GiB
            raise DataError(f"{path}: {key} has a header of version {version}, not one of plain numbers")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        begins = file.tell()
    if dtype.hasobject:
        raise DataError(f"{path} is not a readable .npz file of plain arrays: {key} holds objects")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise DataError(f"{path}: {key} claims the shape {shape!s:.80}")
    has = entry.file_size - begins
    if math.prod(shape) * dtype.itemsize != has:
        raise DataError(f"{path}: {key} claims the shape {shape!s:.80} of {dtype!s:.80}, but has {has} bytes")
    return _Header(entry, shape, dtype)


def _image_shape(header: _Header, key: str, path: Path) -> tuple[int, int, int, int]:
    shape = header.shape
    if len(shape) == 2 and 0 not in shape and header.dtype.kind in "fiub":
        return shape[0], shape[1], 1, 1
    if header.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {header.dtype}, not uint8")
    if len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])
    if len(shape) != 4 or 0 in shape:
        raise DataError(f"{path}: {key} has shape {shape!s:.80}, not [n, C, H, W], [n, H, W, C] or [n, columns]")
    n, *image = shape
    if image[0] not in _CHANNELS:
        if image[2] not in _CHANNELS:
            raise DataError(f"{path}: {key} has shape {shape}: no axis of 1, 3 or 4 channels")
        image = [image[2], image[0], image[1]]
    return n, image[0], image[1], image[2]


def _labels(archive: zipfile.ZipFile, header: _Header, key: str, n: int, path: Path) -> Labels:
    if header.dtype.kind not in "iu" or header.shape != (n,):
        raise DataError(
            f"{path}: {key} must be {n} whole numbers, not {header.dtype!s:.80} of shape {header.shape!s:.80}"
            + ("; for regression run your own script (docs/own-script.md)" if header.dtype.kind == "f" else "")
        )
    labels = _array(archive, header)
    if (least := int(labels.min())) < 0:
        raise DataError(f"{path}: {key} has negative labels, such as {least}")
    if (most := int(labels.max())) >= MOST_CLASSES:
        raise DataError(
            f"{path}: {key} has the label {most}; labels count classes from 0, and there may be {MOST_CLASSES}"
        )
    return labels.astype(np.int64)


def _array(archive: zipfile.ZipFile, header: _Header) -> NDArray[Any]:
    with archive.open(header.entry) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return found


def _images(array: NDArray[Any], key: str, path: Path) -> NDArray[Any]:
    if array.ndim == 2:
        try:
            return arrays.table(array, key)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if array.ndim == 3:
        array = array[:, None]
    if array.shape[1] not in _CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array, dtype=np.uint8)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.3g} GiB" if count >= 1 << 30 else f"{count} bytes"
