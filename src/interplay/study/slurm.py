"""How to ask Slurm for machines: plain options, from flags or a study file. Operational; no run's identity."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.text import one_line, shown

_MOST = 10**6
"""Above any number that a cluster could be asked for."""


def _option(help: str) -> Any:
    return dataclasses.field(default=None, metadata={"help": help})


@dataclass(frozen=True)
class SlurmOptions:
    """What sbatch is asked for. ``None`` is "not said": a flag leaves room to the study file, and that to a default.

    One *allocation* is one element of the job array: some GPUs or cores of one node, with a worker process for each
    slot on them.

    Raises:
        SpecError: a value that sbatch could not understand, or a combination that asks for nothing.
    """

    partition: str | None = _option("Slurm partition (else the cluster's own)")
    account: str | None = _option("Slurm account (else your own)")
    time: str | None = _option("time limit of an allocation: minutes, H:MM:SS or D-HH:MM:SS (else 1:00:00)")
    mem: str | None = _option("memory of an allocation, such as 32G (else the cluster's own)")
    gpus_per_node: int | None = _option("GPUs of an allocation (else none: the CPU)")
    workers_per_gpu: int | None = _option("runs at a time on one of them (else 1)")
    workers_per_node: int | None = _option("without GPUs, runs at a time in an allocation, one core each (else 1)")
    cpus_per_worker: int | None = _option("cores asked for each worker (else 1)")
    constraint: str | None = _option("features that nodes must have, such as h100")
    notice_seconds: int | None = _option("warning before the time limit, to checkpoint and requeue (else 120)")
    sbatch: tuple[str, ...] | None = _option("further options of sbatch, such as --qos=long; write --sbatch=--qos=long")
    setup: tuple[str, ...] | None = _option("shell lines before the worker starts, such as 'module load cuda'")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if "int" in str(field.type):
                least = 0 if field.name == "gpus_per_node" else 1
                whole = isinstance(value, int) and not isinstance(value, bool)
                if not whole or not least <= value <= _MOST:
                    rule = f"{least} or greater, at most {_MOST}"
                    raise SpecError(f"slurm: {field.name} must be a whole number, {rule}, not {shown(value)}")
            elif "tuple" in str(field.type):
                if not isinstance(value, list | tuple):
                    raise SpecError(f"slurm: {field.name} must be a list of lines, not {shown(value)}")
                lines = tuple(one_line(f"slurm: {field.name} must be a list of lines; each", line) for line in value)
                object.__setattr__(self, field.name, lines)
            elif field.name == "time":
                text = str(value) if type(value) is int and 0 <= value < 10**9 else value
                object.__setattr__(self, "time", one_line("slurm: time", text, 100))
                _minutes(str(text))
            elif not one_line(f"slurm: {field.name}", value, 200).strip() or " " in value:
                raise SpecError(f"slurm: {field.name} must be a word, not {shown(value)}")
        for line in self.sbatch or ():
            if not re.fullmatch(r"--[a-z][a-z-]*(=.+)?", line):
                raise SpecError(f"slurm: {shown(line)} is no option of sbatch; write --name or --name=value")
        if self.workers_per_node is not None and self.gpus_per_node:
            raise SpecError("slurm: workers_per_node is for allocations without GPUs; with GPUs say workers_per_gpu")
        if self.notice >= 60 * self.minutes:
            raise SpecError(f"slurm: notice_seconds {self.notice} is not shorter than the time limit")

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> SlurmOptions:
        """Options from a ``[slurm]`` table; raises `SpecError` for a key that is none, with the nearest one."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in table:
            if key not in known:
                raise SpecError(f"{where}: unknown key {shown(key)}; {nearest(key, known)}")
        try:
            return cls(**table)
        except SpecError as error:
            raise SpecError(f"{where}: {str(error).removeprefix('slurm: ')}") from error

    def over(self, other: SlurmOptions) -> SlurmOptions:
        """These options, and those of ``other`` where these say nothing."""
        return dataclasses.replace(other, **{k: v for k, v in vars(self).items() if v is not None})

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes."""
        return 60 if self.time is None else _minutes(self.time)

    @property
    def notice(self) -> int:
        """Seconds before the time limit at which workers are told."""
        return self.notice_seconds if self.notice_seconds is not None else min(120, 30 * self.minutes)

    @property
    def per_allocation(self) -> int:
        """Runs at a time in one allocation."""
        if self.gpus_per_node:
            return self.gpus_per_node * (self.workers_per_gpu or 1)
        return self.workers_per_node or 1


def _minutes(text: str) -> int:
    """``90``, ``1:30:00`` or ``2-12:00:00`` in minutes, rounded up; as sbatch reads them."""
    days, dash, rest = text.strip().rpartition("-")
    parts = rest.split(":")
    numbers = [*parts, days] if dash else parts
    if not all(re.fullmatch("[0-9]{1,9}", part) for part in numbers) or len(parts) > 3:
        raise SpecError(f"slurm: time must be minutes, H:MM:SS or D-HH:MM:SS, not {shown(text)}")
    values = [int(part) for part in parts]
    if dash:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = (*values, 0, 0)[:3]
    elif len(values) == 3:
        hours, minutes, seconds = values
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, (*values, 0)[:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total <= 0:
        raise SpecError(f"slurm: time must be greater than 0, not {shown(text)}")
    return -(-total // 60)
