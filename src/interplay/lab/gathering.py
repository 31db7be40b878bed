"""What a page shows of output folders and tables: the rows of its runs, and the observations behind the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interplay.analysis.observations import (
    Observation,
    Observations,
    each_observed,
    from_records,
)
from interplay.errors import SchemaError
from interplay.executors.status import status
from interplay.lab.read import Tables, named
from interplay.page.content import Run
from interplay.record import METRICS, RunRecord, judged_by
from interplay.store.leases import claim_of
from interplay.store.store import Store
from interplay.tables.rows import Measurement, Measurements
from interplay.trial import Spec, Trial


def gather(
    inputs: Sequence[str | Path], metric: str, tables: Tables | None = None
) -> tuple[list[Observations], list[Run]]:
    """Observations and rows of all ``inputs``; one that holds nothing yet adds nothing.

    ``tables`` keep what was read of them for another metric.

    Raises:
        InputError: an input that is neither folder nor table, or cannot be understood; names file and line.
    """
    tables = tables or Tables()
    observations: list[Observations] = []
    runs: list[Run] = []
    for name, path in named(inputs):
        if path.is_dir():
            found, rows = _of_store(Store(path), name, metric, several=len(inputs) > 1)
        else:
            found, rows = _of_table(tables.measured(path, name, metric), metric)
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
    found = status(store)
    finished = [record for run_id in found.finished if (record := store.readable_record(run_id)) is not None]
    ended = sorted([*finished, *found.diverged, *found.failed], key=lambda each: (each.committed_at, each.run_id))
    metric = judged_by(ended, metric)
    runs = [_of_record(record, source, metric) for record in ended]
    for run_id, claim in found.running:
        words = f"epoch {claim['epoch']} of {claim['epochs']}" if {"epoch", "epochs"} <= claim.keys() else "starting"
        runs.append(_unfinished(store, run_id, source, "running", f"{words}, on {claim.get('host')}"))
    runs += [_unfinished(store, run_id, source, "interrupted", None) for run_id in found.interrupted]
    runs += [_unfinished(store, run_id, source, "damaged", "its record cannot be read") for run_id in found.damaged]
    return from_records(ended, metric, source if several else None), runs


def _of_record(record: RunRecord, source: str, metric: str) -> Run:
    results = {name: getattr(record, name) for name in METRICS}
    cell = from_records([record], metric).runs
    return Run(
        id=record.run_id,
        source=source,
        status=str(record.status),
        values={**_knobs(record.spec), **results, "wall_seconds": round(record.wall_seconds, 2)},
        cell=cell[0].cell if cell else None,
        note=record.reason,
        spec=_whole(record.spec),
        collapse=record.collapse,
        environment=record.environment,
        history=record.history,
    )


def _unfinished(store: Store, run_id: str, source: str, status: str, note: str | None) -> Run:
    try:
        spec = store.spec(run_id)
    except SchemaError as error:
        return Run(run_id, source, status, {}, note=str(error))
    return Run(run_id, source, status, _knobs(spec), note=note, spec=_whole(spec), history=store.history(run_id))


def _knobs(spec: Spec) -> dict[str, Any]:
    names = ("method", "lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule", "seed", "model", "dataset")
    return {name: getattr(spec, name) for name in names}


def _whole(spec: Spec) -> dict[str, Any]:
    """All that names a run, by name."""
    if isinstance(spec, Trial):
        trainer = spec.trainer
        return {trainer.kind: trainer.name, "version": trainer.version, **spec.knobs, "seed": spec.seed}
    return spec.to_dict()


# -- tables -----------------------------------------------------------------------------------------------------------


def _of_table(found: Measurements, metric: str) -> tuple[Observations, list[Run]]:
    seen = each_observed(found, metric)
    runs = [_of_row(row, found.source, one) for row, one in zip(found.rows, seen, strict=True)]
    runs += [_of_row(row, found.source, None) for row in found.left_out]
    return Observations(metric, tuple(one for one in seen if one is not None), found.notes), runs


def _of_row(row: Measurement, source: str, cell: Observation | None) -> Run:
    names = ("lr", "weight_decay", "momentum", "batch_size", "epochs", "seed", "wall_seconds")
    values: dict[str, Any] = {name: _number(row.text.get(name)) for name in names}
    values |= {name: row.metrics.get(name, _number(row.text.get(name))) for name in METRICS}
    values |= {name: row.text.get(name) or None for name in ("schedule", "model", "dataset", "method")}
    return Run(
        id=row.text.get("run_id") or f"{source}:{row.line}",
        source=source,
        status=row.text.get("status") or ("finished" if cell is not None and cell.value is not None else "diverged"),
        values=values,
        cell=cell.cell if cell is not None else None,
        note=row.text.get("reason") or None,
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
