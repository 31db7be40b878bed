"""Which data a spec means: settled before anything is planned, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from interplay import by_path
from interplay.data import arrays, cifar, npz
from interplay.data.cifar import Labels
from interplay.dataset_facts import DATASETS
from interplay.errors import SpecError
from interplay.spec import RunSpec


@dataclass(frozen=True)
class Identity:
    """What is known of data before a run: enough to refuse what cannot be trained on them."""

    fingerprint: str
    n_train: int
    shape: tuple[int, int, int]
    """Of an image: C, H, W."""
    classes: int
    note: str | None = None
    """What a user may not know of the labels, in one line."""
    table: bool = False
    """Whether rows of numbers take the place of images."""

    def settle(self, spec: RunSpec) -> RunSpec:
        """``spec`` with the fingerprint, and with that of a network by import path.

        Raises:
            SpecError: a batch that these data cannot fill or normalise, no such network, or one that takes no table.
        """
        if self.table and spec.model != "mlp" and spec.model not in by_path.BY_PATH:
            raise SpecError(
                f"{spec.dataset} is a table of {self.shape[0]} columns, and {spec.model} is for images; take the model "
                "mlp, or your own by import path"
            )
        if self.table and spec.augment != "none":
            raise SpecError(f"{spec.dataset} is a table: augment {spec.augment} is for images")
        spec.check_data(self.n_train, self.shape)
        if spec.model in by_path.BY_PATH:
            spec = spec.replace(model_code=by_path.fingerprint(spec.model))
        return spec.replace(fingerprint=self.fingerprint)


def identify(dataset: str, data_dir: Path, *, allow_modified_data: bool = False) -> Identity:
    """The data named ``dataset``.

    Built-in datasets have their published fingerprint, and loading will refuse anything else; with
    ``allow_modified_data`` the files in ``data_dir`` are hashed and read.

    Raises:
        DataError: the files must be read and are absent or unusable.
    """
    facts = DATASETS.get(dataset)
    if facts is None and dataset in by_path.BY_PATH and not dataset.endswith(".npz"):
        return _by_path(dataset, data_dir)
    if facts is None:
        return _own(Path(dataset), npz.fingerprint(Path(dataset)))
    if allow_modified_data and dataset in cifar.ARCHIVES:
        found = cifar.measured_fingerprint(dataset, data_dir)
        if found != facts.fingerprint:
            return _modified(dataset, data_dir, found)
    return Identity(facts.fingerprint, facts.n_train, facts.shape, facts.classes)


def resolve(spec: RunSpec, data_dir: Path, *, allow_modified_data: bool = False) -> RunSpec:
    """``spec`` with the fingerprint of its data, see `identify`.

    Raises:
        DataError: the files must be read and are absent or unusable.
        SpecError: the last batch of an epoch has one image where batch normalisation needs two values, or the data have
            fewer images than the spec asks for.
    """
    return identify(spec.dataset, data_dir, allow_modified_data=allow_modified_data).settle(spec)


@lru_cache(maxsize=32)
def _own(path: Path, fingerprint: str) -> Identity:
    found = npz.contents(path)
    classes = int(max(found.y_train.max(), found.y_test.max())) + 1
    note = empty_classes(found.y_train, found.y_test)
    return Identity(fingerprint, len(found.y_train), found.shape, classes, note, found.table)


def _by_path(name: str, data_dir: Path) -> Identity:
    x_train, y_train, _, y_test = arrays.read(name, data_dir)
    channels, height, width = x_train.shape[1:]
    classes = int(max(y_train.max(), y_test.max())) + 1
    note, table = empty_classes(y_train, y_test), x_train.dtype != np.uint8
    found = arrays.fingerprint(name, data_dir)
    return Identity(found, len(y_train), (channels, height, width), classes, note, table)


@lru_cache(maxsize=4)
def _modified(name: str, data_dir: Path, fingerprint: str) -> Identity:
    images, labels, _, y_test = cifar.read(name, data_dir, fingerprint)
    channels, height, width = images.shape[1:]
    classes = cifar.ARCHIVES[name].classes
    note = empty_classes(labels, y_test, classes)
    return Identity(fingerprint, len(labels), (channels, height, width), classes, note)


def empty_classes(y_train: Labels, y_test: Labels, classes: int | None = None) -> str | None:
    """One line on the classes that no training image has; ``None`` if there is none.

    Args:
        y_train, y_test: whole numbers from 0.
        classes: how many there are; by default the largest label plus one.
    """
    least = int(min(y_train.min(), y_test.min()))
    classes = classes or int(max(y_train.max(), y_test.max())) + 1
    trained = np.bincount(y_train, minlength=classes) > 0
    tested = np.bincount(y_test, minlength=classes) > 0
    parts = []
    for where, kind in ((~trained & ~tested, "an image"), (~trained & tested, "a training image")):
        absent = np.flatnonzero(where).tolist()
        if len(absent) == 1:
            parts.append(f"class {absent[0]} without {kind}")
        elif 1 < len(absent) <= 5:
            parts.append(f"classes {', '.join(map(str, absent))} without {kind}")
        elif absent:
            parts.append(f"{len(absent)} of them without {kind}")
    if not parts:
        return None
    begins = f" (labels start at {least})" if least > 0 else ""
    return f"{classes} classes, {', '.join(parts)}{begins}"
