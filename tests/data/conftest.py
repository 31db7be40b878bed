"""A tiny stand-in for the CIFAR archives, with checksums of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from interplay.data import cifar


def pickled(n: int, seed: int, classes: int, key: bytes) -> bytes:
    """A pickle in the format of the official files (protocol 2, byte-string keys)."""
    rng = np.random.default_rng(seed)
    content = {
        b"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8),
        key: [int(label) for label in rng.integers(0, classes, n)],
        b"batch_label": b"testing",
    }
    return pickle.dumps(content, protocol=2)


@pytest.fixture
def tiny_cifar100(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with ``cifar-100-python/{train,test}`` of 40 and 20 images; the archive lies in ``packed/``."""
    files = {"train": pickled(40, 1, 100, b"fine_labels"), "test": pickled(20, 2, 100, b"fine_labels")}
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    packed = tmp_path / "packed" / "cifar-100-python.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(folder, "cifar-100-python")
    md5s = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    archive = dataclasses.replace(
        cifar.ARCHIVES["cifar100"],
        md5=hashlib.md5(packed.read_bytes()).hexdigest(),
        train={"train": md5s["train"]},
        test={"test": md5s["test"]},
        size=1,
    )
    monkeypatch.setitem(cifar.ARCHIVES, "cifar100", archive)
    return tmp_path / "data"
