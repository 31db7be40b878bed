"""Flags made from fields: of the knobs of a run, and of the operational options of a command."""

from __future__ import annotations

import dataclasses
from functools import cache
from operator import getitem
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import tyro
from tyro.conf import arg

from interplay.cli.flags import Command, flag
from interplay.executors.registry import check_options
from interplay.lab.settings import Settings
from interplay.options import Where, fields_for
from interplay.spec import RunSpec
from interplay.study.slurm import SlurmOptions


def _described(kind: Any, help: str, *, name: str | None = None, aliases: tuple[str, ...] = ()) -> Any:
    return getitem(Annotated, (kind, arg(name=name, aliases=aliases, help=help)))


_RENAMED = {"weight_decay": ("wd", ("--weight_decay",))}
"""Documented flag of a knob, and other spellings that are understood."""

_HIDDEN = ("fingerprint", "model_code", "precision")
"""Knobs that are not flags: data and code decide the first two, --use_amp the last."""

_BEGINS = {"dataset": "data", "model": "network", "optimizer": "optimizer", "batch_size": "training"}
"""The knobs that begin a group in the help; those after them belong to it."""

KNOBS = tuple(field.name for field in dataclasses.fields(RunSpec) if field.name not in _HIDDEN)
"""Knobs that are flags of a single run."""


def _knob_flags() -> list[tuple[str, Any, Any]]:
    types: dict[str, Any] = get_type_hints(RunSpec)
    flags: list[tuple[str, Any, Any]] = []
    group = ""
    for field in dataclasses.fields(RunSpec):
        group = _BEGINS.get(field.name, group)
        if field.name in KNOBS:
            name, aliases = _RENAMED.get(field.name, (None, ()))
            kind = _described(types[field.name], field.metadata["help"], name=name, aliases=aliases)
            flags.append((field.name, kind, flag(field.default, group)))
    return flags


def _slurm_flags() -> list[tuple[str, Any, Any]]:
    types: dict[str, Any] = get_type_hints(SlurmOptions)
    flags: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(SlurmOptions):
        kind, default = types[field.name], None
        if "tuple" in str(kind):  # each is given on its own: --sbatch=--qos=long --sbatch=--exclusive
            kind, default = getitem(Annotated, (tuple[str, ...], tyro.conf.UseAppendAction)), ()
        flags.append((field.name, _described(kind, field.metadata["help"]), flag(default, "slurm")))
    return flags


class _Settled(Command):
    """Flags that have operational settings among them."""

    OFFERED: ClassVar[frozenset[str]]
    """Their names."""

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        given = {name: getattr(self, name) for name in self.OFFERED}
        names = [field.name for field in dataclasses.fields(SlurmOptions)] if "executor" in given else []
        said = {name: value for name in names if (value := getattr(self, name)) not in (None, ())}
        if said:
            check_options(given["executor"], {"slurm": next(iter(said))})
        return Settings(**given, slurm=SlurmOptions(**said))


@cache
def options_of(where: Where) -> Any:
    """A dataclass with the flags of all options that ``where`` offers; `settings` of it makes the settings."""
    types: dict[str, Any] = get_type_hints(Settings)
    flags: list[tuple[str, Any, Any]] = []
    for field in fields_for(Settings, where):
        kind = Path if types[field.name] == str | Path else types[field.name]
        default: Any = field.default
        default = Path(default) if kind is Path else default
        described = _described(kind, field.metadata["help"])
        flags.append((field.name, described, flag(default, field.metadata["group"])))
    own = {"OFFERED": frozenset(name for name, *_ in flags)}
    if where == "study":
        flags += _slurm_flags()
    return dataclasses.make_dataclass(f"{where.title()}Options", flags, bases=(_Settled,), namespace=own, kw_only=True)


AMP = arg(help="mixed precision (bf16) on GPUs; --no_use_amp for fp32")
"""The knob of the precision, as a flag."""

KnobFlags: Any = dataclasses.make_dataclass("KnobFlags", _knob_flags(), kw_only=True)
"""The flags of all knobs, made from `RunSpec` so that there is one list of them."""
