"""The command line: parse, then one call into the lab. Help answers without importing torch."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from interplay import notes
from interplay.commands.reading import (
    AnalyzeFlags,
    CancelFlags,
    CompareFlags,
    DoctorFlags,
    PlanFlags,
    PredictFlags,
    RebuildFlags,
    ReportFlags,
    StatusFlags,
    VerifyFlags,
)
from interplay.commands.running import RetryFlags, RunFlags, StudyFlags
from interplay.errors import InterplayError

COMMANDS: dict[str, Any] = {
    "run": RunFlags,
    "study": StudyFlags,
    "plan": PlanFlags,
    "status": StatusFlags,
    "cancel": CancelFlags,
    "retry": RetryFlags,
    "rebuild": RebuildFlags,
    "analyze": AnalyzeFlags,
    "compare": CompareFlags,
    "predict": PredictFlags,
    "report": ReportFlags,
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
    notes.forget()
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
    for flags in COMMANDS.values()
    for field in dataclasses.fields(flags)
    if field.type in ("bool", bool) or str(field.type).startswith("Annotated[bool")
}


if __name__ == "__main__":
    sys.exit(main())
