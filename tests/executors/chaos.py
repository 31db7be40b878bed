"""Accidents of live owners of leases, each of which must cost nothing. Run as ``chaos.py SCENARIO PATH FOLDER ...``.

Owners are forks of this process, so that an accident costs milliseconds. `signals` sends signals at random moments to
processes that own a lease just then; `crashes` ends an attempt before each of its file operations, one after the other.
After every accident an undisturbed attempt goes on, and the store is compared with that of a twin that had none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from interplay.executors.attempt import attempt
from interplay.executors.job import Job
from interplay.executors.outcomes import End
from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.store.leases import Claims, Lease
from interplay.store.store import Store
from interplay.train.events import Event, RunEnded

BASE = RunSpec(dataset="digits", model="mlp", precision="fp32", train_limit=60, batch_size=30)
CLEAN = {"spec.json", "history.jsonl", "record.json"}


def work(path: str, specs: Sequence[RunSpec], root: Path, lease: Lease) -> None:
    """Until all of ``specs`` are done: one run after the other, or those that are missing as a stack."""
    store = Store(root)
    claims = Claims(store.runs, "owner", lease)
    # A checkpoint every epoch, so that attempts resume and not only begin.
    job = Job(data_dir="/nonexistent", output_dir=str(root), checkpoint_seconds=0.0)
    while missing := [spec for spec in specs if not store.is_done(spec.run_id)]:
        ends: list[End] = []

        def emit(event: Event, ends: list[End] = ends) -> None:
            if isinstance(event, RunEnded):
                assert event.outcome.end not in (End.FAILED, End.APART), event.outcome
                ends.append(event.outcome.end)

        attempt(missing, store, claims, job, emit, way="fused" if path == "stacked" else "single")
        if End.UNABLE in ends:
            return
        if not set(ends) & {End.COMMITTED, End.DONE}:
            time.sleep(0.005)  # somebody else has them


def fork(task: Callable[[], None]) -> int:
    """Run ``task`` in a process of its own; returns its number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        task()
        code = 0
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end_of(pid: int) -> int:
    """The exit code of a fork, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def numbers(record: RunRecord) -> list[float]:
    return [
        float(x) for m in record.history for x in (m.train_loss, m.train_acc, m.test_loss, m.test_acc) if x is not None
    ]


def check(path: str, specs: Sequence[RunSpec], root: Path, twin: Path) -> None:
    """One row for each run, records like those of the twin, and nothing left behind."""
    store, undisturbed = Store(root), Store(twin)
    assert store.reconcile() == [], "no row is foreign"
    rows = store.results.read_bytes()
    assert len(rows.splitlines()) == 1 + len(specs), "a row for each run"
    for spec in specs:
        record, other = store.record(spec.run_id), undisturbed.record(spec.run_id)
        assert record is not None and other is not None, "no row is lost"  # noqa: PT018
        assert (record.status, [m.epoch for m in record.history]) == (other.status, [m.epoch for m in other.history])
        if path == "stacked":  # with other neighbours: as good as the same
            pairs = zip(numbers(record), numbers(other), strict=True)
            assert all(math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4) for a, b in pairs), "another result"
        else:
            assert numbers(record) == numbers(other), "another result"
        folder = store.folder(spec.run_id)
        lines = (folder / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [m.epoch for m in record.history]
        assert {each.name for each in folder.iterdir()} == CLEAN, sorted(each.name for each in folder.iterdir())
    assert store.rebuild() == []
    assert store.results.read_bytes() == rows
    left = {each.name for each in root.rglob("*") if each.is_file()} - CLEAN
    left = {name for name in left if not name.endswith((".lock", ".owner"))}
    assert {"results.csv"} <= left <= {"results.csv", ".last_commit"}, left


# -- signals ----------------------------------------------------------------------------------------------------------


def owns(pid: int, root: Path) -> bool:
    """Whether the process has a lease now."""
    for claim in root.glob("runs/*/claim.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            if json.loads(claim.read_text())["pid"] == pid:
                return True
    return False


def gone(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def stop(pid: int, root: Path) -> None:
    """Stop a process where it holds no lock: the system keeps that of a stopped one, and all others wait for it."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if gone(pid) or not any(map(taken, root.rglob("*.lock"))):
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)


