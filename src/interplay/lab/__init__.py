"""The only composer: what the command line, the documented scripts and Python users call.

Importing it is cheap; torch is imported by the call that needs it.
"""

from interplay.lab.clusters import cancel
from interplay.lab.extending import Budget, extended, until_decided
from interplay.lab.plan import dry_run, forecast, overview, show_status
from interplay.lab.read import analyze, compare, plot, predict
from interplay.lab.report import report
from interplay.lab.run import (
    rebuild,
    retry,
    run,
    run_studies,
    run_study,
    summary,
    with_data,
)
from interplay.lab.settings import InterruptedRunError, RunFailedError, Settings

__all__ = [
    "Budget",
    "InterruptedRunError",
    "RunFailedError",
    "Settings",
    "analyze",
    "cancel",
    "compare",
    "dry_run",
    "extended",
    "forecast",
    "overview",
    "plot",
    "predict",
    "rebuild",
    "report",
    "retry",
    "run",
    "run_studies",
    "run_study",
    "show_status",
    "summary",
    "until_decided",
    "with_data",
]
