"""From a spec to images on the device: training, validation and test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interplay import by_path
from interplay.data import arrays, cifar, npz
from interplay.data.cifar import Images, Labels
from interplay.dataset_facts import DATASETS
from interplay.errors import DataError
from interplay.spec import RunSpec


@dataclass(frozen=True)
class Split:
    """Images as raw uint8 [n, C, H, W] and labels as int64 [n], on one device.

    A table of F columns is float32 [n, F, 1, 1], standardised.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Splits:
    """The data of one run. ``mean`` and ``std`` are per channel, of pixels in [0, 1], shape [C]."""

    train: Split
    test: Split
    val: Split | None
    mean: Tensor
    std: Tensor
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Image shape (C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.train.images.device


def load(spec: RunSpec, data_dir: Path, device: torch.device | str = "cpu") -> Splits:
    """Load the data that ``spec`` names.

    One permutation of the training images, drawn from the seed, gives first the validation images, then the training
    images: a larger ``train_limit`` at the same seed contains the smaller one. Label noise is drawn for the whole
    training set before that, replaces a label by another class chosen evenly, and never touches validation or test.

    Raises:
        DataError: the data are absent, damaged, not those of ``spec.fingerprint`` or too many for the memory.
        SpecError: there are fewer images than the spec asks for.
    """
    try:
        return _load(spec, data_dir, device)
    except MemoryError:
        raise DataError(f"the data of {spec.dataset} cannot be loaded: the memory does not suffice") from None
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # what torch raises on a CPU
            raise
        raise DataError(f"the data of {spec.dataset} cannot be loaded: the memory does not suffice") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        raise DataError(f"the data of {spec.dataset} cannot be loaded: {type(error).__name__}: {error}") from error


def _load(spec: RunSpec, data_dir: Path, device: torch.device | str) -> Splits:
    x, y, x_test, y_test = _read(spec, data_dir)
    classes = int(max(y.max(), y_test.max())) + 1
    if spec.dataset in cifar.ARCHIVES:
        classes = cifar.ARCHIVES[spec.dataset].classes
    mean, std = _statistics(spec, x)
    noisy = noisy_labels(y, classes, spec)
    order = np.arange(len(x))
    limited = spec.training_images(len(x)) < len(x)
    if limited:
        order = torch.randperm(len(x), generator=_generator(spec, "subset")).numpy()
    held, kept = order[: spec.val_split], order[spec.val_split :][: spec.training_images(len(x))]

    def split(images: Images, labels: Labels) -> Split:
        return Split(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device))

    return Splits(
        train=split(x[kept], noisy[kept]) if limited else split(x, noisy),
        val=split(x[held], y[held]) if spec.val_split else None,
        test=split(x_test, y_test),
        mean=torch.tensor(mean, device=device),
        std=torch.tensor(std, device=device),
        classes=classes,
    )


def _read(spec: RunSpec, data_dir: Path) -> arrays.Arrays:
    x, y, x_test, y_test = _given(spec, data_dir)
    if x.dtype != np.uint8:
        x, x_test = arrays.standardised(x, x_test)
    return x, y, x_test, y_test


def _given(spec: RunSpec, data_dir: Path) -> arrays.Arrays:
    if spec.dataset in DATASETS:
        module, _, name = DATASETS[spec.dataset].reader.partition(":")
        read: Callable[[str, Path, str], arrays.Arrays] = getattr(import_module(module), name)
        return read(spec.dataset, data_dir, spec.fingerprint)
    if not spec.fingerprint:
        raise DataError(f"the spec of {spec.dataset} is not resolved: it has no fingerprint to check the file against")
    if spec.dataset in by_path.BY_PATH and not spec.dataset.endswith(".npz"):
        return arrays.read(spec.dataset, data_dir, spec.fingerprint)
    return npz.read(Path(spec.dataset), spec.fingerprint)


def _statistics(spec: RunSpec, images: Images) -> tuple[list[float], list[float]]:
    if spec.dataset in cifar.ARCHIVES:
        archive = cifar.ARCHIVES[spec.dataset]
        return list(archive.mean), list(archive.std)
    mean = images.mean(axis=(0, 2, 3)) / 255
    std = images.std(axis=(0, 2, 3)) / 255
    # A constant channel carries nothing; dividing it by 1 instead of 0 keeps it finite.
    return mean.tolist(), np.where(std > 0, std, 1.0).tolist()


def noisy_labels(labels: Labels, classes: int, spec: RunSpec) -> Labels:
    """``labels`` with the fraction ``spec.label_noise``, in whole images, moved to another class drawn evenly."""
    count = round(spec.label_noise * len(labels))
    if count == 0:
        return labels
    if classes < 2:
        raise DataError("label noise needs at least two classes")
    generator = _generator(spec, "label_noise")
    chosen = torch.randperm(len(labels), generator=generator)[:count].numpy()
    shift = torch.randint(1, classes, (count,), generator=generator).numpy()
    noisy = labels.copy()
    noisy[chosen] = (noisy[chosen] + shift) % classes
    return noisy


def _generator(spec: RunSpec, stream: str) -> torch.Generator:
    return torch.Generator().manual_seed(spec.stream(stream))
