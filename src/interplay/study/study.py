"""The study: question, claims, and the complete specification of every run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from interplay.errors import SpecError
from interplay.spec import knob_names
from interplay.study.claims import Claim, known_claims, resolved
from interplay.study.functions import Function, options_of, trainer_of, trials_of
from interplay.study.names import refuse_too_many
from interplay.study.slurm import SlurmOptions
from interplay.text import NAME_LIMIT, TEXT_LIMIT, one_line, shown
from interplay.trial import Spec, Trial

_NO_SLURM = SlurmOptions()


@dataclass(frozen=True, init=False)
class Study:
    """A set of runs that together answer a question.

    It is made run by run, from ``specs``, or from a function of one's own: ``Study(train=function, grid={...})``.

    Attributes:
        name: a line of at most `NAME_LIMIT` characters. Names of files and jobs are made from it by `text.file_name`.
        question: what is asked, in one sentence.
        claims: what the measurements speak to: identifiers of the programme's claims, and `Claim` of one's own.
        cost: how much work it is, in words.
        command: how to run it.
        specs: every run, each once, in the order of definition.
        experiment: number of the documented set (1, 2, 3) or ``None``; it enters names of logs and checkpoints.
        slurm: what Slurm is asked for to run it; of no run's identity.
        remake: makes the study anew with some knobs set; ``None`` for one that was put together run by run.

    Raises:
        SpecError: a text that steers a terminal or is too long, an unknown claim, no run, or too many.
    """

    name: str
    question: str
    claims: tuple[str | Claim, ...]
    cost: str
    command: str
    specs: tuple[Spec, ...]
    experiment: int | None
    slurm: SlurmOptions
    remake: Callable[..., Study] | None = field(compare=False, repr=False)

    def __init__(
        self,
        name: str = "",
        question: str = "",
        claims: Sequence[str | Claim] = (),
        cost: str = "",
        command: str = "",
        specs: Sequence[Spec] = (),
        experiment: int | None = None,
        slurm: SlurmOptions = _NO_SLURM,
        remake: Callable[..., Study] | None = None,
        *,
        train: Function | None = None,
        base: Mapping[str, Any] | None = None,
        grid: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        seeds: Sequence[int] = (),
        version: str = "",
        **options: Any,
    ) -> None:
        """Make a study.

        Args:
            name: see the class; by default that of the function.
            question: see the class, as all up to ``remake``.
            claims: likewise.
            cost: likewise.
            command: likewise.
            specs: likewise.
            experiment: likewise.
            slurm: likewise.
            remake: likewise.
            train: takes knobs by name, and ``seed`` and ``run_dir`` if it has such arguments; returns a mapping of
                numbers, or yields one an epoch.
            base: knobs that all runs share.
            grid: lists are axes of a product; several mappings are several grids. As in a study file, ``zip`` holds
                lists that move together and ``derived`` formulas.
            seeds: of the runs.
            version: of the function's code; by default a hash of its source.
            options: fields of `TrialOptions`, such as ``metric="f1"`` or ``timeout=3600``.

        Raises:
            SpecError: a text that steers a terminal or is too long, an unknown claim, no run, or too many; a knob that
                the function does not take.
        """
        if train is not None:
            if specs:
                raise SpecError("a study has either specs or a function to train")
            trainer = trainer_of(train, version, options_of(options))
            name = name or trainer.identity.name.rpartition(":")[2].strip("<>")
            specs = trials_of(trainer, base or {}, grid, seeds)
        elif base is not None or grid is not None or seeds or version or options:
            raise SpecError("base, grid, seeds and the like are for a function: say train=")
        told = (name, question, claims, cost, command, specs, experiment, slurm, remake)
        for of, value in zip(dataclasses.fields(self), told, strict=True):
            object.__setattr__(self, of.name, value)
        self._check()

    def _check(self) -> None:
        if not one_line("the name of a study", self.name, NAME_LIMIT).strip():
            raise SpecError("the name of a study is empty")
        for name in ("question", "cost", "command"):
            text = getattr(self, name)
            # Longer ones are written over several lines in a study file.
            joined = " ".join(text.split()) if isinstance(text, str) and "\n" in text else text
            object.__setattr__(self, name, one_line(f"{name} of study {self.name!r}", joined))
        object.__setattr__(self, "claims", known_claims(self.claims))
        whole = isinstance(self.experiment, int) and not isinstance(self.experiment, bool)
        if self.experiment is not None and not (whole and self.experiment in (1, 2, 3)):
            raise SpecError(f"experiment must be 1, 2 or 3, not {shown(self.experiment)}")
        if not self.specs:
            raise SpecError(f"study {self.name!r} holds no run")
        object.__setattr__(self, "specs", tuple(dict.fromkeys(self.specs)))
        refuse_too_many(len(self.specs), f"study {self.name!r}")

    def own_claims(self) -> tuple[Claim, ...]:
        """The claims that it states, each in full."""
        return resolved(self.claims)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs, in the order in which they come."""
        return tuple(dict.fromkeys(spec.seed for spec in self.specs))

    def with_seeds(self, seeds: Sequence[int]) -> Study:
        """The same settings under ``seeds``: all settings of the first seed, then all of the second, and so on.

        Raises:
            SpecError: no seed, one that is there twice, too many, or a study in which seeds go with other knobs.
        """
        settings = dict.fromkeys(spec.replace(seed=0) for spec in self.specs)
        asked = _length(seeds)
        refuse_too_many(asked * len(settings), f"study {self.name!r} with {shown(asked)} seeds")
        for seed in seeds:
            if isinstance(seed, bool) or not isinstance(seed, int):
                raise SpecError(f"seeds must be whole numbers, not {shown(seed)}")
        if not seeds or len(set(seeds)) != len(seeds):
            raise SpecError(f"seeds must be different whole numbers, not {shown(list(seeds))}")
        if len(self.specs) != len(settings) * len(self.seeds):
            raise SpecError(f"the runs of study {self.name!r} have seeds of their own: seed is an axis there")
        specs = tuple(spec.replace(seed=seed) for seed in seeds for spec in settings)
        return dataclasses.replace(self, specs=specs)

    def overridden(self, **knobs: Any) -> Study:
        """The same study with ``knobs`` set in every run, before its formulas are computed, and under the same seeds.

        A new dataset takes its own fingerprint and augmentation.

        Raises:
            SpecError: a knob that the study itself varies or derives.
        """
        if not knobs:
            return self
        if self.remake is not None and "seed" in knobs:
            raise SpecError("seed cannot be set: say which seeds")
        made = self.remake(**knobs) if self.remake is not None else None  # it names the grid of an axis or a formula
        for name in knobs:
            # Grids that each have one value of their own make it an axis too. `replace` refuses what is no knob.
            values = dict.fromkeys(_value(spec, name) for spec in self.specs)
            if len(values) > 1:
                raise SpecError(f"{name} cannot be set: it is an axis of study {self.name!r} ({shown(list(values))})")
        if made is None or self.remake is None:
            return dataclasses.replace(self, specs=tuple(spec.replace(**knobs) for spec in self.specs))
        made = dataclasses.replace(made, remake=partial(self.remake, **knobs))
        return made if made.seeds == self.seeds else made.with_seeds(self.seeds)

    def enlarged(
        self,
        cells: Iterable[Mapping[str, Any]],
        like: Spec | None = None,
        *,
        seeds: int = 0,
        usual: Sequence[int] = (),
    ) -> Study:
        """The same study with the runs of `further`."""
        more = self.further(cells, like, seeds=seeds, usual=usual)
        return dataclasses.replace(self, specs=(*self.specs, *more), remake=None)

    def further(
        self,
        cells: Iterable[Mapping[str, Any]],
        like: Spec | None = None,
        *,
        seeds: int = 0,
        usual: Sequence[int] = (),
    ) -> tuple[Spec, ...]:
        """New runs of ``cells``, each of them knobs that differ from the run ``like`` (without it, the first).

        A cell that is not there yet gets the ``usual`` seeds (those of the study, unless others are given) and
        ``seeds`` further ones; one that is there gets ``seeds`` further ones, at least one. Further seeds are usual
        ones that it lacks, then whole numbers beyond the greatest that it has. Knobs are the same where they agree to
        7 significant digits, as in the analysis; entries that are no knobs are passed over.

        Raises:
            SpecError: a cell that cannot be run.
        """
        usual = tuple(usual) or self.seeds
        there: dict[tuple[Any, ...], tuple[Spec, set[int]]] = {}
        for spec in self.specs:
            there.setdefault(_rounded(spec), (spec, set()))[1].add(spec.seed)
        more: dict[Spec, None] = {}
        for cell in cells:
            nearest = like or self.specs[0]
            asked = nearest.replace(**_knobs_of(nearest, cell))
            spec, used = there.get(_rounded(asked), (asked, set()))
            last = max((*used, *usual))
            wanted = [*(seed for seed in usual if seed not in used), *range(last + 1, last + 1 + max(seeds, 1))]
            count = max(seeds, 1) if used else len(usual) + seeds
            more |= dict.fromkeys(spec.replace(seed=seed) for seed in wanted[:count])
        return tuple(more)

    def header(self) -> str:
        """Question, claims, cost and command, for people."""
        runs = f"{len(self.specs)} run{'' if len(self.specs) == 1 else 's'}"
        return (
            f"{': '.join(filter(None, (self.name, self.question)))}\n"
            f"  claims   {', '.join(claim.id for claim in self.own_claims()) or 'none stated'}\n"
            f"  cost     {self.cost or 'not stated'} ({runs})\n"
            f"  command  {self.command}"
        )


