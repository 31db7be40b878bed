"""Claims: which worker has which run, without a server and without synchronised clocks.

``claim.json`` is created exclusively, never changed, and names one *attempt*. The attempt shows that it is alive by
rewriting ``beat.<attempt>.json``. Whoever sees a beat that has not changed for a while - measured by its own clock,
from when it first saw it - may take the run over. A worker of the same machine is known to be dead as soon as its
process is gone.

A worker that was only slow finds at its next beat that the claim names another attempt, and stops. Should it finish
first all the same, the store accepts the first record and no other.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from interplay.errors import InterplayError
from interplay.locks import locked
from interplay.store.files import readable, write_once, write_whole
from interplay.store.lease import Lease

LOCKS = ".locks"
"""Folder of the store in which locks lie, out of sight."""


class LeaseLostError(InterplayError):
    """Another worker has taken over this run."""


class Claim:
    """One attempt at one run, while it lasts."""

    def __init__(self, folder: Path, attempt: str) -> None:
        self.folder, self.attempt = folder, attempt
        self._beats = 0

    @property
    def _beat_file(self) -> Path:
        return self.folder / f"beat.{self.attempt}.json"

    def check(self) -> None:
        """Raise `LeaseLostError` if the run has been taken over, or has a record of another attempt already."""
        if (self.folder / "record.json").exists():
            raise LeaseLostError(f"run {self.folder.name} has been finished by another worker")
        owner = _read(self.folder / "claim.json")
        if owner == {}:
            return  # it cannot be read at this moment, which says nothing
        if owner is None or owner.get("attempt") != self.attempt:
            raise LeaseLostError(
                f"run {self.folder.name} has been taken over by {(owner or {}).get('worker', 'another')}"
            )

    def beat(self, progress: Mapping[str, Any]) -> None:
        """Show a sign of life with ``progress``; raises `LeaseLostError` if the run has been taken over."""
        self.check()
        self._beats += 1
        write_whole(self._beat_file, json.dumps({"beat": self._beats, **progress}), durable=False)

    def release(self) -> None:
        """Give the run back, if it is still ours."""
        with _ending(self.folder):
            owner = _read(self.folder / "claim.json")
            if owner is not None and owner.get("attempt") == self.attempt:
                (self.folder / "claim.json").unlink(missing_ok=True)
        self._beat_file.unlink(missing_ok=True)


class Claims:
    """Takes claims in the name of one worker, and remembers which other claims it has seen alive."""

    def __init__(self, runs: Path, worker: str, lease: Lease | None = None) -> None:
        self.runs, self.worker, self.lease = runs, worker, lease or Lease()
        self._seen: dict[str, tuple[str, float]] = {}

    def take(self, run_id: str) -> Claim | None:
        """A claim on the run, or ``None`` while another worker has it. The run's folder must exist."""
        folder = self.runs / run_id
        claim = Claim(folder, secrets.token_hex(8))
        facts = {"attempt": claim.attempt, "worker": self.worker, "lapse": self.lease.lapse}
        text = json.dumps({**facts, **_process()})
        if write_once(folder / "claim.json", text, durable=False):
            return claim
        owner = _read(folder / "claim.json")
        if owner is None or not self.lapsed(run_id, owner):
            return None
        with _ending(folder):
            # Claims end under this lock only: what was seen to lapse must still be what is there.
            found = _read(folder / "claim.json")
            if found is not None:
                if found.get("attempt") != owner.get("attempt"):
                    return None
                (folder / "claim.json").unlink(missing_ok=True)
                (folder / f"beat.{owner.get('attempt')}.json").unlink(missing_ok=True)
            if not write_once(folder / "claim.json", text, durable=False):
                return None
        # A process of an earlier version may have made its lock, and ended the same claim, after we looked for one.
        with _earlier(folder) as there:
            if there and (_read(folder / "claim.json") or {}).get("attempt") != claim.attempt:
                return None
        return claim

    def lapsed(self, run_id: str, owner: Mapping[str, Any]) -> bool:
        """Whether the owner of a claim is dead or has been silent for longer than the lease."""
        if _is_dead(owner):
            return True
        beat = self.runs / run_id / f"beat.{owner.get('attempt')}.json"
        sign = f"{owner.get('attempt')} {json.dumps(_read(beat), sort_keys=True)}"
        now = time.monotonic()
        before = self._seen.get(run_id)
        if before is None or before[0] != sign:
            self._seen[run_id] = (sign, now)
            return False
        # The owner beats as often as its own lease says, which may be longer than ours.
        theirs = owner.get("lapse")
        return now - before[1] > max(self.lease.lapse, theirs if isinstance(theirs, int | float) else 0.0)


