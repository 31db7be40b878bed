"""Runs of TensorBoard that logged hyperparameters (``add_hparams``) as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interplay.errors import InputError, UnreadableError
from interplay.tables.cells import table_of, text_of, without_library
from interplay.tables.read import TextTable

_START, _END = "_hparams_/session_start_info", "_hparams_/session_end_info"
_STATUS = {1: "finished", 2: "failed", 3: "running"}


def read(source: str) -> TextTable:
    """The runs below a folder, a row each: hyperparameters, and the last value of each scalar.

    Columns are ``run_id`` (the folder of the run), ``status``, ``hparams.NAME``, and scalars by their tags.

    Raises:
        UnreadableError: there is no such folder.
        InputError: no run below it logged hyperparameters.
    """
    folder = Path(source)
    if not folder.is_dir():
        raise UnreadableError(f"{source} is no folder")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.plugins.hparams import plugin_data_pb2
    except ImportError as error:
        raise without_library("tensorboard") from error
    rows = []
    for run in sorted({path.parent for path in folder.rglob("events.out.tfevents.*")}):
        events = EventAccumulator(str(run), size_guidance={"scalars": 0})
        events.Reload()
        content = events.summary_metadata
        if _START not in content:
            continue

        def data(tag: str, content: Any = content) -> Any:
            return plugin_data_pb2.HParamsPluginData.FromString(content[tag].plugin_data.content)

        row = {"run_id": str(run.relative_to(folder))}
        if _END in content:
            row["status"] = _STATUS.get(data(_END).session_end_info.status, "")
        for name, value in data(_START).session_start_info.hparams.items():
            kind = value.WhichOneof("kind")
            row[f"hparams.{name}"] = text_of(getattr(value, kind)) if kind else ""
        for tag in events.Tags()["scalars"]:
            row[tag] = text_of(float(events.Scalars(tag)[-1].value))
        rows.append(row)
    if not rows:
        raise InputError(f"{folder}: no run below it logged hyperparameters (add_hparams)")
    return table_of(rows, folder.resolve().name)
