"""What a page shows of output folders and tables: the rows of its runs, and the observations behind the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.errors import SchemaError
from interplay.record import METRICS, RunRecord
from interplay.spec import RunSpec
from interplay.store.claims import claim_of
from interplay.store.store import Store

if TYPE_CHECKING:
    from interplay.analysis.observations import Observations
    from interplay.report.page import Run

TABLE_NAMES = {"wd": "weight_decay", "schedule": "schedule", "model": "model", "dataset": "dataset", "method": "method"}
NUMBERS = ("lr", "wd", "momentum", "batch_size", "epochs", "seed", "wall_seconds", *METRICS)


def gather(inputs: Sequence[str | Path], metric: str) -> tuple[list[Observations], list[Run]]:
    """Observations and rows of all ``inputs``; one that holds nothing yet adds nothing.

    Raises:
        InputError: an input that is neither folder nor table, or cannot be understood; names file and line.
    """
    from interplay import inputs as reading

    observations: list[Observations] = []
    runs: list[Run] = []
    for name, path in reading.named(inputs):
        if path.is_dir():
            found, rows = _of_store(Store(path), name, metric, several=len(inputs) > 1)
        else:
            found, rows = _of_table(path, name, metric)
        runs += rows
        if found.runs:
            observations.append(found)
    return observations, runs


def stamp(inputs: Sequence[str | Path]) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Two values that change with the inputs: the first when a result is added, the second when a run goes on."""
    results: list[object] = []
    progress: list[object] = []
    for each in map(Path, inputs):
        if not each.is_dir():
            results.append(_changed(each))
            continue
        store = Store(each)
        for run_id in store.run_ids():
            folder = store.folder(run_id)
            if store.is_done(run_id):
                results.append((each, run_id))
                continue
            claim = claim_of(folder)
            results.append((each, run_id, _changed(folder / "failed.json")))
            progress.append((run_id, _changed(folder / "history.jsonl"), claim is not None and not claim["dead"]))
    return tuple(results), tuple(progress)


def _changed(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


# -- output folders ---------------------------------------------------------------------------------------------------


def _of_store(store: Store, source: str, metric: str, *, several: bool) -> tuple[Observations, list[Run]]:
    from interplay.analysis.observations import from_records
    from interplay.executors.status import status

    found = status(store)
    finished = [record for run_id in found.finished if (record := store.readable_record(run_id)) is not None]
    ended = sorted([*finished, *found.diverged, *found.failed], key=lambda each: (each.committed_at, each.run_id))
    runs = [_of_record(record, source, metric) for record in ended]
    for run_id, claim in found.running:
        words = f"epoch {claim['epoch']} of {claim['epochs']}" if {"epoch", "epochs"} <= claim.keys() else "starting"
        runs.append(_unfinished(store, run_id, source, "running", f"{words}, on {claim.get('host')}"))
    runs += [_unfinished(store, run_id, source, "interrupted", None) for run_id in found.interrupted]
    runs += [_unfinished(store, run_id, source, "damaged", "its record cannot be read") for run_id in found.damaged]
    return from_records(ended, metric, source if several else None), runs


def _of_record(record: RunRecord, source: str, metric: str) -> Run:
    from interplay.analysis.observations import from_records
    from interplay.report.page import Run

    results = {name: getattr(record, name) for name in METRICS}
    cell = from_records([record], metric).runs
    return Run(
        id=record.run_id,
        source=source,
        status=str(record.status),
        values={**_knobs(record.spec), **results, "wall_seconds": round(record.wall_seconds, 2)},
        setting=cell[0].setting if cell else None,
        note=record.reason,
        spec=record.spec.to_dict(),
        collapse=record.collapse,
        environment=record.environment,
        history=record.history,
    )


def _unfinished(store: Store, run_id: str, source: str, status: str, note: str | None) -> Run:
    from interplay.report.page import Run

    try:
        spec = store.spec(run_id)
    except SchemaError as error:
        return Run(run_id, source, status, {}, note=str(error))
    return Run(run_id, source, status, _knobs(spec), note=note, spec=spec.to_dict(), history=store.history(run_id))


def _knobs(spec: RunSpec) -> dict[str, Any]:
    names = ("method", "lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule", "seed", "model", "dataset")
    return {name: getattr(spec, name) for name in names}


# -- tables -----------------------------------------------------------------------------------------------------------


def _of_table(path: Path, source: str, metric: str) -> tuple[Observations, list[Run]]:
    from interplay import inputs as reading
    from interplay.analysis.observations import from_rows

    rows = reading.rows(path)
    found = from_rows(rows, source, metric)  # complains about any row that cannot be understood
    return found, [_of_row(row, source, number, metric) for number, row in enumerate(rows, start=2)]


def _of_row(row: Mapping[str, str], source: str, line: int, metric: str) -> Run:
    from interplay.analysis.observations import from_rows
    from interplay.report.page import Run

    cell = from_rows([row], source, metric).runs
    values: dict[str, Any] = {TABLE_NAMES.get(name, name): _number(row.get(name)) for name in NUMBERS}
    values |= {name: row.get(name) or None for name in TABLE_NAMES if name != "wd"}
    measured = bool(cell) and cell[0].value is not None
    return Run(
        id=row.get("run_id") or f"{source}:{line}",
        source=source,
        status=row.get("status") or ("finished" if measured else "diverged"),
        values=values,
        setting=cell[0].setting if cell else None,
        note=row.get("reason") or None,
    )


def _number(text: str | None) -> float | int | None:
    """The number in a cell, whole ones as such; ``None`` for a cell that is empty or holds none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    if value != value or value in (float("inf"), -float("inf")):
        return None
    return int(value) if value.is_integer() else value
