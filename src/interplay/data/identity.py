"""Which data a spec means: settled before anything is planned, without torch."""

from __future__ import annotations

from pathlib import Path

from interplay.data import cifar, npz
from interplay.spec import DATASETS, RunSpec


def resolve(spec: RunSpec, data_dir: Path, *, allow_modified_data: bool = False) -> RunSpec:
    """``spec`` with the fingerprint of its data.

    Built-in datasets have their published fingerprint, and loading will refuse anything else; with
    ``allow_modified_data`` the files in ``data_dir`` are hashed and the spec becomes one of *those* data.

    Raises:
        DataError: the files must be read and are absent.
    """
    if spec.dataset not in DATASETS:
        return spec.replace(fingerprint=npz.fingerprint(Path(spec.dataset)))
    if allow_modified_data and spec.dataset in cifar.ARCHIVES:
        return spec.replace(fingerprint=cifar.measured_fingerprint(spec.dataset, data_dir))
    return spec
