"""The command line: parse, then one call into the lab. Help answers without importing torch."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import tyro
from tyro.conf import arg

from interplay.errors import InterplayError, SpecError
from interplay.spec import RunSpec
from interplay.train.names import InstrumentName

if TYPE_CHECKING:
    from interplay.lab import Settings
    from interplay.study.study import Study

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
class RunFlags(KnobFlags):  # type: ignore[misc]
    """Train one network and leave its record and its row in results.csv."""

    use_amp: Annotated[bool, arg(help="mixed precision (bf16) on GPUs; --no_use_amp for fp32")] = True
    data_dir: Annotated[Path, arg(help="where datasets lie or are downloaded to")] = Path("data")
    output_dir: Annotated[Path, arg(help="where the run's folder and results.csv go")] = Path("outputs")
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:N")] = "auto"
    threads: Annotated[int, arg(help="CPU threads (0: torch's choice)")] = 0
    save_checkpoints: Annotated[bool, arg(help="keep the best and the final weights")] = False
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False
    instruments: Annotated[tuple[InstrumentName, ...], arg(help="extra measurements at each epoch")] = ()
    checkpoint_seconds: Annotated[float, arg(help="between two checkpoints to resume from")] = 300.0
    lapse_seconds: Annotated[float, arg(help="a worker silent for so long loses this run")] = 60.0

    def spec(self) -> RunSpec:
        """The specification that the flags describe."""
        knobs = {name: getattr(self, name) for name, *_ in _knob_flags()}
        return RunSpec(**knobs, precision="bf16" if self.use_amp else "fp32")

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        from interplay.lab import Settings

        names = {f.name for f in dataclasses.fields(self)}
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings) if f.name in names})

    def call(self) -> int:
        """Run it."""
        from interplay import lab

        spec = self.spec()
        lab.run(spec, self.settings())
        return 0


@dataclasses.dataclass(kw_only=True)
class PlaceFlags:
    """Where things lie."""

    data_dir: Annotated[Path, arg(help="where datasets lie or are downloaded to")] = Path("data")
    output_dir: Annotated[Path, arg(help="where runs, results, logs and checkpoints go")] = Path("outputs")


@dataclasses.dataclass(kw_only=True)
class MachineFlags(PlaceFlags):
    """Where and how a study runs."""

    gpus: Annotated[str | None, arg(help="all, 0, 0,1,2,3, 0-7 or 0,2-4,7 (default: the CPU)")] = None
    per_gpu: Annotated[int, arg(help="runs at a time on one GPU (0: by its free memory)")] = 0
    workers: Annotated[int, arg(help="on a CPU, runs at a time (0: one a core)")] = 0
    executor: Annotated[Literal["local", "inline"], arg(help="worker processes, or this process")] = "local"
    save_checkpoints: Annotated[bool, arg(help="keep the best and the final weights of each run")] = False
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False
    log: Annotated[bool, arg(help="write a log under logs/; --no_log to leave it")] = True
    checkpoint_seconds: Annotated[float, arg(help="between two checkpoints to resume from")] = 300.0
    lapse_seconds: Annotated[float, arg(help="a worker silent for so long loses its run")] = 60.0
    hang_seconds: Annotated[float, arg(help="a run without progress for so long is killed and tried again")] = 1800.0

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        from interplay.lab import Settings

        names = {f.name for f in dataclasses.fields(self)}
        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings) if f.name in names})


@dataclasses.dataclass(kw_only=True)
class OverrideFlags:
    """Knobs that may be set for all runs of a study."""

    dataset: Annotated[str | None, arg(help="train on other data than the study says")] = None
    model: Annotated[str | None, arg(help="train another network")] = None
    epochs: Annotated[int | None, arg(help="another number of epochs")] = None
    train_limit: Annotated[int | None, arg(help="train on this many images only")] = None
    seeds: Annotated[tuple[int, ...], arg(help="run every setting under each of these seeds")] = ()

    def applied(self, study: Study) -> Study:
        """``study`` with the knobs that were given."""
        given = {name: getattr(self, name) for name in ("dataset", "model", "epochs", "train_limit")}
        study = study.overridden(**{name: value for name, value in given.items() if value is not None})
        return study.with_seeds(self.seeds) if self.seeds else study


@dataclasses.dataclass(kw_only=True)
class StudyFlags(OverrideFlags, MachineFlags):
    """Run what is missing of studies: documented sets (lr-ordering, eta-lambda, batch-scaling) or TOML files."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, arg(help="names of sets, or paths of .toml files")]
    dry_run: Annotated[bool, arg(help="only say what there is to do and how long it may take")] = False
    extend: Annotated[bool, arg(help="add the cells that the analysis of its runs asks for")] = False

    def call(self) -> int:
        """Plan it, and unless told otherwise, run it."""
        from interplay import lab
        from interplay.study.files import load
        from interplay.study.presets import PRESETS, preset

        studies = [self.applied(load(name)) for name in self.names]
        if not studies:
            raise SpecError(f"which study? allowed: {', '.join(PRESETS)}, or paths of .toml files")
        if self.extend:
            studies = [lab.extended(study, self.settings()) for study in studies]
        if self.dry_run:
            for study in studies:
                others = studies if len(studies) > 1 else [self.applied(preset(name)) for name in PRESETS]
                others = [other for other in others if other.name != study.name]
                print(lab.dry_run(study, self.settings(), others))
        else:
            lab.run_studies(studies, self.settings())
        return 0


