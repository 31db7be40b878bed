from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from interplay.data import cifar
from interplay.data.identity import identify, resolve
from interplay.data.splits import load
from interplay.data.unpickle import read_plain_pickle
from interplay.dataset_facts import DATASETS
from interplay.errors import DataError
from interplay.spec import RunSpec


def published() -> str:
    return cifar.published_fingerprint("cifar100")


def spec() -> RunSpec:
    return RunSpec(fingerprint=published(), batch_size=8)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_fingerprints_of_the_spec_are_those_of_the_published_checksums(name: str) -> None:
    assert DATASETS[name].fingerprint == cifar.published_fingerprint(name)


def test_reads_images_and_fine_labels(tiny_cifar100: Path) -> None:
    x, y, x_test, y_test = cifar.read("cifar100", tiny_cifar100, published())
    raw = pickle.loads((tiny_cifar100 / "cifar-100-python" / "train").read_bytes(), encoding="bytes")
    assert x.shape == (40, 3, 32, 32)
    assert x_test.shape == (20, 3, 32, 32)
    assert len(y_test) == 20
    assert np.array_equal(x[7, 1, 2], raw[b"data"][7, 1024 + 64 : 1024 + 96])
    assert y.tolist() == raw[b"fine_labels"]


def test_unpacks_an_archive_that_lies_in_the_data_folder(tiny_cifar100: Path, tmp_path: Path) -> None:
    shutil.rmtree(tiny_cifar100 / "cifar-100-python")
    shutil.copy(tmp_path / "packed" / "cifar-100-python.tar.gz", tiny_cifar100)
    assert len(load(spec(), tiny_cifar100).train) == 40


def test_an_archive_with_another_checksum_is_not_opened(tiny_cifar100: Path, tmp_path: Path) -> None:
    shutil.rmtree(tiny_cifar100 / "cifar-100-python")
    archive = tiny_cifar100 / "cifar-100-python.tar.gz"
    archive.write_bytes(b"not a tar file")
    expected = cifar.ARCHIVES["cifar100"].md5
    with pytest.raises(DataError, match=f"{archive} has md5 [0-9a-f]{{32}}, expected {expected}"):
        load(spec(), tiny_cifar100)
    assert not (tiny_cifar100 / "cifar-100-python").exists()


def test_a_truncated_file_is_refused_naming_file_and_both_checksums(tiny_cifar100: Path) -> None:
    path = tiny_cifar100 / "cifar-100-python" / "train"
    path.write_bytes(path.read_bytes()[:-10])
    wanted = cifar.ARCHIVES["cifar100"].train["train"]
    with pytest.raises(DataError, match=f"{path} has md5 [0-9a-f]{{32}}, expected {wanted}") as caught:
        load(spec(), tiny_cifar100)
    assert "--allow_modified_data" in str(caught.value)
    assert str(path.with_name("test")) not in str(caught.value)


def test_modified_data_are_accepted_when_asked_and_are_other_data(tiny_cifar100: Path) -> None:
    path = tiny_cifar100 / "cifar-100-python" / "train"
    content = pickle.loads(path.read_bytes(), encoding="bytes")
    content[b"data"][0, 0] ^= 1
    path.write_bytes(pickle.dumps(content, protocol=2))
    accepted = resolve(spec(), tiny_cifar100, allow_modified_data=True)
    assert accepted.fingerprint != published()
    assert accepted.run_id != spec().run_id
    assert load(accepted, tiny_cifar100).train.images[0, 0, 0, 0] == content[b"data"][0, 0]
    content[b"data"][0, 0] ^= 3
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match="is not the data of this run"):
        load(accepted, tiny_cifar100)


def test_unmodified_data_keep_the_published_fingerprint(tiny_cifar100: Path) -> None:
    assert resolve(spec(), tiny_cifar100, allow_modified_data=True) == spec()


class Planted:
    def __reduce__(self) -> object:
        return (os.system, ("touch planted",))


