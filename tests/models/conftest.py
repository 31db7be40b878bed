from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="session")
def reference() -> Any:
    """The slow networks of ``public_reference.py``, which benchmarks run as well."""
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("public_reference.py"))))
