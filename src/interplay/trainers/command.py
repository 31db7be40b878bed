"""A trial whose training is a command: started, followed, stopped, and read."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from interplay.errors import DataError
from interplay.record import RunRecord
from interplay.study.trainer import filled, split
from interplay.trainers import keeper
from interplay.trainers.base import (
    POLL_SECONDS,
    RUN_DIR,
    Running,
    TrialBusyError,
    TrialFailedError,
    TrialKilledError,
    TrialStoppedError,
)
from interplay.trainers.code import environment
from interplay.trainers.metrics import Lines
from interplay.trial import Trial, Value

KEPT = 4 * 2**20
"""Bytes of standard output and of standard error that are kept; twice as much may lie there for a while."""

_LAST_LINES = 20
"""Of standard error, in the record of a failure."""


_FROM_OUTSIDE = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1, signal.SIGUSR2)
)
"""Signals that somebody sends; others come of what a program does."""


class CannotStartError(DataError):
    """The command cannot be started; no other run of the study could be."""


def carry_out(run: Running, device: str, facts: Mapping[str, Any]) -> RunRecord:
    """Run the command of a trial to its end, again after failures as often as it may, and return its record.

    Raises:
        CannotStartError: there is no such program.
        TrialBusyError: the command of an earlier attempt is still at work.
        TrialKilledError: it, or its keeper, was ended by a signal that was not sent from here.
        TrialFailedError: it failed, or reported nothing.
        TrialStoppedError: it was asked to stop.
    """
    trial, options = run.trial, run.trial.options
    run.run_dir.mkdir(exist_ok=True)
    values = placeholders(trial, run.folder)
    argv = [filled(word, values) for word in split(trial.trainer.name)]
    noted = {**environment(trial, device, argv), **facts}
    for attempt in range(options.retries + 1):
        try:
            _Attempt(run, argv, variables(trial, run.folder, values)).carry_out()
            return run.record(noted)
        except TrialFailedError as error:
            if attempt == options.retries or run.should_stop():
                raise
            run.note(f"run {trial.run_id}: {error.reason}; tried again ({attempt + 1} of {options.retries})")
    raise AssertionError("the last attempt returns or raises")


def placeholders(trial: Trial, folder: Path) -> dict[str, Value]:
    """What stands for each ``{name}``."""
    return {
        **dict(trial.knobs.items()),
        "seed": trial.seed,
        "run_id": trial.run_id,
        "run_dir": str((folder / RUN_DIR).resolve()),
        "spec": str((folder / "spec.json").resolve()),
    }


def variables(trial: Trial, folder: Path, values: Mapping[str, Value]) -> dict[str, str]:
    """The environment of the command: that of the worker, with CUDA_VISIBLE_DEVICES of its slot, and the run's own."""
    found = dict(os.environ)
    # Without it the last lines before a kill would never be seen, nor an epoch before the buffer is full.
    found.setdefault("PYTHONUNBUFFERED", "1")
    # Where no environment is active, `python` is the one that the lab is installed in, if there is no other.
    found["PATH"] = os.pathsep.join(filter(None, (found.get("PATH", os.defpath), str(Path(sys.executable).parent))))
    found |= {
        "INTERPLAY_RUN_DIR": str(values["run_dir"]),
        "INTERPLAY_SPEC": str(values["spec"]),
        "INTERPLAY_RUN_ID": str(values["run_id"]),
        "INTERPLAY_SEED": str(values["seed"]),
    }
    return found | {name: filled(text, values) for name, text in trial.options.environment}