def test_a_planted_pickle_runs_nothing(tiny_cifar100: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tiny_cifar100 / "cifar-100-python" / "train"
    path.write_bytes(pickle.dumps({b"data": Planted(), b"fine_labels": []}, protocol=2))
    with pytest.raises(DataError, match="has md5"):
        load(spec(), tiny_cifar100)
    with pytest.raises(DataError, match=r"refused: it asks for (posix|nt|os)\.system"):
        resolve(spec(), tiny_cifar100, allow_modified_data=True)
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize(
    "payload",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\nscalar\n(tR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        pickle.dumps([1, 2]),
        b"\x80\x02garbage",
        b"",
    ],
)
def test_anything_but_arrays_and_containers_is_refused(payload: bytes) -> None:
    with pytest.raises(DataError, match="file was refused"):
        read_plain_pickle(payload, "file")


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickles_of_both_pythons_are_read(protocol: int) -> None:
    content = {b"data": np.arange(6, dtype=np.uint8).reshape(2, 3), b"labels": [1, 2], b"name": b"\xff"}
    found = read_plain_pickle(pickle.dumps(content, protocol=protocol), "file")
    assert np.array_equal(found[b"data"], content[b"data"])  # type: ignore[arg-type]
    assert found[b"labels"] == [1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1]}, "one label for each of 2 images"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1, 100]}, "not a number from 0 to 99"),
        ({b"data": np.zeros((2, 3071), np.uint8), b"fine_labels": [1, 2]}, "rows of 3072 pixels"),
        ({b"data": np.zeros((2, 3072)), b"fine_labels": [1, 2]}, "rows of 3072 pixels"),
        ({b"data": np.zeros((2, 3072), np.uint8)}, "'fine_labels' does not hold"),
    ],
)
def test_files_of_another_shape_are_refused(tiny_cifar100: Path, content: object, message: str) -> None:
    (tiny_cifar100 / "cifar-100-python" / "train").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=message):
        resolve(spec(), tiny_cifar100, allow_modified_data=True)


def test_an_unwritable_data_folder_says_where_the_files_belong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Put cifar-100-python\.tar\.gz"):
        cifar.locate("cifar100", tmp_path / "file" / "data")


@pytest.mark.real_data
def test_the_real_files_have_the_published_checksums(real_data: Path) -> None:
    x, y, x_test, _ = cifar.read("cifar100", real_data, published())
    assert x.shape == (50_000, 3, 32, 32)
    assert x_test.shape == (10_000, 3, 32, 32)
    assert np.bincount(y).tolist() == [500] * 100
    archive = cifar.ARCHIVES["cifar100"]
    assert np.allclose(x.mean(axis=(0, 2, 3)) / 255, archive.mean, atol=5e-4)
    assert np.allclose(x.std(axis=(0, 2, 3)) / 255, archive.std, atol=5e-4)


@pytest.mark.real_data
def test_cifar10_with_replaced_images_is_refused_or_accepted_as_other_data(real_data: Path) -> None:
    plain = RunSpec(dataset="cifar10")
    with pytest.raises(DataError, match=r"data_batch_1 has md5 0a016ffc\w+, expected c99cafc1"):
        load(plain, real_data)
    accepted = resolve(plain, real_data, allow_modified_data=True)
    assert accepted.run_id != plain.run_id
    found = load(accepted, real_data)
    assert found.train.labels.bincount().tolist() == [5000] * 10


@pytest.mark.parametrize("kind", ["a pipe", "a device", "too large", "a folder"])
def test_what_is_no_file_of_images_is_refused_before_it_is_read(tiny_cifar100: Path, kind: str) -> None:
    path = tiny_cifar100 / "cifar-100-python" / "train"
    path.unlink()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(cifar._LIMIT + 1)
    shutil.copy(tiny_cifar100.parent / "packed" / "cifar-100-python.tar.gz", tiny_cifar100)
    message = "may have 512 MiB" if kind == "too large" else "is a folder, a pipe or a device, not a file"
    with pytest.raises(DataError, match=message):
        resolve(spec(), tiny_cifar100, allow_modified_data=True)


def test_an_archive_that_is_packed_in_another_way_is_named(tiny_cifar100: Path) -> None:
    shutil.rmtree(tiny_cifar100 / "cifar-100-python")
    for content in (b"\xfd7zXZ\0" + bytes(100), b"BZh9" + bytes(100), b"\x1f\x8b\x08" + bytes(100), b""):
        (tiny_cifar100 / "cifar-100-python.tar.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"cifar-100-python\.tar\.gz cannot be unpacked"):
            resolve(spec(), tiny_cifar100, allow_modified_data=True)


def test_modified_data_of_a_few_classes_are_told(tiny_cifar100: Path) -> None:
    path = tiny_cifar100 / "cifar-100-python" / "train"
    content = pickle.loads(path.read_bytes(), encoding="bytes")
    content[b"fine_labels"] = [1] * 40
    path.write_bytes(pickle.dumps(content, protocol=2))
    found = identify("cifar100", tiny_cifar100, allow_modified_data=True)
    assert found.note is not None
    assert re.match(r"100 classes, \d\d of them without an image, \d+ of them without a training image$", found.note)
    assert found.n_train == 40