def taken(lock: Path) -> bool:
    """Whether a process holds the lock."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def signals(path: str, folder: Path, wanted: int) -> None:
    """Send ``wanted`` signals to owners of leases, on one store after the other."""
    rng, sent, seed = random.Random(path), 0, 0
    lease = Lease(beat=0.05, lapse=0.3, hang=60.0)
    kinds = [signal.SIGKILL] * 7 + [signal.SIGTERM, signal.SIGINT, signal.SIGSTOP]
    while sent < wanted:
        seed += 1
        specs = [BASE.replace(lr=0.02 * (i + 1), seed=seed, epochs=10) for i in range(4)]
        root, twin = folder / f"store{seed}", folder / f"twin{seed}"
        assert end_of(fork(lambda specs=specs, twin=twin: work(path, specs, twin, lease))) == 0  # type: ignore[misc]
        store, asleep = Store(root), list[int]()
        while not all(store.is_done(spec.run_id) for spec in specs):
            pid = fork(lambda specs=specs, root=root: work(path, specs, root, lease))  # type: ignore[misc]
            while not gone(pid) and not owns(pid, root):
                time.sleep(0.001)
            moment = time.monotonic() + rng.expovariate(1 / 0.05)
            while not gone(pid) and time.monotonic() < moment:
                time.sleep(0.001)
            while not gone(pid) and not owns(pid, root):
                time.sleep(0.001)
            if not gone(pid):
                kind = kinds[sent % len(kinds)]
                sent += 1
                if kind == signal.SIGSTOP:  # its lease lapses; it wakes up once another process has been at work
                    stop(pid, root)
                    asleep.append(pid)
                    continue
                os.kill(pid, kind)
            assert end_of(pid) in (0, -signal.SIGKILL, -signal.SIGTERM)
            for each in asleep:
                os.kill(each, signal.SIGCONT)
                end_of(each)
            asleep.clear()
        for each in asleep:
            os.kill(each, signal.SIGCONT)
            end_of(each)
        assert end_of(fork(lambda specs=specs, root=root: work(path, specs, root, lease))) == 0  # type: ignore[misc]
        check(path, specs, root, twin)
    print(f"{sent} signals, {seed} stores")


# -- crashes ----------------------------------------------------------------------------------------------------------

_EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.truncate", "os.fsync"}


class Accident:
    """Counts the file operations under ``root`` and lets ``happen`` before the one of that ``number``."""

    def __init__(self, root: Path, number: int, happen: Callable[[], None]) -> None:
        self.root, self.left, self.happen = str(root), number, happen
        fsync = os.fsync

        def counted(descriptor: int) -> None:
            self.hear("os.fsync", (self.root,))
            fsync(descriptor)

        os.fsync = counted
        sys.addaudithook(self.hear)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _EVENTS and any(isinstance(each, str | os.PathLike) and self.root in str(each) for each in args):
            self.left -= 1
            if self.left == 0:
                self.happen()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_links(source: object, target: object, **how: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def crashes(path: str, folder: Path, accident: str, links: str) -> None:
    """One accident before each file operation of an attempt, in a store of its own each."""
    specs = [BASE.replace(lr=0.02 * (i + 1), epochs=2) for i in range(2 if path == "stacked" else 1)]
    lease = Lease(beat=60.0, lapse=0.05, hang=600.0)
    twin = folder / "twin"
    assert end_of(fork(lambda: work(path, specs, twin, lease))) == 0
    happen = {"kill": killed, "full": full}[accident]
    for number in range(1, 1000):
        root = folder / f"store{number}"

        def attempted(root: Path = root, number: int = number, *, disturbed: bool = True) -> None:
            if links == "unlinked":
                os.link = no_links  # type: ignore[assignment]
            if disturbed:
                found = Accident(root, number, happen)
                work(path, specs, root, lease)
                os._exit(0 if found.left <= 0 else 3)
            work(path, specs, root, lease)

        code = end_of(fork(attempted))
        if code == 3:
            print(f"{number - 1} file operations")
            check(path, specs, root, twin)
            return
        assert code == (-signal.SIGKILL if accident == "kill" else 0), f"operation {number}: exit {code}"
        again = fork(lambda attempted=attempted: attempted(disturbed=False))  # type: ignore[misc]
        assert end_of(again) == 0, f"operation {number}"
        try:
            check(path, specs, root, twin)
        except AssertionError as error:
            raise AssertionError(f"operation {number}: {error}") from error
        shutil.rmtree(root)
    raise AssertionError("an attempt has no thousand file operations")


def main() -> None:
    torch.set_num_threads(1)
    scenario, path, folder, *rest = sys.argv[1:]
    # What every process would load and look up anew, forks inherit.
    work(path, [BASE.replace(seed=99, epochs=1)], Path(folder) / "warm", Lease())
    if scenario == "signals":
        signals(path, Path(folder), int(rest[0]))
    else:
        crashes(path, Path(folder), *rest)


if __name__ == "__main__":
    main()