class _Attempt:
    """One start of the command."""

    def __init__(self, run: Running, argv: list[str], env: Mapping[str, str]) -> None:
        self.run, self.argv, self.env = run, argv, dict(env)
        self.options = run.trial.options
        self._printed: dict[str, Any] | None = None
        """The object that was printed last, where those are the measurements."""
        self.stdout, self.stderr = run.folder / "stdout.log", run.folder / "stderr.log"
        if shutil.which(argv[0], path=self.env["PATH"]) is None and not (Path(self.options.folder) / argv[0]).is_file():
            raise CannotStartError(f"cannot start the command: there is no program {argv[0]!r}")

    def carry_out(self) -> None:
        """Start it, follow it, and see how it ended."""
        header = f"== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC, {socket.gethostname()}: {shlex.join(self.argv)}\n"
        begins = {path: _begin(path, header) for path in (self.stdout, self.stderr)}
        file = self.run.run_dir / self.options.metrics if self.options.metrics else None
        lines = Lines(file or self.stdout, 0 if file is not None else begins[self.stdout], self.options.pattern)
        if file is not None:
            for each in lines.new():  # of earlier attempts
                self.run.curve.add(each, 0.0, old=True)
        self.run.curve.begin(time.monotonic())
        code = self._follow(lines)
        self._read(lines, last=True)
        if file is not None and not lines.found:
            self.run.take(*lines.whole())
        if self.run.curve.diverged is not None:
            return
        if (number := code - 128 if code > 128 else -code) in _FROM_OUTSIDE:
            # Clusters send signals to all that a job has started, not to the worker alone.
            raise TrialKilledError(f"the command was ended by {signal.Signals(number).name}")
        if code:
            raise TrialFailedError(*self._words(_cause(code), begins))
        try:
            self.run.record({})
        except TrialFailedError as error:
            place = f": no line of {file or 'standard output'} {self._sought}"
            if file is not None and not file.exists():
                place = f": there is no {file}; the folder is {{run_dir}} of the command, and $INTERPLAY_RUN_DIR"
            reason = error.reason if lines.found or self.run.curve.last else f"{error.reason}{place}"
            raise TrialFailedError(*self._words(reason, begins)) from error

    @property
    def _sought(self) -> str:
        if self.options.pattern:
            return "matches the pattern"
        return "is a JSON object" + ("" if self.options.metrics else "; print one, or say a pattern of its lines")

    def _follow(self, lines: Lines) -> int:
        """The exit code, once it has ended; what it measures meanwhile is told."""
        with _kept(self.argv, self.env, self.options.folder, self.stdout, self.stderr, self.run.folder) as kept:
            began, stopping = time.monotonic(), ""
            while (code := kept.ended(POLL_SECONDS)) is None:
                self._read(lines)
                self.run.alive()
                if stopping:
                    continue
                if self.run.should_stop():
                    stopping = "stopped"
                elif self.run.curve.diverged is not None:
                    stopping = "diverged"
                elif self.options.timeout and time.monotonic() - began > self.options.timeout:
                    stopping = f"it ran past its timeout of {self.options.timeout:g} s"
                if stopping:
                    kept.stop(self.options.grace)
            # It may have been asked to stop by whoever asks the worker, and have ended in good order.
            asked = stopping == "stopped" or (not stopping and code == 0 and self.run.should_stop())
            if asked and not (code == 0 and self._is_complete(lines)):
                raise TrialStoppedError(f"asked to stop; run_dir is {self.run.run_dir}")
            if stopping not in ("", "diverged"):
                raise TrialFailedError(stopping)
            return code

    def _is_complete(self, lines: Lines) -> bool:
        """Whether it has reported the last of the epochs that it was to train for, if that is told."""
        self._read(lines)
        epochs = self.run.trial.epochs
        return isinstance(epochs, int) and self.run.curve.last >= epochs

    def _read(self, lines: Lines, *, last: bool = False) -> None:
        found = lines.new(last=last)
        if self.options.metrics:
            self.run.take(*found)
        else:
            # What a script prints besides its measurements, such as its arguments, has no epoch; the last line counts.
            for each in found:
                if "epoch" in each or self.options.pattern:
                    self.run.take(each)
                self._printed = each
            if last and self._printed is not None and not self.options.pattern:
                self.run.take(self._printed)
        for path in (self.stdout, self.stderr):
            cut = _cut(path)
            if cut is not None and path == lines.path:
                lines.moved(cut)

    def _words(self, cause: str, begins: Mapping[Path, int]) -> tuple[str, str | None]:
        """The reason of a failure in one line, and the last lines of standard error, or else of standard output."""
        for path, where in ((self.stderr, ""), (self.stdout, "the last line it printed is ")):
            said = _tail(path, begins[path])
            if last := next((line.strip() for line in reversed(said) if line.strip()), ""):
                return f"{cause}: {where}{last}", "\n".join(said)
        return f"{cause}: it printed nothing", None


