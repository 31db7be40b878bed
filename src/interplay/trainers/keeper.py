"""Between a worker and the command that it runs: a small process of its own, which sees to it that nothing is left.

It starts the command, reports how it ended, and passes on the request to stop. When the worker is gone - its end of the
socket closes, whatever killed it - the command and all that it started are killed at once. Processes that the command
detached from itself come to this process (``PR_SET_CHILD_SUBREAPER``) and are killed too. Should this process itself be
killed, the command gets SIGKILL from the kernel (``PR_SET_PDEATHSIG``); a worker has threads, so it could not ask for
that safely.

It carries out one order after the other, until the worker has gone. Run by path with ``python -I -S``, to start
within milliseconds: nothing but the standard library, and nothing of this package.
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


def _lock(folder: str) -> int | None:
    """Hold the folder of the run, so that two commands are never at work in it; closing the descriptor gives it back.

    Returns ``None`` where another command is at work there still, whose worker was stopped and not killed, say.
    """
    handle = os.open(folder, os.O_RDONLY)
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                return None
            time.sleep(0.02)
        except OSError:
            return handle  # a file system without locks of folders
        else:
            return handle


def main() -> None:
    """Run the commands that lines on the socket describe."""
    worker = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the worker says what is to be done
    _prctl(_SUBREAPER, 1)
    rest = b""
    while (found := _order(worker, rest)) is not None:
        order, rest = found
        answer, rest = _carried_out(order, worker, rest)
        with contextlib.suppress(OSError):
            worker.sendall(json.dumps(answer).encode() + b"\n")


def _order(worker: socket.socket, found: bytes) -> tuple[dict[str, Any], bytes] | None:
    """The next description of a command, and what has come after it already; ``None`` once the worker has gone.

    A request to stop that came when its command had ended is passed over.
    """
    while True:
        line, end, rest = found.partition(b"\n")
        if end and line.startswith(b"{"):
            order: dict[str, Any] = json.loads(line)
            return order, rest
        if end:
            found = rest
            continue
        try:
            part = worker.recv(65536)
        except OSError:
            return None
        if not part:
            return None
        found += part


def _carried_out(order: dict[str, Any], worker: socket.socket, rest: bytes) -> tuple[dict[str, Any], bytes]:
    """The answer to an order: how the command ended, once nothing of it is left; and what came after the order."""
    handle = None
    try:
        handle = _lock(order["lock"])
        if handle is None:
            return {"busy": True}, rest
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
        rest = _watch(process, worker, rest)
        _kill_all(process.pid)
        return {"code": process.returncode}, rest
    except OSError as error:
        words = str(error.strerror or error)
        return {"error": f"{words}: {error.filename}" if error.filename else words}, rest
    finally:
        if handle is not None:
            os.close(handle)


def _ready() -> None:
    """In the command, before it is itself: signals as usual, and none outlives its keeper."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _die_with_parent()


def _watch(process: subprocess.Popen[bytes], worker: socket.socket, words: bytes) -> bytes:
    """Until the command has ended, or the worker has gone; returns what is left of what the worker said."""
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
                try:
                    words = worker.recv(4096)
                except OSError:
                    words = b""
                if not words:
                    return b""
        if kill_at is not None and time.monotonic() >= kill_at:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            kill_at = None
    if ended is not None:
        os.close(ended)
    return words


if __name__ == "__main__":
    main()
