"""The command line: parse, then one call into the lab. Help answers without importing torch."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from interplay import __version__, notes
from interplay.errors import InterplayError, SpecError, nearest
from interplay.text import printable, shown

if TYPE_CHECKING:
    from interplay.cli.flags import Command

ABOUT = "Measure how learning rate, weight decay, batch size, momentum and schedule act together."

COMMANDS = {
    "run": ("interplay.cli.run:RunFlags", "train one network"),
    "study": ("interplay.cli.study:StudyFlags", "run what is missing of studies, of sets or of files"),
    "plan": ("interplay.cli.state:PlanFlags", "how long studies will take, and how many workers meet a deadline"),
    "status": ("interplay.cli.state:StatusFlags", "which runs are finished, running, diverged, interrupted or failed"),
    "cancel": ("interplay.cli.state:CancelFlags", "end the jobs that were handed to Slurm"),
    "retry": ("interplay.cli.study:RetryFlags", "run failed runs again"),
    "rebuild": ("interplay.cli.state:RebuildFlags", "make results.csv anew from the folders of the runs"),
    "analyze": ("interplay.cli.read:AnalyzeFlags", "what measurements support: noise, optima and verdicts"),
    "compare": ("interplay.cli.read:CompareFlags", "two groups of runs side by side"),
    "predict": ("interplay.cli.read:PredictFlags", "the best weight decay for a learning rate, or the reverse"),
    "report": ("interplay.cli.read:ReportFlags", "one HTML page and the documented figures"),
    "table": ("interplay.cli.paper:TableFlags", "tables for a paper, as LaTeX, Markdown or CSV"),
    "import": ("interplay.cli.tables:ImportFlags", "bring runs of another tool into an output folder"),
    "verify": ("interplay.cli.read:VerifyFlags", "put the engine to problems whose answer is known"),
    "doctor": ("interplay.cli.state:DoctorFlags", "check versions, GPUs, data and disk"),
}
"""Where each command is, and what it does, for the overview: this needs none of them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (2 for impossible values, 1 for what went wrong, 130 interrupted)."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if words == ["--version"]:
        print(f"interplay {__version__}")
        return 0

    def run() -> int:
        name, *rest = words
        if name in ("-h", "--help"):
            print(overview())
            return 0
        if name not in COMMANDS:
            what = f"{name} comes after a command" if name.startswith("-") else f"no command {shown(name)}"
            raise SpecError(f"{what}; {nearest(name, COMMANDS)}")
        return _parsed(command(name), f"interplay {name}", rest)

    return _guarded(run, words)


def command(name: str) -> type[Command]:
    """The command of that name."""
    module, _, kind = COMMANDS[name][0].partition(":")
    found: type[Command] = getattr(import_module(module), kind)
    return found


def overview() -> str:
    """The help of ``interplay`` itself."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items()]
    end = [
        "interplay COMMAND --help shows the flags of a command.",
        "example: interplay run --dataset digits --model mlp --epochs 20 --lr 0.1 --wd 5e-4",
    ]
    return "\n".join(["usage: interplay [-h] [--version] COMMAND ...", "", ABOUT, "", "commands:", *lines, "", *end])


def run_main(argv: Sequence[str] | None = None) -> int:
    """The documented ``main.py``: ``interplay run`` under its own name."""
    return call(command("run"), "main.py", sys.argv[1:] if argv is None else argv)


def call(command: type[Command], prog: str, argv: Sequence[str]) -> int:
    """Parse ``argv`` for ``command`` and run it."""
    return _guarded(lambda: _parsed(command, prog, argv), argv)


def _parsed(command: type[Command], prog: str, argv: Sequence[str]) -> int:
    from interplay.cli.flags import parse  # tyro

    return parse(command, prog, argv).call()


def _guarded(run: Callable[[], int], argv: Sequence[str]) -> int:
    """Run, with notes shown on standard error; whatever goes wrong is a line and an exit code."""
    _write_anything()
    notes.forget()
    previous = _stop_on_termination()
    try:
        with notes.shown():
            _refuse_empty(argv)
            return run()
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


if __name__ == "__main__":
    sys.exit(main())