class _Keeper:
    """The process that starts commands for this one, one after the other, and leaves nothing of them."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        self._rest, self.free = b"", True
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", keeper.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it can be given an order."""
        return self._process.poll() is None

    def start(self, order: Mapping[str, Any]) -> None:
        """Have a command started; `ended` says whether that could be."""
        self._rest, self.free = b"", False
        with contextlib.suppress(OSError):  # it has died already, which is noticed as it is asked
            self._link.sendall(json.dumps(order).encode() + b"\n")

    def ended(self, seconds: float) -> int | None:
        """The exit code, minus the number of a signal; ``None`` if it has not ended within ``seconds``.

        Raises:
            CannotStartError: it could not be started.
            TrialBusyError: the command of an earlier attempt is still at work.
            TrialKilledError: its keeper was killed, and so was it.
        """
        if not select.select([self._link], [], [], seconds)[0]:
            return None
        try:
            words = self._link.recv(4096)
        except OSError:
            words = b""
        if not words:
            raise TrialKilledError("the process that watches over the command was killed, and the command with it")
        self._rest += words
        if not self._rest.endswith(b"\n"):
            return None
        answer = json.loads(self._rest)
        self.free = True
        if "error" in answer:
            raise CannotStartError(f"cannot start the command: {answer['error']}")
        if "busy" in answer:
            raise TrialBusyError("the command of an earlier attempt is still at work in the folder of the run")
        return int(answer["code"])

    def stop(self, grace: float) -> None:
        """Ask the command to stop with SIGTERM; SIGKILL follows after ``grace`` seconds."""
        with contextlib.suppress(OSError):
            self._link.sendall(f"stop {grace:g}\n".encode())

    def close(self) -> None:
        """End it, and the command that it has; returns when nothing is left."""
        self._link.close()
        self._process.wait()


_idle: dict[int, _Keeper] = {}
"""The keeper that waits for the next command of this process, by its number: a fork has none."""


@atexit.register
def _close_idle() -> None:
    kept = _idle.pop(os.getpid(), None)
    if kept is not None:
        kept.close()


@contextmanager
def _kept(
    argv: list[str], env: Mapping[str, str], cwd: str, stdout: Path, stderr: Path, folder: Path
) -> Iterator[_Keeper]:
    """Start a command by its keeper; after it, whatever happens, nothing of the command is left."""
    kept = _idle.pop(os.getpid(), None)
    if kept is not None and not kept.alive:
        kept.close()
        kept = None
    kept = kept or _Keeper()
    names = {"stdout": str(stdout.resolve()), "stderr": str(stderr.resolve()), "lock": str(folder.resolve())}
    kept.start({"argv": argv, "cwd": cwd, "env": dict(env), **names})
    try:
        yield kept
    finally:
        if kept.free and os.getpid() not in _idle:
            _idle[os.getpid()] = kept
        else:
            kept.close()


def _begin(path: Path, header: str) -> int:
    """Append the header of an attempt to a log; returns where its own lines begin."""
    with path.open("ab") as file:
        if file.tell():
            file.write(b"\n")
        file.write(header.encode("utf-8", "replace"))
        return file.tell()


def _cut(path: Path) -> int | None:
    """Keep the end of a log that has grown too long; returns its new length, ``None`` where nothing was cut.

    In place, as the command has it open for appending: a line that it writes in this very moment may be lost.
    """
    try:
        if path.stat().st_size <= 2 * KEPT:
            return None
        with path.open("r+b") as file:
            file.seek(-KEPT, os.SEEK_END)
            end = file.read()
            file.seek(0)
            file.write(b"[the beginning was cut]\n" + end.partition(b"\n")[2])
            file.truncate()
            return file.tell()
    except OSError:
        return None


def _tail(path: Path, begin: int) -> list[str]:
    """The last lines of a log after ``begin``."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin if size >= begin else 0, size - 20_000))
            return file.read().decode(errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        return []


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
