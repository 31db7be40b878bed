"""Study files: TOML that a user copies and edits.

name = "eta-lambda"
question = "Do good settings lie along ηλ = const?"
claims = ["inverse.profile"]
seeds = [42, 43]

[base]                      # knobs that all runs share
momentum = 0.9

[[grid]]                    # a list is an axis of the product, a single value is fixed
lr = [0.01, 0.1]
weight_decay = [1e-4, 1e-3]

[[grid]]
weight_decay = [1e-4, 1e-3]
zip = [{ batch_size = [64, 128], epochs = [50, 100] }]    # lists that move together
derived = { lr = "0.1 * batch_size / 128" }               # computed from the others

[slurm]                     # how to ask Slurm for machines; part of no run's identity
partition = "gpu"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interplay.clusters import SlurmOptions
from interplay.errors import SpecError, nearest
from interplay.spec import RunSpec
from interplay.study.grid import expand
from interplay.study.presets import PRESETS, preset
from interplay.study.study import Study

_KEYS = {"name", "question", "claims", "cost", "command", "experiment", "seeds", "base", "grid", "slurm"}


def load(source: str | Path) -> Study:
    """A study from the path of a TOML file or the name of a documented set.

    Raises:
        SpecError: no such file or set, a key that is not known (with the nearest one), or an impossible run.
    """
    path = Path(source)
    if str(source) in PRESETS:
        return preset(str(source))
    if path.suffix != ".toml":
        raise SpecError(f"unknown study {str(source)!r}; {nearest(str(source), PRESETS)}, or the path of a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: {error}") from error
    return parse(content, path)


def parse(content: Mapping[str, Any], path: Path) -> Study:
    """A study from the content of a TOML file; ``path`` is for messages and the default name."""
    for key in content:
        if key not in _KEYS:
            raise SpecError(f"{path}: unknown key {key!r}; {nearest(key, _KEYS)}")
    base = _table(content.get("base", {}), f"{path}: base")
    grids = content.get("grid", [{}])
    if not isinstance(grids, list):
        raise SpecError(f"{path}: grids are written [[grid]], with two brackets")
    specs: list[RunSpec] = []
    for number, grid in enumerate(grids, start=1):
        where = f"{path}: grid {number}"
        axes = dict(_table(grid, where))
        zips, derived = axes.pop("zip", []), axes.pop("derived", {})
        zips = [zips] if isinstance(zips, Mapping) else zips
        if not isinstance(zips, list):
            raise SpecError(f"{where}: zip must be a list of tables, not {zips!r}")
        zips = [_table(table, f"{where}: zip") for table in zips]
        specs += expand(base, axes, zips, _table(derived, f"{where}: derived"), where)
    study = Study(
        name=str(content.get("name", path.stem)),
        question=str(content.get("question", "")),
        claims=tuple(content.get("claims", ())),
        cost=str(content.get("cost", "")),
        command=str(content.get("command", f"interplay study {path}")),
        specs=tuple(specs),
        experiment=content.get("experiment"),
        slurm=SlurmOptions.from_table(_table(content.get("slurm", {}), f"{path}: slurm"), f"{path}: slurm"),
    )
    seeds = content.get("seeds")
    if seeds is None:
        return study
    if not isinstance(seeds, list):
        raise SpecError(f"{path}: seeds must be a list such as [42, 43], not {seeds!r}")
    return study.with_seeds(seeds)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{where} must be a table, not {value!r}")
    return value
