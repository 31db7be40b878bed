"""Reading the folder of one run, which may have been cut short, copied or changed by hand."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import DamagedError, SchemaError, SpecError
from interplay.record import EpochMetrics, RunRecord, json_object
from interplay.spec import SPEC_SCHEMA
from interplay.store.files import readable
from interplay.trial import Spec, spec_from_dict, trial_id

_RUN_ID = re.compile(r"[0-9a-f]{16}")
_ASIDE = re.compile(r"damaged-\d+\..+")


@dataclass(frozen=True)
class Finding:
    """Something under ``runs/`` that is no part of a sound run."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{str(self.path)!r}: {self.why}" if not str(self.path).isprintable() else f"{self.path}: {self.why}"


def entries(runs: Path) -> Iterator[tuple[str, str | None]]:
    """Each name under ``runs``, with the reason why it is no run, or ``None`` for those that are.

    Nothing where there is no such folder.

    Raises:
        OSError: ``runs`` cannot be listed.
    """
    try:
        found = os.scandir(runs)
    except FileNotFoundError:
        return
    with found:
        for entry in found:
            if entry.name.startswith(".takeover."):
                continue  # a lock of an earlier version
            yield entry.name, _why_no_run(entry)


def _why_no_run(entry: os.DirEntry[str]) -> str | None:
    if not _RUN_ID.fullmatch(entry.name):
        if _ASIDE.fullmatch(entry.name):
            return "set aside earlier; remove it once it is of no use"
        return "no run: the folder of a run is named by 16 hex digits"
    try:
        return None if entry.is_dir() else "no folder, so no run"
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"


def findings(runs: Path) -> list[Finding]:
    """All under ``runs`` that is no part of a sound run, by name: strangers, damaged records and specifications.

    Raises:
        OSError: ``runs`` cannot be listed.
    """
    found = []
    for name, why in sorted(entries(runs), key=lambda each: each[0]):
        folder = runs / name
        if why is not None:
            found.append(Finding(folder, why))
            continue
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError as error:
            found.append(Finding(folder, f"cannot be listed: {error.strerror}"))
            continue
        for each in names:
            path = folder / each
            try:
                if each in ("record.json", "failed.json"):
                    read_record(path)
                elif each == "spec.json":
                    read_spec(path)
                elif _ASIDE.fullmatch(each):
                    found.append(Finding(path, "set aside earlier; remove it once it is of no use"))
            except SchemaError as error:
                found.append(Finding(path, str(error).removeprefix(f"{path}: ")))
    return found


def names_in(folder: Path) -> frozenset[str]:
    """Names of the files in a folder; none if it cannot be listed."""
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - of many thousand folders, pathlib would take most of the time
    except OSError:
        return frozenset()


def read_record(path: Path) -> RunRecord | None:
    """The record in ``path``, whose folder has the name of its run; ``None`` if there is none.

    Raises:
        DamagedError: it is not what was once written there. Names the file.
        SchemaError: it was written by another version, or cannot be read for want of permission. Names the file.
    """
    text = _text(path)
    if text is None:
        return None
    try:
        values = json_object(text)
        name = path.parent.name
        if values.get("run_id") != name:
            raise DamagedError(
                f"it is the record of run {values.get('run_id')!r:.40}, and lies in the folder of another"
            )
        if (stored := stored_id(values.get("spec"))) is not None and name not in stored:
            raise DamagedError(f"its specification is not that of run {name}: it was changed after it was written")
        return RunRecord.from_dict(values)
    except SchemaError as error:
        raise type(error)(f"{path}: {error}") from error


def read_spec(path: Path) -> Spec:
    """What was asked for, from ``spec.json`` in the folder of a run.

    Raises:
        DamagedError: there is none, or not what was once written there. Names the file.
        SchemaError: it was written by another version, or cannot be read for want of permission. Names the file.
    """
    text = _text(path)
    try:
        if text is None:
            raise DamagedError("there is no such file")
        values = json_object(text)
        if (version := values.pop("schema", None)) != SPEC_SCHEMA:
            kind = SchemaError if isinstance(version, int) and version > 0 else DamagedError
            raise kind(f"another schema version: {version!r:.20}, and this version reads {SPEC_SCHEMA}")
        if path.parent.name not in (stored_id(values) or ()):
            raise DamagedError(
                f"it is not the specification of run {path.parent.name}: it was changed after it was written"
            )
        return spec_from_dict(values)
    except SchemaError as error:
        raise type(error)(f"{path}: {error}") from error
    except (SpecError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise SchemaError(f"{path}: {error}") from error


def stored_id(spec: object) -> tuple[str, ...] | None:
    """The names that a run of the specification ``spec``, as it is stored, may have; ``None`` if it is no mapping.

    From the stored values themselves, so that a specification of a later version with further knobs counts as sound.
    """
    if not isinstance(spec, Mapping):
        return None
    if "trainer" in spec:
        return (trial_id(spec),)
    # Data of a user's own enter by fingerprint; which datasets are built in, the version that wrote it knew.
    return tuple(_hashed({**spec, "dataset": dataset}) for dataset in (spec.get("dataset"), "npz"))


def _hashed(values: Mapping[str, Any]) -> str:
    text = json.dumps({"schema": SPEC_SCHEMA, **values}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_history(path: Path) -> tuple[EpochMetrics, ...]:
    """Epochs in a ``history.jsonl``; a line cut by a kill, or damaged otherwise, ends it."""
    found: list[EpochMetrics] = []
    try:
        for line in readable(path).read_text(encoding="utf-8", errors="replace").splitlines():
            found.append(EpochMetrics.from_dict(json_object(line)))
    except (OSError, SchemaError):
        pass
    return tuple(found)


def _text(path: Path) -> str | None:
    try:
        return readable(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        if not os.path.lexists(path):
            return None
        raise DamagedError(f"{path}: a link to nothing") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        what = "a folder" if isinstance(error, IsADirectoryError) else f"no text in UTF-8: {error}"
        raise DamagedError(f"{path}: {what}") from error
    except NotADirectoryError:
        return None
    except OSError as error:
        kind = DamagedError if error.errno in (errno.ELOOP, errno.EINVAL) else SchemaError
        raise kind(f"{path}: cannot be read: {error.strerror}") from error
