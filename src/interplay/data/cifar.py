"""CIFAR-10 and CIFAR-100 from the official python pickles (https://www.cs.toronto.edu/~kriz/cifar.html).

Every file is hashed before it is opened, and the bytes that were hashed are the bytes that are read.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interplay.data.download import download, enough_space, md5_of
from interplay.data.unpickle import read_plain_pickle
from interplay.errors import DataError, DownloadError
from interplay.locks import locked

_LIMIT = 512 << 20
"""Bytes of one file. The largest published one has 148 MiB."""
_ADDRESS = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Archive:
    """One published archive: its address, its checksum, and the files in it that hold images and labels."""

    folder: str
    file: str
    md5: str
    train: Mapping[str, str]
    """File name to md5, in the order in which the images are numbered."""
    test: Mapping[str, str]
    labels: bytes
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: int
    size: int
    """Bytes of archive and unpacked files together, for the check of free space."""

    @property
    def files(self) -> dict[str, str]:
        """Every file that is read, with its md5."""
        return {**self.train, **self.test}


# Checksums as published beside the archives and in torchvision's dataset definitions; channel statistics of CIFAR-100
# as in CONTRACT.md, of CIFAR-10 the usual ones of its training images.
ARCHIVES = {
    "cifar10": Archive(
        folder="cifar-10-batches-py",
        file="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        labels=b"labels",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        classes=10,
        size=360 << 20,
    ),
    "cifar100": Archive(
        folder="cifar-100-python",
        file="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        labels=b"fine_labels",
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        classes=100,
        size=360 << 20,
    ),
}

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def fingerprint(name: str, checksums: Mapping[str, str]) -> str:
    """Identity of a folder by the md5 of every file that is read: ``cifar100:`` and 16 hex digits."""
    text = "\n".join(f"{file} {checksums[file]}" for file in sorted(checksums))
    return f"{name}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def published_fingerprint(name: str) -> str:
    """`fingerprint` of the official files."""
    return fingerprint(name, ARCHIVES[name].files)


def measured_fingerprint(name: str, data_dir: Path) -> str:
    """`fingerprint` of the files that lie in ``data_dir``, whatever they are."""
    folder = locate(name, data_dir, allow_modified=True)
    return fingerprint(name, {file: hashlib.md5(_bytes(folder / file)).hexdigest() for file in ARCHIVES[name].files})


def _bytes(path: Path) -> bytes:
    """The content of one of the files; raises `DataError` for what is no file, or too large to be one of them."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path} is a folder, a pipe or a device, not a file")
        if found.st_size > _LIMIT:
            raise DataError(f"{path} has {found.st_size >> 20} MiB; a file of images may have {_LIMIT >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def locate(name: str, data_dir: Path, *, allow_modified: bool = False, address: str = _ADDRESS) -> Path:
    """The folder with the pickles of ``name``: found in ``data_dir``, unpacked from an archive there, or downloaded.

    Raises:
        DataError: absent and not to be had, with the place where the files belong; or an archive with another md5.
    """
    archive = ARCHIVES[name]
    folder = data_dir / archive.folder
    if _complete(folder, archive):
        return folder
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with locked(data_dir / f".{archive.file}.lock"):
            if not _complete(folder, archive):  # another process may have brought them meanwhile
                _bring(name, data_dir, allow_modified, address)
    except OSError as error:
        raise DataError(f"{_wanted(name, data_dir)}\nThe folder cannot be written: {error}") from error
    return folder


def _complete(folder: Path, archive: Archive) -> bool:
    return all((folder / file).is_file() for file in archive.files)


def _bring(name: str, data_dir: Path, allow_modified: bool, address: str) -> None:
    archive = ARCHIVES[name]
    packed = data_dir / archive.file
    if not packed.is_file():
        enough_space(data_dir, archive.size)
        try:
            download(address + archive.file, packed, archive.md5)
        except DataError as error:
            raise DownloadError(f"{_wanted(name, data_dir)}\n{error}") from error
    found = md5_of(packed)
    if found != archive.md5 and not allow_modified:
        raise DataError(
            f"{packed} has md5 {found}, expected {archive.md5}. Remove it to download it again, "
            "or accept it with --allow_modified_data"
        )
    _unpack(packed, data_dir, archive)


def _unpack(packed: Path, data_dir: Path, archive: Archive) -> None:
    folder = data_dir / archive.folder
    folder.mkdir(exist_ok=True)
    try:
        with tarfile.open(packed, "r:gz") as tar:
            for file in archive.files:
                # Only the wanted members are read, by name, so no path inside the archive is ever followed.
                if (folder / file).exists():
                    continue  # the user's own file; its checksum is looked at when it is read
                member = tar.extractfile(f"{archive.folder}/{file}")
                if member is None:
                    raise DataError(f"{packed}: {file} is not a file")
                content = member.read(_LIMIT + 1)
                if len(content) > _LIMIT:
                    raise DataError(f"{packed}: {file} is larger than the {_LIMIT >> 20} MiB that may be unpacked")
                partial = folder / f"{file}.part"
                partial.write_bytes(content)
                partial.replace(folder / file)
    except (
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        LookupError,
        EOFError,
        ValueError,
        ArithmeticError,
    ) as error:
        raise DataError(f"{packed} cannot be unpacked: {error}") from error


def _wanted(name: str, data_dir: Path) -> str:
    archive = ARCHIVES[name]
    return (
        f"{name} is not in {data_dir}. Put {archive.file} (md5 {archive.md5}, from {_ADDRESS}{archive.file}) into "
        f"{data_dir}, or the files {', '.join(archive.files)} into {data_dir / archive.folder}."
    )


def read(name: str, data_dir: Path, expected: str) -> tuple[Images, Labels, Images, Labels]:
    """Training images and labels, test images and labels.

    Args:
        name: ``cifar10`` or ``cifar100``.
        data_dir: where the folder or the archive lies, or is downloaded to.
        expected: fingerprint the files must have; nothing is opened before it matches.

    Returns:
        uint8 images of shape [n, 3, 32, 32] and int64 labels of shape [n], twice.

    Raises:
        DataError: absent, or other files than expected: names each file with both checksums.
    """
    archive = ARCHIVES[name]
    folder = locate(name, data_dir, allow_modified=expected != published_fingerprint(name))
    raw = {file: _bytes(folder / file) for file in archive.files}
    checksums = {file: hashlib.md5(data).hexdigest() for file, data in raw.items()}
    if fingerprint(name, checksums) != expected:
        _refuse(name, folder, checksums, expected)
    train = [_images(raw[file], folder / file, archive) for file in archive.train]
    test = [_images(raw[file], folder / file, archive) for file in archive.test]
    return (*_joined(train), *_joined(test))


def _refuse(name: str, folder: Path, checksums: Mapping[str, str], expected: str) -> None:
    if expected != published_fingerprint(name):
        raise DataError(
            f"{folder} is not the data of this run: fingerprint {fingerprint(name, checksums)}, not {expected}"
        )
    published = ARCHIVES[name].files
    lines = [
        f"{folder / file} has md5 {found}, expected {published[file]}"
        for file, found in checksums.items()
        if found != published[file]
    ]
    raise DataError(
        "\n".join([*lines, "Remove the folder to get the official files, or accept it: --allow_modified_data"])
    )


def _images(data: bytes, path: Path, archive: Archive) -> tuple[Images, Labels]:
    content = read_plain_pickle(data, str(path))
    images: Any = content.get(b"data")
    labels = content.get(archive.labels)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3072:
        raise DataError(f"{path}: 'data' is not an array of uint8 rows of 3072 pixels")
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{path}: {archive.labels.decode()!r} does not hold one label for each of {len(images)} images")
    if not all(isinstance(label, int) and 0 <= label < archive.classes for label in labels):
        raise DataError(f"{path}: a label is not a number from 0 to {archive.classes - 1}")
    return images.reshape(-1, 3, 32, 32), np.asarray(labels, dtype=np.int64)


def _joined(parts: list[tuple[Images, Labels]]) -> tuple[Images, Labels]:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])
