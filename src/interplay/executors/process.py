"""A worker process as its supervisor sees it: started with an environment of its own, given orders, heard, ended.

Orders and answers are pickled objects on one connection of `multiprocessing`. The process itself is started by
`subprocess`, not by the library's spawn, which cannot do what a worker needs: an environment that is set before its
interpreter starts and is nobody else's, a session of its own (Ctrl-C goes to the supervisor alone), its last words
kept, and no second import of the user's ``__main__``, which may be a script without a guard or a notebook.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import Pipe, connection
from typing import TYPE_CHECKING, Any, Literal

from interplay.devices import Slot
from interplay.train.names import Autotune, StackPath
from interplay.trial import Spec

if TYPE_CHECKING:
    from interplay.executors.job import Job

STUCK_SECONDS = 30
"""Within which a message that has begun must have come: a process stopped in the middle of one must not stop others."""


@dataclass(frozen=True)
class Begin:
    """The first order of a worker that trains. It answers `Ready`."""

    job: Job
    name: str


@dataclass(frozen=True)
class Train:
    """Attempt these runs: one on the plain path, or those of a stack. Answered by events, the last `RunEnded` each."""

    specs: tuple[Spec, ...]
    way: Literal["single"] | StackPath
    facts: Mapping[str, Any]
    autotune: Autotune = "none"


@dataclass(frozen=True)
class Stop:
    """Stop at the next epoch, with a checkpoint, and take no more orders."""


@dataclass(frozen=True)
class Ready:
    """A worker can be given runs."""


class WorkerProcess:
    """One process, ``python -m interplay.executors.worker``.

    Args:
        slot: where it goes; it sees the GPU of this slot alone.
        threads: its CPU threads (0: torch's choice).
    """

    def __init__(self, slot: Slot, threads: int = 1) -> None:
        self.slot = slot
        # The driver numbers GPUs by their bus, CUDA by their speed unless it is told otherwise.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": slot.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        if threads:
            environment |= {"OMP_NUM_THREADS": str(threads)}
        self.connection, theirs = Pipe()
        self._ended: str | None = None
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "interplay.executors.worker", str(threads), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=[theirs.fileno()],
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            self.connection.close()
            self._words.close()
            raise
        finally:
            theirs.close()
        # Where the system has no such descriptor, the end of the connection says the same, unless a process that the
        # worker forked holds it open.
        self._sentinel = os.pidfd_open(self._process.pid) if hasattr(os, "pidfd_open") else None
        limit = struct.pack("ll", STUCK_SECONDS, 0)
        with socket.fromfd(self.connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as ours:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def signs(self) -> list[Any]:
        """What `multiprocessing.connection.wait` is to watch: its messages and its death."""
        return [self.connection, *([] if self._sentinel is None else [self._sentinel])]

    def send(self, order: object) -> None:
        """Give it an order; where it is gone, that is noticed by its death."""
        with contextlib.suppress(OSError):
            self.connection.send(order)

    def receive(self) -> object:
        """The next message, when one of its `signs` is there; raises `EOFError` when it is gone or stuck."""
        try:
            if not self.connection.poll():
                raise EOFError  # the sentinel woke us, and it has said all that it had to say
            return self.connection.recv()
        except OSError as error:
            raise EOFError from error

    def answer(self, seconds: float) -> object:
        """The next message, or ``None`` if there is none within ``seconds``. Raises `EOFError` when it is gone."""
        return self.receive() if connection.wait(self.signs, seconds) else None

    def dismiss(self) -> None:
        """Let it go: it takes no more orders, and stops at the next epoch if it has one."""
        self.connection.close()

    def kill(self) -> None:
        """End it at once; its death is noticed as any other."""
        self._process.kill()

    def close(self) -> str:
        """Wait for its end, free what it held, and return how it ended, with its last words. May be called again."""
        if self._ended is not None:
            return self._ended
        code = _wait(self._process)
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        self._words.close()
        self.connection.close()
        if self._sentinel is not None:
            os.close(self._sentinel)
        self._ended = f"({_cause(code)})" + (f": {lines[-1].strip()}" if lines else "")
        return self._ended

    def end(self) -> None:
        """Kill it and free what it held."""
        self.kill()
        self.close()


def _wait(process: subprocess.Popen[bytes], seconds: float = 10.0) -> int:
    """The exit code; a process that does not end (a driver may hang in its last call) is killed, then left behind."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
