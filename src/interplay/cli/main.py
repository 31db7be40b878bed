"""The command line: parse, then one call into the lab. Help answers without importing torch."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import tyro

from interplay import __version__, notes
from interplay.cli.read import (
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
from interplay.cli.run import RetryFlags, RunFlags, StudyFlags
from interplay.cli.tables import ImportFlags
from interplay.errors import InterplayError, SpecError
from interplay.text import printable

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
    "import": ImportFlags,
    "verify": VerifyFlags,
    "doctor": DoctorFlags,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for impossible values, 1 for what went wrong, 130 interrupted)."""
    words = sys.argv[1:] if argv is None else argv
    if list(words) == ["--version"]:
        print(f"interplay {__version__}")
        return 0
    return call(COMMANDS, "interplay", words or ["--help"])


def run_main(argv: Sequence[str] | None = None) -> int:
    """The documented ``main.py``: ``interplay run`` under its own name."""
    return call({"main.py": RunFlags}, "main.py", sys.argv[1:] if argv is None else argv)


def call(commands: dict[str, Any], prog: str, argv: Sequence[str]) -> int:
    """Parse ``argv`` for one of ``commands`` (a single one needs no name) and run it."""
    _write_anything()
    notes.forget()
    previous = _stop_on_termination()
    try:
        _refuse_empty(argv)
        args = spelled_out(argv)
        if len(commands) == 1:
            flags = tyro.cli(next(iter(commands.values())), prog=prog, args=args, use_underscores=True)
        else:
            flags = tyro.extras.subcommand_cli_from_dict(
                commands, prog=prog, args=args, use_underscores=True, description=__doc_line__
            )
        return int(flags.call())
    except BrokenPipeError:  # whoever read along has gone (``| head``)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("INTERPLAY_TRACEBACK"):
            raise
        words, code = explained(error)
        print(printable(words), file=sys.stderr)
        return code
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


INTERRUPTED = 130
"""Exit code after a signal: no error, and not called one."""


def explained(error: Exception) -> tuple[str, int]:
    """What is said of ``error`` on the command line, and the exit code."""
    match error:
        case InterplayError():
            interrupted = error.exit_code == INTERRUPTED
            return (str(error) if interrupted else f"error: {error}"), error.exit_code
        case OSError():
            where = f"{error.filename}: " if error.filename is not None else ""
            unusable = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | PermissionError)
            return f"error: {where}{error.strerror or error}", 2 if unusable else 1
        case MemoryError():
            return "error: there is not enough memory for this", 1
        case RecursionError():
            return "error: the input is nested too deeply", 2
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    text = " ".join(str(error).split())[:500]
    return f"error: {type(error).__name__}: {text} ({where}; a fault of interplay: INTERPLAY_TRACEBACK=1 shows more)", 1


def _write_anything() -> None:
    """Characters that the terminal's encoding lacks are written as question marks; output never ends a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _stop_on_termination() -> Any:
    """SIGTERM is Ctrl-C for all commands; returns the handler to put back, or ``None`` where signals are not ours."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return None

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, stop)


def _refuse_empty(argv: Sequence[str]) -> None:
    """Refuse what an unset variable in quotes leaves: an empty path would be the current folder.

    Raises:
        SpecError: an empty argument; names its flag.
    """
    for before, word in zip(("", *argv), argv, strict=False):
        flag, equals, value = word.partition("=")
        if not word.strip():
            named = before.startswith("--") and "=" not in before
            raise SpecError(f"--{before[2:].replace('-', '_')} is empty" if named else "an argument is empty")
        if flag.startswith("--") and equals and not value.strip():
            raise SpecError(f"--{flag[2:].replace('-', '_')} is empty")


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
