"""Data by import path: arrays that a callable returns, or a dataset of torchvision or of Hugging Face.

``module:callable`` is called without arguments and returns x_train, y_train, x_test, y_test, as a tuple or a mapping.
``torchvision:NAME`` and ``hf:NAME`` are loaded by those libraries' own code. All are named by their content.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interplay import by_path
from interplay.data.cifar import Labels
from interplay.errors import DataError, InterplayError, nearest
from interplay.text import shown

KEYS = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3, 4)
MOST_CLASSES = 100_000
FEW_CLASSES = 20
"""So many classes are believed of labels that are written as fractions, however few rows there are."""

Arrays = tuple[NDArray[Any], Labels, NDArray[Any], Labels]
"""x and y of training, then of test. x is uint8 [n, C, H, W], or float32 [n, F, 1, 1] for a table of F columns."""


def read(name: str, data_dir: Path, expected: str = "") -> Arrays:
    """The arrays that ``name`` stands for.

    Args:
        name: ``module:callable``, ``torchvision:NAME`` or ``hf:NAME``.
        data_dir: where torchvision looks.
        expected: fingerprint that they must have; empty for any.

    Raises:
        DataError: they cannot be had, have another fingerprint, or are nothing that can be trained on.
    """
    found, fingerprint = _read(name, data_dir)
    if expected and fingerprint != expected:
        raise DataError(f"{name} has changed: fingerprint {fingerprint}, but the run was specified with {expected}")
    return found


def fingerprint(name: str, data_dir: Path) -> str:
    """Identity of the data by their content: ``arrays:`` and 16 hex digits. Raises `DataError` as `read` does."""
    return _read(name, data_dir)[1]


@lru_cache(maxsize=2)
def _read(name: str, data_dir: Path) -> tuple[Arrays, str]:
    library, _, word = name.partition(":")
    load = {"torchvision": _torchvision, "hf": _hugging_face}.get(library, _called)
    try:
        given = load(name if load is _called else word, data_dir)
        arrays = _checked(given)
    except InterplayError as error:
        raise DataError(f"data {name}: {error}") from error
    except MemoryError:
        raise DataError(f"data {name}: the memory does not suffice") from None
    except Exception as error:
        raise DataError(f"data {name}: {by_path.place(error)}") from error
    return arrays, _fingerprint(arrays)


def _fingerprint(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for key, array in zip(KEYS, arrays, strict=True):
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        plain: Any = np.ascontiguousarray(array)
        digest.update(plain)
    return f"arrays:{digest.hexdigest()[:16]}"


# -- where they come from ---------------------------------------------------------------------------------------------


def _called(name: str, data_dir: Path) -> Any:
    module, _, attribute = name.partition(":")
    by_path.use(Path.cwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise DataError(f"no module {module} in {', '.join(by_path.folders())} or among the installed") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            known = [each for each in vars(found) if not each.startswith("_")] if hasattr(found, "__dict__") else []
            raise DataError(f"module {module} has no {attribute}" + (f"; {nearest(part, known)}" if known else ""))
        found = getattr(found, part)
    return found() if callable(found) else found


def _library(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise DataError(f"needs {package}: pip install {package}") from None


def _torchvision(name: str, data_dir: Path) -> Any:
    datasets = _library("torchvision.datasets", "torchvision")
    kind: Any = getattr(datasets, name, None)
    if not isinstance(kind, type):
        raise DataError(f"torchvision.datasets has no {name}; {nearest(name, datasets.__all__)}")
    make: Any = kind
    takes = inspect.signature(make).parameters
    if "train" in takes:
        parts: Sequence[Mapping[str, Any]] = ({"train": True}, {"train": False})
    elif "split" in takes:
        parts = ({"split": "train"}, {"split": "test"})
    else:
        raise DataError("it has no training and test part that torchvision tells apart; return arrays from a callable")
    found: list[NDArray[Any]] = []
    for part in parts:
        try:
            dataset: Any = make(str(data_dir), **part, **({"download": False} if "download" in takes else {}))
        except (RuntimeError, OSError) as error:
            words = next(iter(str(error).splitlines()), "")
            raise DataError(
                f"{words} Fetch it once: python -c \"from torchvision.datasets import {name} as D; D('{data_dir}', "
                'download=True)"'
            ) from error
        found += _whole(dataset)
    return found


def _whole(dataset: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """All images and labels of a dataset of torchvision: at once where it has them in memory."""
    images = getattr(dataset, "data", None)
    labels = getattr(dataset, "targets", getattr(dataset, "labels", None))
    if images is None or labels is None or np.asarray(images).dtype != np.uint8:
        pairs = [(np.asarray(image), label) for image, label in dataset]
        images, labels = _stacked([image for image, _ in pairs]), [label for _, label in pairs]
    return np.asarray(images), np.asarray(labels)


def _stacked(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        few = " and ".join(map(str, sorted(sizes)[:2]))
        raise DataError(f"its images have several sizes, such as {few}; resize them in a callable of your own")
    return np.stack(images)


def _hugging_face(name: str, data_dir: Path) -> Any:
    library = _library("datasets", "datasets")
    place, _, config = name.partition(":")
    try:
        found = library.load_from_disk(place) if Path(place).is_dir() else library.load_dataset(place, config or None)
    except Exception as error:  # whatever its many back ends raise where they find nothing
        words = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DataError(f"{words:.300}") from error
    train = found.get("train") if isinstance(found, Mapping) else None
    test = next((found[each] for each in ("test", "validation", "valid", "val") if train and each in found), None)
    if train is None or test is None:
        has = ", ".join(found) if isinstance(found, Mapping) else "one part"
        raise DataError(f"it must have a part train and a part test (or validation), and has {has}")
    return [*_columns(train, library), *_columns(test, library)]


def _columns(part: Any, library: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    features = dict(part.features)
    named = ("label", "labels", "fine_label", "target", "class", "y")
    classes = [name for name, kind in features.items() if isinstance(kind, library.ClassLabel)]
    label = next((each for each in (*named, *classes) if each in features), None)
    if label is None:
        raise DataError(f"none of its columns is a label: {', '.join(features)}")
    image = next((name for name, kind in features.items() if isinstance(kind, library.Image)), None)
    if image is not None:
        return _stacked([np.asarray(each) for each in part[image]]), np.asarray(part[label])
    numbers = [name for name in features if name != label and np.asarray(part[name][:1]).dtype.kind in "fiub"]
    if not numbers:
        raise DataError(f"none of its columns holds images or numbers: {', '.join(features)}")
    return np.column_stack([np.asarray(part[name], dtype=np.float64) for name in numbers]), np.asarray(part[label])


# -- what they must be ------------------------------------------------------------------------------------------------


def _checked(given: Any) -> Arrays:
    if isinstance(given, Mapping):
        if missing := [key for key in KEYS if key not in given]:
            raise DataError(f"it returned no {', '.join(missing)}; it must return {', '.join(KEYS)}")
        given = [given[key] for key in KEYS]
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != len(KEYS):
        what = f"{len(given)} things" if isinstance(given, Sequence) else f"a {type(given).__name__}"
        raise DataError(f"it returned {what}; it must return {', '.join(KEYS)}")
    x, y, x_test, y_test = (np.asarray(each) for each in given)
    train, test = _inputs(x, "x_train"), _inputs(x_test, "x_test")
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise DataError(f"x_train has rows of {train.shape[1:]} {train.dtype}, x_test of {test.shape[1:]} {test.dtype}")
    return train, labels_of(y, "y_train", len(train)), test, labels_of(y_test, "y_test", len(test))


def _inputs(array: NDArray[Any], key: str) -> NDArray[Any]:
    if 0 in array.shape:
        raise DataError(f"{key} is empty: shape {array.shape}")
    if array.ndim == 2:
        return table(array, key)
    if array.dtype != np.uint8:
        raise DataError(
            f"{key} is {array.dtype} of shape {array.shape}: images are uint8 [n, C, H, W], [n, H, W, C] or [n, H, W], "
            "a table has shape [n, columns]"
        )
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or not {array.shape[1], array.shape[3]} & set(CHANNELS):
        raise DataError(f"{key} has shape {array.shape}: no axis of 1, 3 or 4 channels")
    return np.ascontiguousarray(array if array.shape[1] in CHANNELS else array.transpose(0, 3, 1, 2))


def table(array: NDArray[Any], key: str) -> NDArray[np.float64]:
    """Rows of numbers, one channel a column: float64 [n, F, 1, 1].

    Raises:
        DataError: what is no number, or not finite; names the column.
    """
    if array.dtype.kind not in "fiub":
        raise DataError(f"{key} holds {array.dtype}, not numbers; encode words as columns of numbers")
    found = array.astype(np.float64)
    bad = ~np.isfinite(found)
    if bad.any():
        column = int(bad.any(axis=0).argmax())
        raise DataError(f"{key} has {int(bad.sum())} values that are not finite, the first in column {column}")
    return found[:, :, None, None]


def standardised(train: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Columns of a table with the mean 0 and the standard deviation 1 of the training rows, as float32.

    A constant column carries nothing and is divided by 1. Both are [n, F, 1, 1].
    """
    mean, std = train.mean(axis=0), train.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    return ((train - mean) / std).astype(np.float32), ((test - mean) / std).astype(np.float32)