def claim_of(folder: Path) -> dict[str, Any] | None:
    """Who has a run and how far it is: worker, host, pid, alive and the last progress; ``None`` if nobody has it."""
    owner = _read(folder / "claim.json")
    if owner is None:
        return None
    return {**owner, **(_read(folder / f"beat.{owner.get('attempt')}.json") or {}), "dead": _is_dead(owner)}


class Heartbeat:
    """Beats for a claim from a thread of its own, as long as the training makes progress.

    ``progress`` is what the training calls; it raises `LeaseLostError` in the training's thread once the run is lost.
    """

    def __init__(self, claim: Claim, lease: Lease) -> None:
        self.claim, self.lease = claim, lease
        self._facts: dict[str, Any] = {}
        self._moved = time.monotonic()
        self._lost: LeaseLostError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def progress(self, **facts: Any) -> None:
        """Note that the training moves, and how far it is."""
        if self._lost is not None:
            raise self._lost
        self._facts = facts
        self._moved = time.monotonic()

    def __enter__(self) -> Self:
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.claim.release()

    def _run(self) -> None:
        while not self._ended.wait(self.lease.beat):
            if time.monotonic() - self._moved < self.lease.hang and not self._beat():
                return

    def _beat(self) -> bool:
        try:
            self.claim.beat(self._facts)
        except LeaseLostError as error:
            self._lost = error
            return False
        except OSError:
            # A full disk or a pause of the file server: a missed beat, which the next one may make good.
            return True
        return True


@contextmanager
def _ending(folder: Path) -> Iterator[None]:
    """Hold the lock under which the claim of a run ends.

    One for every 256th of the runs: with a single one, a thousand workers would wait for each other.
    """
    locks = folder.parent.parent / LOCKS
    locks.mkdir(exist_ok=True)
    with locked(locks / f"claims-{folder.name[:2]}.lock"), _earlier(folder):
        yield


@contextmanager
def _earlier(folder: Path) -> Iterator[bool]:
    """Hold the lock of versions that had it among the runs, where such a version has been at work; yields whether."""
    lock = folder.parent / f".takeover.{folder.name[:2]}.lock"
    with ExitStack() as held:
        there = lock.exists()
        if there:
            held.enter_context(locked(lock, folder.parent.parent / LOCKS / f"{lock.name}.owner"))
        yield there


_KINDS: dict[str, tuple[type, ...]] = {
    "attempt": (str,),
    "worker": (str,),
    "host": (str,),
    "machine": (str,),
    "started": (str,),
    "pid": (int,),
    "beat": (int,),
    "epoch": (int,),
    "epochs": (int,),
    "lapse": (int, float),
    "eta": (int, float),
    "loss": (int, float),
    "accuracy": (int, float),
}


def _read(path: Path) -> dict[str, Any] | None:
    """A claim or a beat; ``None`` if there is none, empty if it cannot be read. What has a wrong type is left out."""
    try:
        found = json.loads(readable(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if _is_sound(name, value)}


def _is_sound(name: str, value: Any) -> bool:
    if name not in _KINDS or not isinstance(value, _KINDS[name]) or isinstance(value, bool):
        return False
    if isinstance(value, str):  # the attempt becomes part of a file's name
        return name != "attempt" or re.fullmatch(r"[0-9A-Za-z-]{1,64}", value) is not None
    return isinstance(value, int | float) and -(2**31) < value < 2**31  # NaN is not


@cache
def _machine() -> str:
    """Names this boot of this machine and its process numbering: within it, a process number means one process."""
    parts = [socket.gethostname()]
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(str(Path(source).readlink()) if source.endswith("pid") else Path(source).read_text().strip())
        except OSError:
            parts.append("?")
    return " ".join(parts)


def _process() -> dict[str, Any]:
    pid = os.getpid()
    return {"machine": _machine(), "host": socket.gethostname(), "pid": pid, "started": _stat(pid)[1]}


def _stat(pid: int) -> tuple[str, str]:
    """State letter and start of a process in ticks since boot, which no change of the clock moves; empty if unknown."""
    try:
        # The name in parentheses may hold anything, spaces included; what follows it does not.
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return words[0], words[19]
    except (OSError, IndexError):
        return "", ""


def _is_dead(owner: Mapping[str, Any]) -> bool:
    """Whether the owner ran on this machine and its process is gone. Of other machines nothing is known."""
    pid = owner.get("pid")
    if owner.get("machine") != _machine() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # another user's, and alive
    state, started = _stat(pid)
    return state == "Z" or bool(started and owner.get("started") and started != owner["started"])
