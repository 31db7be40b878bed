"""scikit-learn's built-in handwritten digits: 1,797 images of 8x8 pixels that need no network."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from interplay.data.cifar import Images, Labels
from interplay.dataset_facts import DATASETS
from interplay.errors import DataError

_SPLIT_SEED = 0


def read_named(name: str, data_dir: Path, fingerprint: str) -> tuple[Images, Labels, Images, Labels]:
    """`read`, as data sets with a name are read: there is one, which lies in no folder."""
    return read()


@cache
def read() -> tuple[Images, Labels, Images, Labels]:
    """1,000 training and 797 test images (uint8 [n, 1, 8, 8]) with int64 labels, by one fixed permutation.

    The test set is large on purpose: at 90 % accuracy its sampling error is one point, which every verdict must beat.

    Raises:
        DataError: this scikit-learn brings other images than the ones the fingerprint stands for.
    """
    from sklearn.datasets import load_digits  # a second of import, needed by this dataset alone

    found = load_digits()
    images = (found.images * 15).astype(np.uint8)[:, None]  # 0..16 becomes 0..240
    labels = found.target.astype(np.int64)
    expected = DATASETS["digits"].fingerprint
    measured = "digits:" + hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]
    if measured != expected:
        raise DataError(f"scikit-learn's digits have fingerprint {measured}, expected {expected}")
    # RandomState and not a Generator: its stream is frozen (NEP 19), so the split is the same with every numpy.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(images))
    train, test = order[: DATASETS["digits"].n_train], order[DATASETS["digits"].n_train :]
    return images[train], labels[train], images[test], labels[test]
