"""Study files: TOML that a user copies and edits.

name = "eta-lambda"
question = "Do good settings lie along ηλ = const?"
claims = ["inverse.profile"]  # of the programme
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

[[claim]]                   # one of your own, see `study.claims`
optimum = "lr"
along = "batch_size"
exponent = 0.5

[slurm]                     # how to ask Slurm for machines; part of no run's identity
partition = "gpu"

[trainer]                   # runs are of your own training instead, see `study.trainer`
command = "python train.py --lr {lr} --seed {seed} --out {run_dir}"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from interplay import by_path
from interplay.errors import SpecError, nearest
from interplay.study.claims import Claim, known_claims
from interplay.study.grid import expand
from interplay.study.names import refuse_flag, refuse_too_many
from interplay.study.presets import PRESETS, preset
from interplay.study.slurm import SlurmOptions
from interplay.study.study import Study
from interplay.study.trainer import command
from interplay.text import NAME_LIMIT, given, printable, shown
from interplay.trial import Spec, trials

FILE_LIMIT = 2**20
"""Bytes of a study file."""

_LONG_KEY = re.compile(r"""(?:\.[ \t]*(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*){50}""")
_KEYS = {
    "name",
    "question",
    "claims",
    "claim",
    "cost",
    "command",
    "experiment",
    "seeds",
    "base",
    "grid",
    "slurm",
    "trainer",
}


_PLACES = (Path(__file__).parents[1] / "studies", Path(__file__).parents[3] / "studies")
"""Where the studies of the project lie: in an installed package, and in the repository."""


def shipped(source: str | Path) -> Path | None:
    """The file of a study that comes with the lab, asked for as ``studies/NAME.toml`` or NAME; ``None`` for others."""
    asked = Path(source)
    named = len(asked.parts) == 1 and not asked.suffix
    if not named and (asked.parts[:-1] != ("studies",) or asked.exists()):
        return None
    name = f"{asked.name}.toml" if named else asked.name
    return next((place / name for place in _PLACES if (place / name).is_file()), None)


def load(source: str | Path) -> Study:
    """A study from the path of a TOML file, or the name of a documented set or of a file that comes with the lab.

    Raises:
        SpecError: no such file or set, a key that is not known (with the nearest one), or an impossible run.
    """
    path = given("the name of a study", source)
    if str(source) in PRESETS:
        return preset(str(source))
    path = shipped(path) or path
    if path.suffix != ".toml":
        name, files = str(source), {each.stem for place in _PLACES for each in place.glob("*.toml")}
        raise SpecError(
            f"unknown study {shown(name)}; {nearest(name, [*PRESETS, *files])}, or the path of a .toml file"
        )
    by_path.use(path.parent)  # modules that the study names may lie beside it
    return parse(_content(path), path)


def claims_of(source: str | Path) -> tuple[str | Claim, ...]:
    """The claims of a study, for measurements from elsewhere: they may speak of knobs that this lab does not have.

    A file needs to state nothing else, and its grid is not looked at.

    Raises:
        SpecError: no such file or set, or a claim that is none.
    """
    if str(source) in PRESETS or (Path(source).suffix != ".toml" and shipped(source) is None):
        return load(source).claims
    path = given("the name of a study", source)
    path = shipped(path) or path
    try:
        return known_claims(_claims(_content(path), path, own_knobs=True))
    except SpecError as error:
        raise SpecError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not path.is_file():
            raise SpecError(f"cannot read {path}: not a file")
        with path.open("rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > FILE_LIMIT:
        raise SpecError(f"{path} has {path.stat().st_size} bytes; a study file has at most {FILE_LIMIT}")
    try:
        text = raw.decode("utf-8-sig")  # editors on Windows begin a file with a byte order mark
        if _LONG_KEY.search(text):  # tomllib takes the square of its length in time
            raise SpecError(f"{path}: nested too deeply")
        return tomllib.loads(text)
    except RecursionError as error:
        raise SpecError(f"{path}: nested too deeply") from error
    except ValueError as error:  # of TOML, of UTF-8, and for a number of more digits than Python reads
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"{path}: {_brief(str(error))}") from error


def _brief(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def parse(content: Mapping[str, Any], path: Path, **knobs: Any) -> Study:
    """A study from the content of a TOML file, with ``knobs`` set in every run before its formulas are computed.

    ``path`` is for messages and the default name. Raises `SpecError` as `load`.
    """
    for key in content:
        if key not in _KEYS:
            refuse_flag(key, path)
            raise SpecError(f"{path}: unknown key {shown(key)}; {nearest(key, _KEYS)}")
    base = _table(content.get("base", {}), f"{path}: base")
    grids = content.get("grid", [{}])
    if not isinstance(grids, list):
        raise SpecError(f"{path}: grids are written [[grid]], with two brackets")
    trainer = None
    if "trainer" in content:
        trainer = command(_table(content["trainer"], f"{path}: trainer"), path.parent, f"{path}: trainer")
    specs: list[Spec] = []
    for number, grid in enumerate(grids, start=1):
        where = f"{path}: grid {number}"
        axes = dict(_table(grid, where))
        zips, derived = axes.pop("zip", []), axes.pop("derived", {})
        zips = [zips] if isinstance(zips, Mapping) else zips
        if not isinstance(zips, list):
            raise SpecError(f"{where}: zip must be a list of tables, not {shown(zips)}")
        zips = [_table(table, f"{where}: zip") for table in zips]
        derived = _table(derived, f"{where}: derived")
        if "seeds" in content and any("seed" in table for table in (axes, derived, *zips)):
            raise SpecError(f"{where}: seed is set twice, here and by seeds")
        specs += expand(base, axes, zips, derived, where, knobs, None if trainer is None else trainer.make)
        refuse_too_many(len(specs), str(path))
    claims = _claims(content, path, own_knobs=trainer is not None)
    slurm = SlurmOptions.from_table(_table(content.get("slurm", {}), f"{path}: slurm"), f"{path}: slurm")
    try:
        study = Study(
            name=content.get("name", path.stem[:NAME_LIMIT]),
            question=content.get("question", ""),
            claims=claims,
            cost=content.get("cost", ""),
            command=content.get("command", f"interplay study {printable(str(path))}"),
            specs=tuple(specs),
            experiment=content.get("experiment"),
            slurm=slurm,
            remake=partial(parse, content, path),
        )
        study = study.with_seeds(content["seeds"]) if "seeds" in content else study
        if trainer is not None:
            trainer.check_seeds(trials(study.specs))
        return study
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def _claims(content: Mapping[str, Any], path: Path, *, own_knobs: bool = False) -> Any:
    """Identifiers of the programme's claims, as they stand, and those that the file states itself."""
    named, stated = content.get("claims", ()), content.get("claim", [])
    if not isinstance(stated, list):
        raise SpecError(f"{path}: claims are written [[claim]], with two brackets")
    if not isinstance(named, list | tuple):
        return named  # `Study` says what is wrong
    own = (
        Claim.from_table(each, f"{path}: claim {number}", own_knobs=own_knobs)
        for number, each in enumerate(stated, start=1)
    )
    return (*named, *own)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{where} must be a table, not {shown(value)}")
    return value
