"""Which executors there are. Importing this is cheap; torch comes with the executor that is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

from interplay.errors import SpecError, nearest
from interplay.text import shown

if TYPE_CHECKING:
    from interplay.executors.base import Executor

    ExecutorName = str


@dataclass(frozen=True)
class Entry:
    """Where an executor's class is, and which of the options that some executors take it takes."""

    path: str
    options: frozenset[str]
    instead: str = ""
    """What to say where an option of GPUs is not among them."""


_MACHINE = frozenset({"gpus", "per_gpu", "path", "stack", "autotune"})

EXECUTORS = {
    "local": Entry("interplay.executors.local:LocalExecutor", _MACHINE),
    "inline": Entry("interplay.executors.inline:InlineExecutor", _MACHINE),
    "slurm": Entry(
        "interplay.executors.slurm.executor:SlurmExecutor",
        frozenset({"wait", "slurm"}),
        "; say --gpus_per_node and --workers_per_gpu",
    ),
    "ray": Entry("interplay.executors.ray_actors:RayExecutor", frozenset({"gpus", "per_gpu", "address"})),
}

if not TYPE_CHECKING:
    ExecutorName = Literal[tuple(EXECUTORS)]

OPTIONS = sorted(frozenset().union(*(entry.options for entry in EXECUTORS.values())))
"""Options that mean nothing to some executors."""


def executor_class(name: str) -> type[Executor]:
    """The executor of that name; raises `SpecError` where there is none, with the nearest."""
    entry = _entry(name)
    module, _, kind = entry.path.partition(":")
    found: type[Executor] = getattr(import_module(module), kind)
    return found


def check_options(name: str, said: Mapping[str, str]) -> None:
    """Raise `SpecError` for an option that the executor ``name`` would pass over.

    Args:
        name: of the executor.
        said: those of `OPTIONS` that were given, each with the name of the flag that gave it.
    """
    entry = _entry(name)
    for option, flag in said.items():
        if option not in entry.options:
            others = " or ".join(other for other, each in EXECUTORS.items() if option in each.options)
            raise SpecError(f"--{flag} is for --executor {others}{entry.instead if 'gpu' in option else ''}")


def _entry(name: str) -> Entry:
    if name not in EXECUTORS:
        raise SpecError(f"unknown executor {shown(name)}; {nearest(name, list(EXECUTORS))}")
    return EXECUTORS[name]
