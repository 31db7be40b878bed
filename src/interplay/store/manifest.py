"""``studies/<name>-<hash>.json``: the runs of a study, for workers and readers on any node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import SchemaError
from interplay.spec import SPEC_SCHEMA, RunSpec
from interplay.store.files import readable, write_whole
from interplay.text import file_name


@dataclass(frozen=True)
class Manifest:
    """A study as the store knows it: its name and the whole specification of every run, in the order of definition."""

    name: str
    specs: tuple[RunSpec, ...]
    experiment: int | None = None

    def write(self, root: Path) -> Path:
        """Write it whole under ``root/studies`` and return the file; the same runs always get the same name."""
        digest = hashlib.sha256("\n".join(sorted(spec.run_id for spec in self.specs)).encode()).hexdigest()[:8]
        path = root / "studies" / f"{file_name(self.name)}-{digest}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        runs = [spec.to_dict() for spec in self.specs]
        # What all runs share is written once: a study of 100,000 runs is megabytes, not a hundred of them.
        common = {
            name: value
            for name, value in runs[0].items()
            if all(name in run and run[name] == value and type(run[name]) is type(value) for run in runs)
        }
        lines = [json.dumps({k: v for k, v in run.items() if k not in common}) for run in runs]
        head = {"schema": SPEC_SCHEMA, "name": self.name, "experiment": self.experiment, "common": common}
        write_whole(path, f'{json.dumps(head)[:-1]}, "runs": [\n' + ",\n".join(lines) + "\n]}\n")
        return path


def read_manifest(path: Path) -> Manifest:
    """The inverse of `Manifest.write`; raises `SchemaError` naming the file."""
    try:
        found: dict[str, Any] = json.loads(readable(path).read_text(encoding="utf-8"))
        if found["schema"] != SPEC_SCHEMA:
            raise SchemaError(f"schema {found['schema']}, and this version reads {SPEC_SCHEMA}")
        specs = tuple(RunSpec.from_dict({**found["common"], **run}) for run in found["runs"])
        return Manifest(str(found["name"]), specs, found["experiment"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SchemaError) as error:
        raise SchemaError(f"{path}: {error}") from error


def manifests(root: Path) -> Sequence[Path]:
    """Files of all studies that were handed to a cluster, by name."""
    return sorted((root / "studies").glob("*.json"))
