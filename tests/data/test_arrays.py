"""Data by import path: what a callable, torchvision or Hugging Face give, and what is refused with which words."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interplay import by_path
from interplay.cli.main import main
from interplay.data import arrays
from interplay.data.batches import normalise
from interplay.data.identity import identify, resolve
from interplay.data.splits import load
from interplay.errors import DataError, SpecError
from interplay.spec import RunSpec
from interplay.store.store import Store

Write = Callable[[str], str]
NUMBERS = itertools.count()
LIBRARIES: list[torch.library.Library] = []

IMAGES = """
import numpy as np
def make():
    x = np.random.default_rng(0).integers(0, 255, (30, 6, 5, 3)).astype(np.uint8)
    return x[:20], np.arange(20) % 3, x[20:], np.arange(10) % 3
"""
TABLE = """
import numpy as np
def make():
    draw = np.random.default_rng(0)
    x = 1e6 + draw.normal(size=(400, 7)) * [1, 10, 0.1, 1, 1, 1, 0]
    y = (x[:, 0] > 1e6).astype(float)
    return {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module into the folder in which the test is, and returns its name: another one each time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(by_path, "_folders", [])
    monkeypatch.setattr(sys, "path", list(sys.path))

    def to(text: str) -> str:
        name = f"mine{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return to


def test_images_of_a_callable(write: Write, tmp_path: Path) -> None:
    name = f"{write(IMAGES)}:make"
    found = identify(name, tmp_path)
    assert (found.shape, found.n_train, found.classes, found.table) == ((3, 6, 5), 20, 3, False)
    spec = resolve(RunSpec(dataset=name, model="cnn", batch_size=8), tmp_path)
    splits = load(spec, tmp_path)
    assert splits.train.images.dtype == torch.uint8
    assert splits.shape == (3, 6, 5)
    assert len(splits.test) == 10


def test_the_same_arrays_are_the_same_run_wherever_they_are_from(write: Write, tmp_path: Path) -> None:
    first, second = (f"{write(text)}:make" for text in (IMAGES, f"{IMAGES}\nother = 1"))
    changed = f"{write(IMAGES.replace('rng(0)', 'rng(1)'))}:make"
    specs = [resolve(RunSpec(dataset=name, model="mlp", batch_size=8), tmp_path) for name in (first, second, changed)]
    assert specs[0].run_id == specs[1].run_id
    assert specs[0].run_id != specs[2].run_id
    stale = specs[0].replace(dataset=changed, fingerprint=specs[0].fingerprint)
    with pytest.raises(DataError, match="has changed: fingerprint arrays:"):
        load(stale, tmp_path)


def test_a_table_is_standardised_column_by_column(write: Write, tmp_path: Path) -> None:
    name = f"{write(TABLE)}:make"
    found = identify(name, tmp_path)
    assert (found.shape, found.classes, found.table) == ((7, 1, 1), 2, True)
    splits = load(resolve(RunSpec(dataset=name, model="mlp", batch_size=50), tmp_path), tmp_path)
    rows = normalise(splits.train.images, splits.mean, splits.std)
    assert rows.shape == (300, 7, 1, 1)
    assert torch.allclose(rows.mean(dim=0), torch.zeros(7, 1, 1), atol=1e-5)
    assert torch.allclose(rows.std(dim=0, correction=0)[:6], torch.ones(6, 1, 1), atol=1e-5)
    assert (rows[:, 6] == 0).all()  # a constant column
    assert splits.train.labels.dtype == torch.int64


def test_a_table_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    x = np.random.default_rng(0).normal(size=(30, 4))
    np.savez(path, x_train=x[:20], y_train=np.arange(20) % 2, x_test=x[20:], y_test=np.arange(10) % 2)
    found = identify(str(path), tmp_path)
    assert (found.shape, found.table) == ((4, 1, 1), True)
    assert load(resolve(RunSpec(dataset=str(path), model="mlp", batch_size=5), tmp_path), tmp_path).shape == (4, 1, 1)
    x[3, 2] = np.nan
    np.savez(path, x_train=x[:20], y_train=np.arange(20) % 2, x_test=x[20:], y_test=np.arange(10) % 2)
    with pytest.raises(DataError, match=r"table.npz: x_train has 1 values that are not finite, the first in column 2"):
        load(resolve(RunSpec(dataset=str(path), model="mlp", batch_size=5), tmp_path), tmp_path)


def test_a_table_trains_in_workers_and_is_learnt(write: Write, tmp_path: Path) -> None:
    name = write(TABLE)
    (tmp_path / "study.toml").write_text(
        f'[base]\ndataset = "{name}:make"\nmodel = "mlp"\nepochs = 8\nbatch_size = 32\nmomentum = 0.9\n'
        "weight_decay = 0.0\n[[grid]]\nlr = [0.03, 0.1]\n"
    )
    assert main(["study", "study.toml", "--workers", "2"]) == 0
    records = list(Store(tmp_path / "outputs").records())
    assert len(records) == 2
    assert all((record.final_test_acc or 0) > 85 for record in records)
    assert {record.spec.dataset for record in records} == {f"{name}:make"}


@pytest.mark.parametrize("model", ["resnet18", "cnn"])
def test_networks_for_images_refuse_a_table(write: Write, tmp_path: Path, model: str) -> None:
    with pytest.raises(SpecError, match=f"is a table of 7 columns, and {model} is for images; take the model mlp"):
        resolve(RunSpec(dataset=f"{write(TABLE)}:make", model=model, batch_size=10), tmp_path)
    with pytest.raises(SpecError, match="augment flip is for images"):
        resolve(RunSpec(dataset=f"{write(TABLE)}:make", model="mlp", batch_size=10, augment="flip"), tmp_path)


OTHER = "import numpy as np\nn = np.arange(40)\nx = np.ones((40, 3))\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no make"),
        ("def mak(): pass", "did you mean 'mak'"),
        ("import nothing_such", r"No module named 'nothing_such'"),
        ("def make():\n    return 1 / 0", r"mine\d+.py, line 2: ZeroDivisionError"),
        ("def make(path): pass", "missing 1 required positional argument"),
        ("def make(): return 3", "it returned a int; it must return x_train, y_train, x_test, y_test"),
        ("def make(): return 3, 4", "it returned 2 things"),
        ("def make(): return {'x_train': 1, 'y_train': 2}", "it returned no x_test, y_test"),
        (f"{OTHER}make = lambda: (x, n / 7, x, n / 7)", "such as 0.142857, not classes.* for regression run your own"),
        (f"{OTHER}make = lambda: (x, n * 1.0, x, n * 1.0)", "40 different ones in 40 rows, not classes"),
        (f"{OTHER}make = lambda: (x, n - 1, x, n)", "y_train has negative labels, such as -1"),
        (f"{OTHER}make = lambda: (x, n.astype(str), x, n)", "number the classes from 0"),
        (f"{OTHER}make = lambda: (x, np.eye(40), x, n)", r"y_train has shape \(40, 40\), not \(40,\)"),
        (f"{OTHER}make = lambda: (x.astype(str), n, x, n)", "x_train holds <U32, not numbers"),
        (f"{OTHER}make = lambda: (x, n, x[:, :2], n)", r"x_train has rows of \(3, 1, 1\)"),
        (f"{OTHER}make = lambda: (x[:0], n[:0], x, n)", "x_train is empty"),
        (f"{OTHER}make = lambda: (x[:, None], n, x, n)", "images are uint8"),
        (f"{OTHER}make = lambda: (np.zeros((40, 2, 5, 5), np.uint8), n, x, n)", "no axis of 1, 3 or 4 channels"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_the_reason(
    write: Write, tmp_path: Path, text: str, words: str
) -> None:
    name = write(text)
    with pytest.raises(DataError, match=words) as error:
        identify(f"{name}:make", tmp_path)
    assert str(error.value).startswith(f"data {name}:make: ")


def test_a_module_that_is_not_there_is_named(write: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no module nothing_such in"):
        identify("nothing_such:make", tmp_path)
    with pytest.raises(SpecError, match="or module:callable"):
        RunSpec(dataset="nothing")


# -- the libraries, in their own form ---------------------------------------------------------------------------------


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Datasets in the form of torchvision's: in memory, one by one, by part, and not there."""

    class InMemory:
        def __init__(self, root: str, train: bool = True, transform: Any = None, download: bool = False) -> None:
            if not download and "absent" in root:
                raise RuntimeError("Dataset not found.\nYou can use download=True to download it")
            self.data = torch.full((6 if train else 4, 5, 5), 7, dtype=torch.uint8)
            self.targets = torch.arange(6 if train else 4) % 2

    class OneByOne:
        def __init__(self, root: str, split: str = "train") -> None:
            self.sizes = [5, 5, 6] if root.endswith("uneven") else [5, 5, 5]

        def __iter__(self) -> Any:
            return iter([(np.zeros((size, 5, 3), np.uint8), number) for number, size in enumerate(self.sizes)])

    package, module = types.ModuleType("torchvision"), types.ModuleType("torchvision.datasets")
    module.__dict__.update(InMemory=InMemory, OneByOne=OneByOne, __all__=["InMemory", "OneByOne"])
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    return module


@pytest.mark.usefixtures("torchvision")
def test_datasets_of_torchvision(tmp_path: Path) -> None:
    found = identify("torchvision:InMemory", tmp_path)
    assert (found.shape, found.n_train, found.classes) == ((1, 5, 5), 6, 2)
    assert identify("torchvision:OneByOne", tmp_path).shape == (3, 5, 5)
    with pytest.raises(DataError, match=r"Dataset not found\. Fetch it once: python -c .*InMemory"):
        identify("torchvision:InMemory", tmp_path / "absent")
    with pytest.raises(DataError, match=r"several sizes, such as \(5, 5, 3\) and \(6, 5, 3\)"):
        identify("torchvision:OneByOne", tmp_path / "uneven")
    with pytest.raises(DataError, match="has no InMemroy; did you mean 'InMemory'"):
        identify("torchvision:InMemroy", tmp_path)


def test_a_dataset_of_the_real_torchvision(tmp_path: Path) -> None:
    """MNIST in its own files, which the library finds and reads."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is an optional package and is not installed")
    if not hasattr(torch.ops.torchvision, "nms"):  # beside a CPU build of torch its operators are not registered
        LIBRARIES.append(torch.library.Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            LIBRARIES[0].define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    with pytest.raises(DataError, match="Fetch it once"):
        identify("torchvision:MNIST", tmp_path)
    for part, n in (("train", 30), ("t10k", 20)):
        pixels = (np.arange(n * 28 * 28) % 251).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">HBBIII", 0, 8, 3, n, 28, 28) + pixels.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, n) + labels.tobytes())
    found = identify("torchvision:MNIST", tmp_path)
    assert (found.shape, found.n_train, found.classes) == ((1, 28, 28), 30, 10)


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.datasets", "datasets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    arrays._read.cache_clear()
    with pytest.raises(DataError, match="needs torchvision: pip install torchvision"):
        identify("torchvision:MNIST", tmp_path)
    with pytest.raises(DataError, match="needs datasets: pip install datasets"):
        identify("hf:mnist", tmp_path)


def test_a_dataset_of_hugging_face_on_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install datasets")
    columns = {"a": [1.0, 2.0, 3.0, 4.0], "words": list("abcd"), "b": [1, 2, 3, 5], "label": [0, 1, 0, 1]}
    part = datasets.Dataset.from_dict(columns)
    datasets.DatasetDict(train=part, test=part).save_to_disk(str(tmp_path / "table"))
    x, y, _, _ = arrays.read(f"hf:{tmp_path / 'table'}", tmp_path)
    assert x[:, :, 0, 0].tolist() == [[1, 1], [2, 2], [3, 3], [4, 5]]
    assert y.tolist() == [0, 1, 0, 1]
    pictures = [np.full((5, 6, 3), n, np.uint8) for n in range(4)]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["x", "y"]))
    part = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 0, 1]}, features=features)
    datasets.DatasetDict(train=part, validation=part).save_to_disk(str(tmp_path / "pictures"))
    x, y, _, _ = arrays.read(f"hf:{tmp_path / 'pictures'}", tmp_path)
    assert (x.shape, x.dtype, int(x[2].max())) == ((4, 3, 5, 6), np.dtype(np.uint8), 2)
    datasets.DatasetDict(train=part).save_to_disk(str(tmp_path / "half"))
    with pytest.raises(DataError, match="must have a part train and a part test"):
        arrays.read(f"hf:{tmp_path / 'half'}", tmp_path)
