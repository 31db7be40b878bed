from __future__ import annotations

from pathlib import Path

import pytest

from interplay.data.splits import Splits, load
from interplay.spec import RunSpec


@pytest.fixture(scope="session")
def digits_spec() -> RunSpec:
    """A run of a second: the MLP on noisy digits."""
    return RunSpec(
        dataset="digits", model="mlp", label_noise=0.2, epochs=6, batch_size=64, val_split=100, precision="fp32"
    )


@pytest.fixture(scope="session")
def digits(digits_spec: RunSpec) -> Splits:
    return load(digits_spec, Path("/nonexistent"))