@dataclasses.dataclass(kw_only=True)
class StatusFlags(OverrideFlags, MachineFlags):
    """Say which runs are finished, running, diverged, interrupted or failed."""

    name: Annotated[str | None, tyro.conf.Positional, arg(help="only this study (default: the whole store)")] = None

    def call(self) -> int:
        """Print the state."""
        from interplay import lab
        from interplay.study.files import load

        print(lab.show_status(self.settings(), self.applied(load(self.name)) if self.name else None))
        return 0


@dataclasses.dataclass(kw_only=True)
class RetryFlags(OverrideFlags, MachineFlags):
    """Run failed runs again."""

    name: Annotated[str | None, tyro.conf.Positional, arg(help="only those of this study")] = None

    def call(self) -> int:
        """Run them, or say that there is none."""
        from interplay import lab
        from interplay.study.files import load

        if lab.retry(self.settings(), self.applied(load(self.name)) if self.name else None) is None:
            print("no run has failed")
        return 0


@dataclasses.dataclass(kw_only=True)
class RebuildFlags:
    """Make results.csv anew from the folders of the runs."""

    output_dir: Annotated[Path, arg(help="where the runs lie")] = Path("outputs")

    def call(self) -> int:
        """Rebuild, and name every row that no record stands behind."""
        from interplay import lab

        settings = lab.Settings(output_dir=self.output_dir)
        for row in lab.rebuild(settings):
            print(f"{row}\n  kept in {settings.store().aside}")
        print(f"{settings.store().results} has {sum(1 for _ in settings.store().records())} rows")
        return 0


@dataclasses.dataclass(kw_only=True)
class DoctorFlags:
    """Check versions, GPUs, data and disk; exit 1 if something stops runs."""

    data_dir: Annotated[Path, arg(help="where datasets lie")] = Path("data")
    output_dir: Annotated[Path, arg(help="where results would go")] = Path("outputs")

    def call(self) -> int:
        """Print the checks."""
        from interplay import doctor

        checks = doctor.examine(self.data_dir, self.output_dir)
        print("\n".join(map(str, checks)))
        return 1 if any(check.verdict == "problem" for check in checks) else 0


@dataclasses.dataclass(kw_only=True)
class AnalyzeFlags:
    """Say what measurements support: noise, optima and verdicts, each with its interval."""

    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, arg(help="output folders, or CSV files; several are repeated batches")
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    json: Annotated[bool, arg(help="print JSON instead of tables")] = False

    def call(self) -> int:
        """Print the analysis."""
        import json

        from interplay import lab
        from interplay.analysis.words import report

        found = lab.analyze(self.inputs, self.metric)
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False) if self.json else report(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class VerifyFlags:
    """Put the engine to problems whose answer is known in closed form; exit 1 if it says something false."""

    studies: Annotated[int, arg(help="simulated studies of each problem")] = 20

    def call(self) -> int:
        """Print expected and found."""
        from interplay.analysis.verify import verify
        from interplay.analysis.words import verification

        lines = verify(self.studies)
        print(verification(lines))
        return 1 if any(line.false > 0.05 * line.studies for line in lines) else 0


COMMANDS: dict[str, Any] = {
    "run": RunFlags,
    "study": StudyFlags,
    "status": StatusFlags,
    "retry": RetryFlags,
    "rebuild": RebuildFlags,
    "analyze": AnalyzeFlags,
    "verify": VerifyFlags,
    "doctor": DoctorFlags,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for impossible values, 1 for what went wrong, 130 interrupted)."""
    return call(COMMANDS, "interplay", sys.argv[1:] if argv is None else argv)


def run_main(argv: Sequence[str] | None = None) -> int:
    """The documented ``main.py``: ``interplay run`` under its own name."""
    return call({"main.py": RunFlags}, "main.py", sys.argv[1:] if argv is None else argv)


def call(commands: dict[str, Any], prog: str, argv: Sequence[str]) -> int:
    """Parse ``argv`` for one of ``commands`` (a single one needs no name) and run it."""
    args = spelled_out(argv)
    try:
        if len(commands) == 1:
            flags = tyro.cli(next(iter(commands.values())), prog=prog, args=args, use_underscores=True)
        else:
            flags = tyro.extras.subcommand_cli_from_dict(
                commands, prog=prog, args=args, use_underscores=True, description=__doc_line__
            )
        return int(flags.call())
    except InterplayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read along has gone (``| head``)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


__doc_line__ = "Measure how learning rate, weight decay, batch size, momentum and schedule act together."


def spelled_out(argv: Sequence[str]) -> list[str]:
    """``argv`` with ``--flag true`` and ``--flag false`` of the switches turned into ``--flag`` and ``--no_flag``.

    The documents use ``--use_amp false`` and ``--no_use_amp`` for the same thing.
    """
    args: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        flag = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or flag not in _SWITCHES:
            args.append(word)
            continue
        if not equals and words and words[0].lower() in _TRUTH:
            value, equals = words.pop(0), "="
        if equals and value.lower() not in _TRUTH:
            args.append(word)  # left for the parser to refuse
            continue
        args.append(f"--{flag}" if not equals or _TRUTH[value.lower()] else f"--no_{flag}")
    return args


_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SWITCHES = {
    field.name
    for flags in (RunFlags, StudyFlags, AnalyzeFlags)
    for field in dataclasses.fields(flags)
    if field.type in ("bool", bool) or str(field.type).startswith("Annotated[bool")
}


if __name__ == "__main__":
    sys.exit(main())
