"""The command line: parse, then one call into the lab. Help answers without importing torch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from operator import getitem
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from tyro.conf import arg

from interplay.errors import InterplayError
from interplay.spec import RunSpec
from interplay.train.names import InstrumentName

if TYPE_CHECKING:
    from interplay.lab import Settings

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

    def spec(self) -> RunSpec:
        """The specification that the flags describe."""
        knobs = {name: getattr(self, name) for name, *_ in _knob_flags()}
        return RunSpec(**knobs, precision="bf16" if self.use_amp else "fp32")

    def settings(self) -> Settings:
        """The operational settings that the flags describe."""
        from interplay.lab import Settings

        return Settings(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Settings)})

    def call(self) -> int:
        """Run it."""
        from interplay import lab

        spec = self.spec()
        lab.run(spec, self.settings())
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


COMMANDS: dict[str, Any] = {"run": RunFlags, "doctor": DoctorFlags}


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
        flag = name.replace("-", "_").removeprefix("__")
        if flag not in _SWITCHES:
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
_SWITCHES = {name for name, kind in get_type_hints(RunFlags).items() if kind is bool}


if __name__ == "__main__":
    sys.exit(main())
