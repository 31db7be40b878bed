"""What `import interplay` offers, as functions that return values and print nothing.

Progress and notes go to the logger "interplay"; of these a user who has configured nothing sees warnings only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.analysis.analyze import analyze as engine
from interplay.analysis.conclude import Analysis
from interplay.analysis.observations import Observations, from_records
from interplay.lab import read
from interplay.lab import run as lab_run
from interplay.lab.results import StudyResult, Table
from interplay.lab.settings import Settings
from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.study.claims import Claim, known_claims
from interplay.study.files import load
from interplay.study.study import Study

if TYPE_CHECKING:
    from interplay.lab.report import Written

Source = str | Path | Observations | StudyResult
"""Where measurements come from: an output folder, a table in a file, one that was loaded, or the result of a study."""


def run(spec: RunSpec, settings: Settings | None = None, **options: Any) -> RunRecord:
    """Train one network and return its record; a run that is in the store already is not repeated.

    Args:
        spec: what is trained.
        settings: where and how.
        options: single settings, such as ``output_dir="outputs"``; they go before ``settings``.

    Raises:
        InterplayError: data absent or refused, a device that is not there, an interruption, a failure.
    """
    return lab_run.run(spec, _settings(settings, options))


def run_study(study: Study | str | Path, settings: Settings | None = None, **options: Any) -> StudyResult:
    """Run what is missing of a study and return what came of it.

    Args:
        study: a study, the path of its file, or the name of a documented set.
        settings: where and how.
        options: single settings, such as ``executor="inline"``; they go before ``settings``.

    Raises:
        InterruptedRunError: stopped by a signal; the same call goes on.
        RunFailedError: some runs failed; the message names them.
    """
    return lab_run.run_study(study if isinstance(study, Study) else load(str(study)), _settings(settings, options))


def _settings(settings: Settings | None, options: dict[str, Any]) -> Settings:
    return dataclasses.replace(settings or Settings(), **options)


def load_table(path: str | Path, metric: str = "final_test_acc") -> Table:
    """The measurements in a table of runs, such as a results.csv or an export of another tool.

    Args:
        path: the file.
        metric: the column that holds the result.

    Raises:
        UnreadableError: the file cannot be read.
        InputError: it cannot be understood; names the line.
    """
    return Table.of(read.observations([path], metric))


def analyze(
    measured: Source | Sequence[Source] | Iterable[RunRecord],
    metric: str = "final_test_acc",
    claims: Sequence[str | Claim] = (),
) -> Analysis:
    """What measurements support: noise, optima and verdicts with intervals.

    Args:
        measured: output folders, tables and results of studies, several as repetitions; or records of runs.
        metric: column to analyse. Accuracies are maximised, losses minimised. A loaded table has its own.
        claims: those to be judged first, besides what the studies in the folders state.

    Raises:
        InputError: an input cannot be understood.
        SpecError: no such metric, or a claim that is not known.
    """
    parts = [measured] if isinstance(measured, str | Path | Observations | StudyResult) else list(measured)
    if all(isinstance(part, str | Path) for part in parts) and parts:
        return read.analyze([part for part in parts if isinstance(part, str | Path)], metric, claims)
    records = tuple(part for part in parts if isinstance(part, RunRecord))
    found = [from_records(records, metric)] if records or not parts else []
    own = list(known_claims(tuple(claims)))
    for part in parts:
        if isinstance(part, StudyResult):
            found.append(from_records(part.runs, metric, part.study.name if len(parts) > 1 else None))
            own += [claim for claim in part.study.claims if claim not in own]
        elif isinstance(part, Observations):
            found.append(part)
        elif isinstance(part, str | Path):
            found += read.observations([part], metric)
    return engine(found, own=tuple(own))


def report(
    measured: str | Path | StudyResult | Sequence[str | Path | StudyResult],
    output: str | Path | None = None,
    metric: str = "final_test_acc",
    *,
    claims: Sequence[str | Claim] = (),
    figures: bool = True,
) -> Written:
    """Write one HTML page that opens without a network, and the documented figures.

    Args:
        measured: output folders, tables in files, and results of studies, whose whole folder is taken.
        output: the page; by default ``report.html`` in the first output folder.
        metric: column to analyse.
        claims: those that come first, besides what the studies in the folders state.
        figures: also draw the PNG files, into ``plots`` of that folder.

    Raises:
        InputError: an input cannot be understood.
        SpecError: a claim that is not known.
    """
    from interplay.lab.report import report as write_report  # scipy

    parts = [measured] if isinstance(measured, str | Path | StudyResult) else list(measured)
    inputs = [part.store.root if isinstance(part, StudyResult) else part for part in parts]
    return write_report(inputs, None if output is None else Path(output), metric, claims=claims, figures=figures)
