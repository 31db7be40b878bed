"""A user's own images: one ``.npz`` file with x_train, y_train, x_test, y_test."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from interplay.data.cifar import Images, Labels
from interplay.errors import DataError

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = (1, 3, 4)


def fingerprint(path: Path) -> str:
    """Identity of a file by its content: ``npz:`` and 16 hex digits. Raises `DataError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return f"npz:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def read(path: Path, expected: str) -> tuple[Images, Labels, Images, Labels]:
    """Images as uint8 [n, C, H, W] and labels as int64 [n], for training and test.

    Images may be stored as NCHW, NHWC, or NHW (one channel). Labels are whole numbers from 0.

    Raises:
        DataError: another file than ``expected``, a missing array, or one of the wrong shape or type.
    """
    found = fingerprint(path)
    if found != expected:
        raise DataError(f"{path} has changed: fingerprint {found}, but the run was specified with {expected}")
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise DataError(f"{path} holds a single array, not the archive that np.savez writes")
            missing = [key for key in _KEYS if key not in file.files]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; it must hold {', '.join(_KEYS)}")
            x_train, y_train, x_test, y_test = (file[key] for key in _KEYS)
    except (ValueError, TypeError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path} is not a readable .npz file of plain arrays: {error}") from error
    train, test = _images(x_train, "x_train", path), _images(x_test, "x_test", path)
    if train.shape[1:] != test.shape[1:]:
        raise DataError(f"{path}: training images are {train.shape[1:]}, test images {test.shape[1:]} (C, H, W)")
    return train, _labels(y_train, "y_train", len(train), path), test, _labels(y_test, "y_test", len(test), path)


def _images(array: NDArray[np.generic], key: str, path: Path) -> Images:
    if array.dtype != np.uint8:
        raise DataError(f"{path}: {key} is {array.dtype}, not uint8")
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        raise DataError(f"{path}: {key} has shape {array.shape}, not [n, C, H, W] or [n, H, W, C]")
    if array.shape[1] not in _CHANNELS:
        if array.shape[3] not in _CHANNELS:
            raise DataError(f"{path}: {key} has shape {array.shape}: no axis of 1, 3 or 4 channels")
        array = array.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(array, dtype=np.uint8)


def _labels(array: NDArray[np.generic], key: str, n: int, path: Path) -> Labels:
    if not np.issubdtype(array.dtype, np.integer) or array.shape != (n,):
        raise DataError(f"{path}: {key} must be {n} whole numbers, not {array.dtype} of shape {array.shape}")
    labels = array.astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{path}: {key} has negative labels")
    return labels