def _value(spec: Spec, name: str) -> Any:
    """Of a knob; ``None`` where there is none of that name."""
    return spec.knobs.get(name) if isinstance(spec, Trial) else getattr(spec, name) if name in knob_names() else None


def _knobs_of(spec: Spec, cell: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``cell`` are knobs that a run such as ``spec`` has."""
    if isinstance(spec, Trial):
        return {name: value for name, value in cell.items() if spec.own_name(name) is not None}
    return {name: value for name, value in cell.items() if name in knob_names()}


def _rounded(spec: Spec) -> tuple[Any, ...]:
    """All knobs but the seed, numbers as the analysis rounds them."""
    if isinstance(spec, Trial):
        return (spec.trainer, *((n, f"{v:.7g}" if isinstance(v, float) else v) for n, v in sorted(spec.knobs.items())))
    values = [getattr(spec, name) for name in knob_names() if name != "seed"]
    return tuple(float(f"{value:.7g}") if isinstance(value, float) else value for value in values)


def _length(seeds: Any) -> int:
    """How many there are; also of a range that is too long for `len`."""
    if isinstance(seeds, range):
        return max(0, (seeds.stop - seeds.start + seeds.step - (1 if seeds.step > 0 else -1)) // seeds.step)
    if isinstance(seeds, str) or not isinstance(seeds, Sequence):
        raise SpecError(f"seeds must be a list such as [42, 43], not {shown(seeds)}")
    return len(seeds)


def combined(studies: Sequence[Study]) -> Study:
    """One study of all runs that any of ``studies`` asks for, each once; a single one as it is.

    Raises:
        SpecError: no study.
    """
    if not studies:
        raise SpecError("which study? give the name of a set, or the path of a .toml file")
    if len(studies) == 1:
        return studies[0]
    names = " + ".join(study.name for study in studies)
    return Study(
        name=names if len(names) <= NAME_LIMIT else f"{studies[0].name[:60]} and {len(studies) - 1} more",
        question=" ".join(filter(None, (study.question for study in studies)))[:TEXT_LIMIT],
        claims=tuple(dict.fromkeys(claim for study in studies for claim in study.claims)),
        cost=f"{sum(len(study.specs) for study in studies)} runs asked for, those that studies share counted once",
        command=f"interplay study {' '.join(study.name for study in studies)}"[:TEXT_LIMIT],
        specs=distinct(studies),
    )


def distinct(studies: Iterable[Study]) -> tuple[Spec, ...]:
    """All runs that any of ``studies`` asks for, each once: a configuration that two sets share is one run."""
    return tuple(dict.fromkeys(spec for study in studies for spec in study.specs))
