"""Runs of Weights & Biases as a table: from its server, or from the folders of offline runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interplay.errors import InputError, UnreadableError
from interplay.tables.cells import flat, table_of, text_of, without_library
from interplay.tables.read import TextTable

_BLOCK = 32 * 1024
_HEAD = 7
"""Bytes before the first record of a file, and before each part of a record: check sum, length, kind."""
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read(source: str) -> TextTable:
    """The runs of a project, a row each: ``run_id``, ``state``, ``config.NAME``, and the summary by its own names.

    Args:
        source: ``ENTITY/PROJECT`` or ``ENTITY/PROJECT/SWEEP``, which needs a login, or a folder with offline runs
            (``wandb``, or one ``offline-run-...``).

    Raises:
        UnreadableError: no such folder, or the server does not answer or refuses.
        InputError: it holds no runs.
    """
    folder = Path(source)
    if folder.is_dir():
        return _offline(folder)
    if source.count("/") not in (1, 2) or folder.suffix:
        raise UnreadableError(f"{source} is neither a folder nor ENTITY/PROJECT")
    return _server(source)


def _server(source: str) -> TextTable:
    try:
        import wandb
    except ImportError as error:
        raise without_library("wandb") from error
    entity, project, *sweep = source.split("/")
    try:
        filters = {"sweep": sweep[0]} if sweep else None
        runs = [
            {"run_id": run.id, "state": run.state} | flat(run.config, "config") | _summary(dict(run.summary.items()))
            for run in wandb.Api().runs(f"{entity}/{project}", filters=filters)
        ]
    except Exception as error:  # no login, no network, no such project: each of its own class
        raise UnreadableError(f"{source}: Weights & Biases does not give its runs: {error}") from error
    return table_of(runs, source)


def _offline(folder: Path) -> TextTable:
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError as error:
        raise without_library("wandb") from error
    messages: Any = wandb_internal_pb2
    rows = []
    files = sorted(folder.glob("*.wandb")) or sorted(folder.glob("*run-*/*.wandb"))
    if not files:
        raise InputError(f"{folder} holds no runs of Weights & Biases (run-*/*.wandb)")
    for path in files:
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        run_id, state = path.stem.removeprefix("run-"), "crashed"
        for data in _records(path):
            record = messages.Record()
            record.ParseFromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run_id = record.run.run_id or run_id
                _update(config, record.run.config.update)
            elif kind == "config":
                _update(config, record.config.update)
            elif kind == "summary":
                _update(summary, record.summary.update)
            elif kind == "exit":
                state = "failed" if record.exit.exit_code else "finished"
        rows.append({"run_id": run_id, "state": state} | flat(config, "config") | _summary(summary))
    return table_of(rows, folder.resolve().name)


def _summary(values: Mapping[str, Any]) -> dict[str, str]:
    """The numbers of a summary; what begins with ``_`` is the tool's own, and media are no numbers."""
    return {
        key: text_of(value)
        for key, value in values.items()
        if not key.startswith("_") and isinstance(value, bool | int | float | str)
    }


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        keys = list(item.nested_key) or [item.key]
        inner = target
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
        try:
            inner[keys[-1]] = json.loads(item.value_json)
        except ValueError:
            inner[keys[-1]] = item.value_json


def _records(path: Path) -> Iterator[bytes]:
    """The messages in a file of the format of LevelDB's log: blocks of 32 KiB, records in parts that fit a block.

    A file that a crash has cut short ends with the last whole record.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md; the first seven bytes are W&B's own.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}") from error
    if not data.startswith(b":W&B"):
        raise InputError(f"{path} is no file of Weights & Biases")
    place, parts = _HEAD, b""
    while place + _HEAD <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < _HEAD:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        body = data[place + _HEAD : place + _HEAD + length]
        if len(body) < length or kind == 0:
            return
        place += _HEAD + length
        parts = body if kind in (_WHOLE, _FIRST) else parts + body
        if kind in (_WHOLE, _LAST):
            yield parts
