"""Between a worker and the command that it runs: a small process of its own, which sees to it that nothing is left.

It starts the command, reports how it ended, and passes on the request to stop. When the worker is gone - its end of the
socket closes, whatever killed it - the command and all that it started are killed at once. Processes that the command
detached from itself come to this process (``PR_SET_CHILD_SUBREAPER``) and are killed too. Should this process itself be
killed, the command gets SIGKILL from the kernel (``PR_SET_PDEATHSIG``); a worker has threads, so it could not ask for
that safely.

Run by path with ``python -I -S``, so that it starts within milliseconds: nothing but the standard library, and nothing
of this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_SUBREAPER, _PDEATHSIG = 36, 1
_LOCK_SECONDS = 10.0
"""Within which the command of an earlier attempt is gone as a rule: its keeper kills it as it notices."""


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _die_with_parent() -> None:
    _prctl(_PDEATHSIG, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (OSError, ValueError):
        return []


def _kill_all(group: int) -> None:
    """Kill the command, its group, and whatever has come to this process since; leave none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        for pid in _children(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return


def _lock(folder: str) -> bool:
    """Hold the folder of the run until this process ends, so that two commands are never at work in it.

    Returns False where another command is at work there still, whose worker was stopped and not killed, say.
    """
    handle = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        except OSError:
            return True  # a file system without locks of folders
        else:
            return True


def main() -> None:
    """Run the command that the first line on the socket describes."""
    worker = socket.socket(fileno=int(sys.argv[1]))
    order, rest = _order(worker)

    def tell(**answer: Any) -> None:
        with contextlib.suppress(OSError):
            worker.sendall(json.dumps(answer).encode() + b"\n")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker says what is to be done
    _prctl(_SUBREAPER, 1)
    try:
        if not _lock(order["lock"]):
            tell(busy=True)
            return
        with open(order["stdout"], "ab") as out, open(order["stderr"], "ab") as err:  # noqa: PTH123 - no more imports
            process = subprocess.Popen(
                order["argv"],
                cwd=order["cwd"] or None,
                env=order["env"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
                preexec_fn=_ready,
            )
    except OSError as error:
        tell(error=f"{error.strerror or error}: {error.filename}" if error.filename else str(error.strerror or error))
        return
    _watch(process, worker, tell, rest)
    _kill_all(process.pid)


def _order(worker: socket.socket) -> tuple[dict[str, Any], bytes]:
    """The description of the command, and what has come after it already."""
    found = b""
    while b"\n" not in found:
        part = worker.recv(65536)
        if not part:
            sys.exit(0)
        found += part
    line, _, rest = found.partition(b"\n")
    order: dict[str, Any] = json.loads(line)
    return order, rest


def _ready() -> None:
    """In the command, before it is itself: signals as usual, and none outlives its keeper."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _die_with_parent()


def _watch(process: subprocess.Popen[bytes], worker: socket.socket, tell: Any, words: bytes) -> None:
    """Until the command has ended, or the worker has gone."""
    ended = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
    kill_at: float | None = None
    sources: list[Any] = [worker, *([] if ended is None else [ended])]
    while process.poll() is None:
        if words:
            # "stop 30": asked to end, and killed after so many seconds
            grace, words = float(words.split()[-1]), b""
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            kill_at = time.monotonic() + grace
        wait = 0.05 if ended is None else 1.0
        if kill_at is not None:
            wait = min(wait, max(0.0, kill_at - time.monotonic()))
        for ready in select.select(sources, [], [], wait)[0]:
            if ready is worker:
                words = worker.recv(4096)
                if not words:
                    return
        if kill_at is not None and time.monotonic() >= kill_at:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            kill_at = None
    tell(code=process.returncode)


if __name__ == "__main__":
    main()
