"""Commands that train: run, study, retry."""

from __future__ import annotations

import dataclasses
import json
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, get_type_hints

import tyro
from tyro.conf import arg

from interplay.errors import SpecError
from interplay.executors.registry import ExecutorName, check_options
from interplay.spec import OptimizerName, RunSpec, knob_names
from interplay.study.slurm import SlurmOptions
from interplay.train.names import InstrumentName, PathName

if TYPE_CHECKING:
    from interplay.lab import Budget, Settings
    from interplay.study.study import Study

JsonFlag = Annotated[bool, arg(help="print JSON instead of text")]


class Shown(Protocol):
    """What is printed as text by `str`, or as JSON."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        ...


def print_json(value: dict[str, Any]) -> None:
    """``value`` on standard output, in ASCII; a number that JSON lacks is an error, not a word of its own."""
    print(json.dumps(value, indent=1, allow_nan=False))


def show(found: Shown, *, json: bool) -> None:
    """``found`` on standard output, as text or as JSON."""
    if json:
        print_json(found.to_dict())
    else:
        print(found)


_RENAMED = {"weight_decay": ("wd", ("--weight_decay",))}
"""Documented flag of a knob, and other spellings that are understood."""

_HIDDEN = ("fingerprint", "precision")
"""Knobs that are not flags: the data decide one, --use_amp the other."""


def _knob_flags() -> list[tuple[str, Any, Any]]:
    types: dict[str, Any] = get_type_hints(RunSpec)
    flags: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(RunSpec):
        if field.name in _HIDDEN:
            continue
        name, aliases = _RENAMED.get(field.name, (None, ()))
        described = arg(name=name, aliases=aliases, help=field.metadata["help"])
        annotation = getitem(Annotated, (types[field.name], described))
        flags.append((field.name, annotation, dataclasses.field(default=field.default)))
    return flags


KnobFlags: Any = dataclasses.make_dataclass("KnobFlags", _knob_flags(), kw_only=True)
"""The flags of all knobs, made from `RunSpec` so that there is one list of them."""


@dataclasses.dataclass(kw_only=True)
class PlaceFlags:
    """Where things lie."""

    data_dir: Annotated[Path, arg(help="where datasets lie or are downloaded to")] = Path("data")
    output_dir: Annotated[Path, arg(help="where runs, results, logs and checkpoints go")] = Path("outputs")


@dataclasses.dataclass(kw_only=True)
class TrainingFlags(PlaceFlags):
    """How runs are trained and followed, be it one or a study of them."""

    save_checkpoints: Annotated[bool, arg(help="keep the best and the final weights of each run")] = False
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False
    test_every: Annotated[int, arg(help="epochs between two looks at the test set; the last has one")] = 1
    checkpoint_seconds: Annotated[float, arg(help="between two checkpoints to resume from")] = 300.0
    lapse_seconds: Annotated[float, arg(help="a worker silent for so long loses its run")] = 60.0
    tracker: Annotated[Literal["none", "wandb", "tensorboard"], arg(help="who follows, see docs/trackers.md")] = "none"
    wandb_project: Annotated[str, arg(help="Weights & Biases: project")] = "interplay"
    wandb_entity: Annotated[str | None, arg(help="Weights & Biases: entity (default: the environment's)")] = None

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        from interplay.lab import Settings

        names = {f.name for f in dataclasses.fields(self)} - {"slurm"}
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings) if f.name in names})


@dataclasses.dataclass(kw_only=True)
class RunFlags(TrainingFlags, KnobFlags):  # type: ignore[misc]
    """Train one network and leave its record and its row in results.csv."""

    use_amp: Annotated[bool, arg(help="mixed precision (bf16) on GPUs; --no_use_amp for fp32")] = True
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:N")] = "auto"
    threads: Annotated[int, arg(help="CPU threads (0: torch's choice)")] = 0
    instruments: Annotated[tuple[InstrumentName, ...], arg(help="extra measurements at each epoch")] = ()
    wandb_name: Annotated[str | None, arg(help="Weights & Biases: name (default: from the setting)")] = None

    def spec(self) -> RunSpec:
        """The specification that the flags describe."""
        knobs = {name: getattr(self, name) for name, *_ in _knob_flags()}
        return RunSpec(**knobs, precision="bf16" if self.use_amp else "fp32")

    def call(self) -> int:
        """Run it."""
        from interplay import lab

        spec = self.spec()
        lab.run(spec, self.settings())
        return 0


@dataclasses.dataclass(kw_only=True)
class MachineFlags(TrainingFlags):
    """Where and how a study runs."""

    gpus: Annotated[str | None, arg(help="all, 0, 0,1,2,3, 0-7 or 0,2-4,7 (default: the CPU)")] = None
    per_gpu: Annotated[int, arg(help="runs at a time on one GPU (0: by a probe, as memory allows)")] = 0
    workers: Annotated[int, arg(help="on CPUs or a cluster, runs at a time (0: one a core, or what there is)")] = 0
    path: Annotated[PathName, arg(help="one run at a time, stacks, compiled, or what a probe finds fastest")] = "auto"
    stack: Annotated[int, arg(help="runs in a stack at most (0: by a probe and by memory)")] = 0
    executor: Annotated[ExecutorName, arg(help="worker processes, this process, or a cluster")] = "local"
    log: Annotated[bool, arg(help="write a log under logs/; --no_log to leave it")] = True
    hang_seconds: Annotated[float, arg(help="a run without progress for so long is killed and tried again")] = 1800.0


def _slurm_flags() -> list[tuple[str, Any, Any]]:
    types: dict[str, Any] = get_type_hints(SlurmOptions)
    flags: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(SlurmOptions):
        described = arg(help=field.metadata["help"])
        if "tuple" in str(types[field.name]):  # each is given on its own: --sbatch=--qos=long --sbatch=--exclusive
            annotation = getitem(Annotated, (tuple[str, ...], described, tyro.conf.UseAppendAction))
            flags.append((field.name, annotation, dataclasses.field(default=())))
        else:
            annotation = getitem(Annotated, (types[field.name], described))
            flags.append((field.name, annotation, dataclasses.field(default=None)))
    return flags


SlurmFlags: Any = dataclasses.make_dataclass("SlurmFlags", _slurm_flags(), kw_only=True)
"""The flags of `SlurmOptions`, made from it so that there is one list of them."""
SlurmFlags.__doc__ = "With --executor slurm; each goes before the [slurm] table of a study file. See docs/slurm.md."


@dataclasses.dataclass(kw_only=True)
class ClusterFlags(MachineFlags):
    """Where a study runs beyond this machine."""

    wait: Annotated[bool, arg(help="with Slurm, stay and follow until the jobs have ended")] = False
    address: Annotated[str | None, arg(help="of a Ray cluster; auto for this machine's (default: a fresh one)")] = None
    slurm: Annotated[SlurmFlags, tyro.conf.OmitArgPrefixes] = dataclasses.field(default_factory=SlurmFlags)

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        said = {name: value for name, value in vars(self.slurm).items() if value not in (None, ())}
        check_options(self.executor, {"slurm": next(iter(said))} if said else {})
        return dataclasses.replace(super().settings(), slurm=SlurmOptions(**said), wait=self.wait, address=self.address)


@dataclasses.dataclass(kw_only=True)
class OverrideFlags:
    """Knobs that may be set for all runs of a study, but for those that it varies or derives itself."""

    dataset: Annotated[str | None, arg(help="train on other data than the study says")] = None
    model: Annotated[str | None, arg(help="train another network")] = None
    optimizer: Annotated[OptimizerName | None, arg(help="train with another optimiser; sgds: stable decay")] = None
    epochs: Annotated[int | None, arg(help="another number of epochs")] = None
    train_limit: Annotated[int | None, arg(help="train on this many images only")] = None
    seeds: Annotated[tuple[int, ...], arg(help="run every setting under each of these seeds")] = ()
    use_amp: Annotated[bool, arg(help="mixed precision (bf16) on GPUs; --no_use_amp for fp32")] = True

    def applied(self, study: Study) -> Study:
        """``study`` with the knobs that were given."""
        names = [field.name for field in dataclasses.fields(OverrideFlags) if field.name in knob_names()]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if not self.use_amp:
            given["precision"] = "fp32"
        study = study.overridden(**given)
        return study.with_seeds(self.seeds) if self.seeds else study


@dataclasses.dataclass(kw_only=True)
class StudyFlags(OverrideFlags, ClusterFlags):
    """Run what is missing of studies: documented sets (lr-ordering, eta-lambda, batch-scaling) or TOML files."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, arg(help="names of sets, or paths of .toml files")]
    dry_run: Annotated[bool, arg(help="only say what there is to do and how long it may take")] = False
    json: Annotated[bool, arg(help="with --dry_run, print JSON instead of text")] = False
    extend: Annotated[bool, arg(help="add the runs that are expected to decide its claims")] = False
    until_decided: Annotated[bool, arg(help="run, add what is expected to decide its claims, and again")] = False
    budget: Annotated[
        str | None, arg(help="with --until_decided: runs of the study in all (200), or a duration (2h, 90m)")
    ] = None

    def call(self) -> int:
        """Plan it, and unless told otherwise, run it."""
        from interplay import lab
        from interplay.study.files import load
        from interplay.study.presets import PRESETS, preset

        if self.json and not self.dry_run:
            raise SpecError("--json is for --dry_run")
        studies = [self.applied(load(name)) for name in self.names]
        if not studies:
            raise SpecError(f"which study? allowed: {', '.join(PRESETS)}, or paths of .toml files")
        budget = self._budget()
        if self.until_decided and not self.dry_run:
            if len(studies) > 1:
                raise SpecError("--until_decided is for one study at a time")
            print(lab.until_decided(studies[0], self.settings(), budget))
            return 0
        if self.extend or self.until_decided:
            studies = [lab.extended(study, self.settings(), keep=not self.dry_run) for study in studies]
        if not self.dry_run:
            lab.run_studies(studies, self.settings())
            return 0
        found = []
        for study in studies:
            others = (
                studies if len(studies) > 1 else [each for name in PRESETS for each in self._possible(preset(name))]
            )
            others = [other for other in others if other.name != study.name]
            found.append(lab.dry_run(study, self.settings(), others))
        if self.json:
            print_json({"studies": [each.to_dict() for each in found]})
        else:
            print("\n".join(map(str, found)))
        return 0

    def _budget(self) -> Budget:
        """What ``--budget`` says.

        Raises:
            SpecError: neither a number of runs nor a duration, or without ``--until_decided``.
        """
        from interplay.cli.read import seconds_of
        from interplay.lab import Budget

        if self.budget is None:
            return Budget()
        if not self.until_decided:
            raise SpecError("--budget is for --until_decided")
        if not self.budget.strip().isdecimal():
            return Budget(seconds=seconds_of(self.budget, "budget"))
        runs = self.budget.strip()[:20]
        if int(runs) < 1:
            raise SpecError(f"budget must be 1 run or more, or a duration such as 2h, not {self.budget!r}")
        return Budget(runs=int(runs))

    def _possible(self, study: Study) -> list[Study]:
        """A documented set under these flags, unless they make it impossible: it is only compared with."""
        try:
            return [self.applied(study)]
        except SpecError:
            return []


@dataclasses.dataclass(kw_only=True)
class RetryFlags(OverrideFlags, ClusterFlags):
    """Run failed runs again."""

    name: Annotated[str | None, tyro.conf.Positional, arg(help="only those of this study")] = None

    def call(self) -> int:
        """Run them, or say that there is none."""
        from interplay import lab
        from interplay.study.files import load

        if lab.retry(self.settings(), self.applied(load(self.name)) if self.name else None) is None:
            print("no run has failed")
        return 0
