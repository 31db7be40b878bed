"""``studies/``: the runs and the claims of each study, for workers on any node and for those who read the store.

``<name>-<hash>.json`` is a study as it was asked for; ``<name>.extended.json`` the runs that were added to it since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interplay.errors import SchemaError
from interplay.notes import note
from interplay.spec import SPEC_SCHEMA
from interplay.store.files import readable, write_whole
from interplay.text import file_name
from interplay.trial import Spec, spec_from_dict

FOLDER = "studies"
EXTENDED = ".extended.json"


@dataclass(frozen=True)
class Manifest:
    """A study as the store knows it: its name, the whole specification of every run in the order of definition,
    its claims (identifiers of the programme's, and tables of its own), and its question."""

    name: str
    specs: tuple[Spec, ...]
    experiment: int | None = None
    claims: tuple[str | Mapping[str, Any], ...] = field(default=(), hash=False)
    question: str = ""

    def write(self, root: Path) -> Path:
        """Write it whole under ``root/studies`` and return the file; the same runs always get the same name."""
        digest = hashlib.sha256("\n".join(sorted(spec.run_id for spec in self.specs)).encode()).hexdigest()[:8]
        path = root / FOLDER / f"{file_name(self.name)}-{digest}.json"
        self._write(path)
        return path

    def write_extension(self, root: Path) -> Path:
        """Write it as the runs that were added to the study of this name."""
        path = extension_path(root, self.name)
        self._write(path)
        return path

    def _write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        runs = [spec.to_dict() for spec in self.specs]
        # What all runs share is written once: a study of 100,000 runs is megabytes, not a hundred of them.
        common = {
            name: value
            for name, value in runs[0].items()
            if all(name in run and run[name] == value and type(run[name]) is type(value) for run in runs)
        }
        lines = [json.dumps({k: v for k, v in run.items() if k not in common}) for run in runs]
        head = {
            "schema": SPEC_SCHEMA,
            "name": self.name,
            "experiment": self.experiment,
            "claims": list(self.claims),
            "question": self.question,
            "written_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "common": common,
        }
        write_whole(path, f'{json.dumps(head)[:-1]}, "runs": [\n' + ",\n".join(lines) + "\n]}\n")


def read_manifest(path: Path) -> Manifest:
    """The inverse of `Manifest.write`; raises `SchemaError` naming the file."""
    try:
        found: dict[str, Any] = json.loads(readable(path).read_text(encoding="utf-8"))
        if found["schema"] != SPEC_SCHEMA:
            raise SchemaError(f"schema {found['schema']}, and this version reads {SPEC_SCHEMA}")
        specs = tuple(spec_from_dict({**found["common"], **run}) for run in found["runs"])
        return Manifest(str(found["name"]), specs, found["experiment"], _claims(found), str(found.get("question", "")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SchemaError) as error:
        raise SchemaError(f"{path}: {error}") from error


def extension_path(root: Path, name: str) -> Path:
    """Where the runs lie that were added to the study ``name``; names that differ have files that differ."""
    plain = file_name(name)
    mark = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return root / FOLDER / f"{plain}{mark}{EXTENDED}"


def read_extension(root: Path, name: str) -> tuple[Spec, ...]:
    """The runs that were added to the study ``name``; none where there is no such file.

    Raises:
        SchemaError: the file is damaged.
    """
    path = extension_path(root, name)
    return read_manifest(path).specs if path.exists() else ()


def claims(root: Path) -> Sequence[str | Mapping[str, Any]]:
    """The claims of all studies that wrote the store under ``root``; of each name those of the latest manifest.

    A file that cannot be read is named in a note and passed over. Manifests of earlier versions state no claims.
    """
    return _distinct(each for head in _heads(root) for each in _claims(head))


def studies(root: Path) -> list[tuple[str, str]]:
    """Name and question of the studies that wrote the store under ``root``; earlier versions kept no question."""
    return [(str(head["name"]), str(head.get("question", ""))) for head in _heads(root)]


def _heads(root: Path) -> list[dict[str, Any]]:
    """All but the runs of the manifests under ``root``; of each name the latest."""
    latest: dict[str, dict[str, Any]] = {}
    for path in sorted((root / FOLDER).glob("*.json")):
        if path.name.endswith(EXTENDED):
            continue
        try:
            with path.open(encoding="utf-8") as file:
                # The first line holds all but the runs, which may be megabytes.
                head = json.loads(file.readline().rstrip().removesuffix("[") + "[]}")
            name = str(head["name"])
            _claims(head)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            note(f"{path}: {error}; its claims are not known", "store")
            continue
        latest[name] = max(latest.get(name, head), head, key=lambda each: str(each.get("written_at", "")))
    return list(latest.values())


def _claims(found: Mapping[str, Any]) -> tuple[str | Mapping[str, Any], ...]:
    stated = found.get("claims", [])
    if not isinstance(stated, list) or not all(isinstance(each, str | dict) for each in stated):
        raise ValueError("claims must be a list of identifiers and tables")
    return tuple(stated)


def _distinct(stated: Iterable[str | Mapping[str, Any]]) -> list[str | Mapping[str, Any]]:
    found: list[str | Mapping[str, Any]] = []
    for each in stated:
        if each not in found:
            found.append(each)
    return found
