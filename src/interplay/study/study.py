"""The study: question, claims, and the complete specification of every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interplay.clusters import SlurmOptions
from interplay.errors import SpecError
from interplay.spec import RunSpec, knob_names


@dataclass(frozen=True)
class Study:
    """A set of runs that together answer a question.

    Attributes:
        name: a short word, used in file names.
        question: what is asked, in one sentence.
        claims: identifiers of the claims that the measurements speak to.
        cost: how much work it is, in words.
        command: how to run it.
        specs: every run, each once, in the order of definition.
        experiment: number of the documented set (1, 2, 3) or ``None``; it enters names of logs and checkpoints.
        slurm: what Slurm is asked for to run it; of no run's identity.
    """

    name: str
    question: str
    claims: tuple[str, ...]
    cost: str
    command: str
    specs: tuple[RunSpec, ...]
    experiment: int | None = None
    slurm: SlurmOptions = SlurmOptions()

    def __post_init__(self) -> None:
        if not self.specs:
            raise SpecError(f"study {self.name!r} holds no run")
        object.__setattr__(self, "specs", tuple(dict.fromkeys(self.specs)))

    def with_seeds(self, seeds: Sequence[int]) -> Study:
        """The same settings under ``seeds``: all settings of the first seed, then all of the second, and so on.

        Raises:
            SpecError: no seed, or one that is there twice.
        """
        if not seeds or len(set(seeds)) != len(seeds):
            raise SpecError(f"seeds must be different whole numbers, not {list(seeds)}")
        settings = dict.fromkeys(spec.replace(seed=seeds[0]) for spec in self.specs)
        specs = tuple(spec.replace(seed=seed) for seed in seeds for spec in settings)
        return dataclasses.replace(self, specs=specs)

    def overridden(self, **knobs: Any) -> Study:
        """The same study with ``knobs`` set in every run (a new dataset takes its own fingerprint)."""
        return dataclasses.replace(self, specs=tuple(spec.replace(**knobs) for spec in self.specs)) if knobs else self

    def enlarged(self, cells: Iterable[Mapping[str, Any]], like: RunSpec | None = None) -> Study:
        """The same study with more cells: knobs that differ from the run ``like``, under each of the study's seeds.

        Without ``like`` it is the first run.

        Entries that are no knobs (a cell may name what an exponent is of) are passed over.
        """
        seeds = list(dict.fromkeys(spec.seed for spec in self.specs))
        known = set(knob_names())
        more = [
            (like or self.specs[0]).replace(**{name: value for name, value in cell.items() if name in known}, seed=seed)
            for cell in cells
            for seed in seeds
        ]
        return dataclasses.replace(self, specs=(*self.specs, *more))

    def header(self) -> str:
        """Question, claims, cost and command, for people."""
        runs = f"{len(self.specs)} run{'' if len(self.specs) == 1 else 's'}"
        return (
            f"{self.name}: {self.question}\n"
            f"  claims   {', '.join(self.claims) or 'none stated'}\n"
            f"  cost     {self.cost or 'not stated'} ({runs})\n"
            f"  command  {self.command}"
        )


def combined(studies: Sequence[Study]) -> Study:
    """One study of all runs that any of ``studies`` asks for, each once; a single one as it is.

    Raises:
        SpecError: no study.
    """
    if not studies:
        raise SpecError("which study? give the name of a set, or the path of a .toml file")
    if len(studies) == 1:
        return studies[0]
    return Study(
        name=" + ".join(study.name for study in studies),
        question=" ".join(filter(None, (study.question for study in studies))),
        claims=tuple(dict.fromkeys(claim for study in studies for claim in study.claims)),
        cost=f"{sum(len(study.specs) for study in studies)} runs asked for, those that studies share counted once",
        command=f"interplay study {' '.join(study.name for study in studies)}",
        specs=distinct(studies),
    )


def distinct(studies: Iterable[Study]) -> tuple[RunSpec, ...]:
    """All runs that any of ``studies`` asks for, each once: a configuration that two sets share is one run."""
    return tuple(dict.fromkeys(spec for study in studies for spec in study.specs))