def labels_of(array: NDArray[Any], key: str, n: int) -> Labels:
    """Labels as int64 [n].

    Raises:
        DataError: they do not count classes from 0.
    """
    if array.shape == (n, 1):
        array = array[:, 0]
    if array.shape != (n,):
        raise DataError(f"{key} has shape {array.shape}, not ({n},)")
    if array.dtype.kind not in "fiub":
        raise DataError(f"{key} holds {array.dtype}, such as {shown(array[0])}: number the classes from 0")
    if array.dtype.kind == "f":
        fractions = array[~(np.isfinite(array) & (array == np.round(array)))]
        several = len(np.unique(array))
        if len(fractions) or several > max(FEW_CLASSES, n // 5):
            what = f"such as {fractions[0]:g}" if len(fractions) else f"{several} different ones in {n} rows"
            raise DataError(
                f"{key} holds numbers, {what}, not classes: networks of this lab tell classes apart; for regression "
                "run your own script (docs/own-script.md)"
            )
    if (least := array.min()) < 0:
        raise DataError(f"{key} has negative labels, such as {least:g}")
    if (most := array.max()) >= MOST_CLASSES:
        raise DataError(f"{key} has the label {most:g}; labels count classes from 0, and there may be {MOST_CLASSES}")
    return array.astype(np.int64)
