"""Files that a user may give as data: what cannot be used is refused in one line, before there is memory for it."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from interplay.data import npz
from interplay.data.identity import empty_classes, identify, resolve
from interplay.data.splits import load
from interplay.errors import DataError, SpecError
from interplay.spec import RunSpec

NOWHERE = Path("/nonexistent")


def arrays(n: int = 12, side: int = 4) -> dict[str, np.ndarray]:
    images = np.arange(n * side * side).reshape(n, 1, side, side).astype(np.uint8)
    return {"x_train": images, "y_train": np.arange(n) % 3, "x_test": images[:4], "y_test": np.arange(4) % 3}


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes(version) + size + text.encode()


def claims(shape: str, dtype: str = "'|u1'") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}\n") + bytes(16)


def written(path: Path, packing: int = zipfile.ZIP_STORED, **changes: bytes) -> None:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for key, value in arrays().items():
            archive.writestr(f"{key}.npy", changes.get(key, npy(value)))


def encrypted(path: Path) -> None:
    written(path)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0").replace(b"\x14\0\0\0", b"\x14\0\1\0")
    )


def twice(path: Path) -> None:
    written(path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", npy(arrays()["x_train"]))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def bomb(path: Path) -> None:
    """A header that is right, and more bytes than may be read: the directory claims them."""
    written(path, x_train=claims(f"({3 << 30}, 1, 1)"))
    begins = len(claims(f"({3 << 30}, 1, 1)")) - 16
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"x_train.npy"))
    content[place + 24 : place + 28] = struct.pack("<I", begins + (3 << 30))
    path.write_bytes(bytes(content))


CLAIM = r"x_train claims the shape"
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "a huge shape": (lambda p: written(p, x_train=claims("(1000000, 3, 1000, 1000)")), f"{CLAIM}.*but has 16 bytes"),
    "an overflow": (lambda p: written(p, x_train=claims(f"({2**62}, {2**62}, 4)")), f"{CLAIM}.*but has 16 bytes"),
    "an endless size": (lambda p: written(p, x_train=claims(f"({10**200}, 1, 1)")), f"{CLAIM} .{{,200}}$"),
    "a negative size": (lambda p: written(p, x_train=claims("(-16, 1, -1)")), CLAIM),
    "a truth as a size": (lambda p: written(p, x_train=claims("(True, 4, 4)")), CLAIM),
    "no tuple": (lambda p: written(p, x_train=claims("16")), "not a readable .npz file"),
    "nesting": (lambda p: written(p, x_train=claims("(" * 5000 + ")" * 5000)), "not a readable .npz file"),
    "code": (lambda p: written(p, x_train=claims("__import__('os').getpid()")), "not a readable .npz file"),
    "an unknown type": (lambda p: written(p, x_train=claims("(4, 2, 2)", "'zz'")), "not a readable .npz file"),
    "objects": (lambda p: written(p, x_train=claims("(2, 1, 1)", "'|O'")), "plain arrays: x_train holds objects"),
    "fields": (lambda p: written(p, x_train=claims("(4, 2, 2)", "[('a', '|u1')]")), "not uint8"),
    "a header of 4 GiB": (lambda p: written(p, x_train=header("{}", (2, 0), 2**32 - 1)), r"header of version \(2, 0\)"),
    "a later header": (lambda p: written(p, x_train=header("{}", (9, 0))), r"header of version \(9, 0\)"),
    "no header": (lambda p: written(p, x_train=b"nothing"), "not a readable .npz file"),
    "nothing": (lambda p: written(p, x_train=b""), "not a readable .npz file"),
    "more than it says": (lambda p: written(p, x_train=npy(arrays()["x_train"]) + b"x"), CLAIM),
    "too much": (bomb, r"its arrays take 3 GiB; 2 GiB may be read"),
    "a large file": (sparse, "has 3 GiB; an .npz file may have 2 GiB"),
    "bzip2": (lambda p: written(p, zipfile.ZIP_BZIP2), "x_train is compressed with bzip2"),
    "lzma": (lambda p: written(p, zipfile.ZIP_LZMA), "x_train is compressed with lzma"),
    "a password": (encrypted, "x_train is encrypted"),
    "a key twice": (twice, "holds x_train twice"),
    "a folder": (lambda p: p.mkdir(), "it is a folder, not a file"),
    "a pipe": (lambda p: os.mkfifo(p), "it is a pipe or a device, not a file"),
    "a device": (lambda p: p.symlink_to("/dev/zero"), "it is a pipe or a device, not a file"),
    "a loop": (lambda p: p.symlink_to(p), "cannot read"),
    "a pointer": (lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"), "a Git LFS pointer"),
    "a single array": (lambda p: p.write_bytes(npy(np.zeros(3))), "holds a single array"),
    "text": (lambda p: p.write_text("x,y\n1,2\n"), "not a readable .npz file"),
    "an empty file": (lambda p: p.write_bytes(b""), "not a readable .npz file"),
    "a huge label": (lambda p: written(p, y_train=npy(np.full(12, 10**15))), "y_train has the label 1000000000000000"),
    "a label beyond int64": (lambda p: written(p, y_test=npy(np.full(4, 2**64 - 1, np.uint64))), "has the label 1844"),
    "truths as labels": (lambda p: written(p, y_test=npy(np.ones(4, bool))), "y_test must be 4 whole numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_every_unusable_file_is_refused_in_one_line_before_a_run(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    path = tmp_path / "own.npz"
    make(path)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message) as caught:
            resolve(RunSpec(dataset=str(path), batch_size=4), NOWHERE)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_name_that_no_file_can_have() -> None:
    for name in ("a\0.npz", "a" * 5000 + ".npz"):
        with pytest.raises(SpecError, match=r"U\+0000|5004 characters"):
            resolve(RunSpec(dataset=name, batch_size=4), NOWHERE)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damage_never_reaches_a_user_as_another_error(tmp_path: Path, packing: int) -> None:
    path, draw = tmp_path / "own.npz", random.Random(3)
    written(path, packing)
    whole = path.read_bytes()
    for attempt in range(150):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content if attempt % 3 else content[: draw.randrange(len(content))])
        try:
            spec = resolve(RunSpec(dataset=str(path), batch_size=4), NOWHERE)
            load(spec, NOWHERE)
        except (DataError, SpecError) as error:
            said = str(error)
            assert "\n" not in said


def test_memory_that_does_not_suffice_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays())  # type: ignore[arg-type]
    spec = resolve(RunSpec(dataset=str(path), batch_size=4), NOWHERE)

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(np.lib.format, "read_array", full)
        with pytest.raises(DataError, match="the memory does not suffice"):
            load(spec, NOWHERE)
    monkeypatch.setattr("interplay.data.splits._statistics", full)
    with pytest.raises(DataError, match="the memory does not suffice"):
        load(spec, NOWHERE)


def test_fortran_and_foreign_byte_orders_are_read(tmp_path: Path) -> None:
    content = arrays()
    content["x_train"] = np.asfortranarray(content["x_train"])
    content["y_train"] = content["y_train"].astype(">i2")
    np.savez_compressed(tmp_path / "own.npz", **content)  # type: ignore[arg-type]
    x, y, _, _ = npz.read(tmp_path / "own.npz", npz.fingerprint(tmp_path / "own.npz"))
    assert np.array_equal(x, content["x_train"])
    assert y.tolist() == content["y_train"].tolist()


# -- what is settled before a run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test", "note"),
    [
        ([0, 1, 2], [2, 1], None),
        ([1, 2, 3], [1, 2], "4 classes, class 0 without an image (labels start at 1)"),
        ([0, 3, 5], [0], "6 classes, classes 1, 2, 4 without an image"),
        ([100, 101, 102], [101], "103 classes, 100 of them without an image (labels start at 100)"),
        ([0, 1], [0, 1, 2], "3 classes, class 2 without a training image"),
        ([0, 1], [0, 4], "5 classes, classes 2, 3 without an image, class 4 without a training image"),
    ],
)
def test_classes_without_an_image_are_told_in_one_line(train: list[int], test: list[int], note: str | None) -> None:
    assert empty_classes(np.array(train), np.array(test)) == note


def test_the_line_on_classes_comes_with_the_file(tmp_path: Path) -> None:
    content = arrays()
    content["y_train"], content["y_test"] = content["y_train"] + 1, content["y_test"] + 1
    np.savez(tmp_path / "own.npz", **content)  # type: ignore[arg-type]
    found = identify(str(tmp_path / "own.npz"), NOWHERE)
    assert found.note == "4 classes, class 0 without an image (labels start at 1)"
    assert (found.n_train, found.shape) == (12, (1, 4, 4))


@pytest.mark.parametrize("batch_size", [11, 1])
def test_a_last_batch_of_one_image_on_a_map_of_one_value_is_refused_with_all_numbers(
    tmp_path: Path, batch_size: int
) -> None:
    np.savez(tmp_path / "own.npz", **arrays())  # type: ignore[arg-type]
    spec = RunSpec(dataset=str(tmp_path / "own.npz"), model="cnn", batch_size=batch_size)
    with pytest.raises(SpecError, match=rf"batch_size {batch_size} .* 1 image \(12 training .* 4x4 into a map of 1x1"):
        resolve(spec, NOWHERE)
    assert resolve(spec.replace(model="mlp"), NOWHERE).fingerprint.startswith("npz:")
    assert resolve(spec.replace(batch_size=5), NOWHERE).fingerprint.startswith("npz:")


def test_built_in_data_are_held_to_the_same_rule() -> None:
    spec = RunSpec(dataset="digits", model="cnn", batch_size=64, train_limit=65)
    assert resolve(spec, NOWHERE) == spec
    with pytest.raises(SpecError, match=r"batch_size 64 .* \(65 training images\), and resnet18 turns images of 8x8"):
        resolve(spec.replace(model="resnet18"), NOWHERE)
    with pytest.raises(SpecError, match="63 training images"):
        resolve(spec.replace(model="resnet8_s2", train_limit=63, batch_size=62), NOWHERE)


def test_a_batch_that_a_file_cannot_fill_is_refused_before_a_study(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **arrays())  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="batch_size 13 is larger than the 12"):
        resolve(RunSpec(dataset=str(tmp_path / "own.npz"), batch_size=13), NOWHERE)
