"""A laboratory for trials, for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trial_lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """An empty store, and attempts in it."""
    return Lab(tmp_path)
