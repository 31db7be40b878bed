"""Measure how learning rate, weight decay, batch size, momentum and schedule act together.

Importing this is cheap: torch, scipy and pandas are imported by the call that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interplay.facade import analyze, load_table, report, run, run_study
    from interplay.lab.settings import Settings
    from interplay.record import EpochMetrics, RunRecord, Status
    from interplay.spec import RunSpec
    from interplay.study.claims import Claim
    from interplay.study.study import Study

__version__ = "0.1.0"
__all__ = [
    "Claim",
    "EpochMetrics",
    "RunRecord",
    "RunSpec",
    "Settings",
    "Status",
    "Study",
    "__version__",
    "analyze",
    "load_table",
    "report",
    "run",
    "run_study",
]

_PLACES = {
    "facade": ("analyze", "load_table", "report", "run", "run_study"),
    "lab.settings": ("Settings",),
    "record": ("EpochMetrics", "RunRecord", "Status"),
    "spec": ("RunSpec",),
    "study.claims": ("Claim",),
    "study.study": ("Study",),
}


def __getattr__(name: str) -> Any:
    """The names of the facade, each from its module at the first use."""
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"interplay.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
