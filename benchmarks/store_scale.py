"""What claims, commits and status cost as a study grows: ``python benchmarks/store_scale.py``.

A store of N finished runs and a few missing ones on tmpfs, worked on by many processes of this machine. Nothing trains:
what is measured is the lab's own traffic on the store. docs/scale.md has the figures and what follows from them.
Everything is measured in this run, on this machine, whose cores the processes share; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import platform
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import Patience, Queue
from interplay.executors.slurm.allocation import scattered
from interplay.executors.status import status
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.estimate import plan
from interplay.store import table as results
from interplay.store.ends import Ends
from interplay.store.leases import Claims
from interplay.store.manifest import Manifest, read_manifest
from interplay.store.store import Store

HISTORY = tuple(EpochMetrics(e, 0.1, 1.0, 50.0, 1.5, 60.0) for e in range(1, 11))


def specs(count: int) -> tuple[RunSpec, ...]:
    """A grid of rates under many seeds."""
    base = RunSpec(dataset="digits", model="mlp", epochs=10, precision="fp32")
    return tuple(base.replace(lr=1e-3 * (1 + i % 100), seed=i // 100) for i in range(count))


def filled(root: Path, runs: tuple[RunSpec, ...]) -> Store:
    """A store that has records of ``runs``, written without the care that a commit takes."""
    store, lines = Store(root), [results.header()]
    store.runs.mkdir(parents=True)
    store.results.parent.mkdir()
    for number, spec in enumerate(runs):
        stamp = f"2030-01-01T00:00:00.{number:06d}+00:00"
        record = RunRecord(spec, Status.FINISHED, HISTORY, wall_seconds=1.0, committed_at=stamp)
        folder = store.folder(spec.run_id)
        folder.mkdir()
        (folder / "spec.json").write_text(json.dumps(spec.to_dict()))
        (folder / "record.json").write_text(record.to_json())
        (folder / "history.jsonl").write_text("".join(json.dumps(m.to_dict()) + "\n" for m in HISTORY))
        lines.append(results.row(record))
    store.results.write_text("".join(lines))
    return store


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def look_everywhere(store: Store, runs: tuple[RunSpec, ...]) -> None:
    """Status as it would be without the table: every record opened and read."""
    for spec in runs:
        store.record(spec.run_id)


def reading(root: Path, count: int) -> list[tuple[str, float]]:
    """Seconds of what looks at the whole study."""
    runs = specs(count)
    for spec in runs:
        spec.run_id  # noqa: B018 - named once, as it is in a study
    store = filled(root, runs)
    manifest = Manifest("scale", runs).write(root)
    ends = Ends(store.results)
    rows = [
        ("manifest, read", timed(lambda: read_manifest(manifest))),
        ("plan: one look a folder", timed(lambda: plan(runs, store))),
        ("start of an allocation: the table", timed(ends.look)),
        ("look again, nothing new", timed(ends.look)),
        ("status: every record", timed(lambda: look_everywhere(store, runs))),
        ("status: the table", timed(lambda: status(store, runs))),
    ]
    return rows


def _take(root: str, names: list[str], seconds: float, answers: Any) -> None:
    claims, count, rng = Claims(Path(root), "bench"), 0, random.Random()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        claim = claims.take(rng.choice(names))
        if claim is not None:
            claim.beat({"epoch": 1})
            claim.release()
            count += 1
    answers.put(count)


def _commit(root: str, chosen: list[RunSpec], answers: Any) -> None:
    store = Store(Path(root))
    for spec in chosen:
        assert store.commit(RunRecord(spec, Status.FINISHED, HISTORY)) is not None
    answers.put(len(chosen))


def _work(root: str, runs: list[RunSpec], mixed: bool, slots: int, answers: Any) -> None:
    """A whole queue without training: claim, beat, commit, release; counts the ends of its attempts."""
    store, ended = Store(Path(root)), Counter[str]()
    claims = Claims(store.runs, "bench")
    queue = Queue(scattered(runs, slots) if mixed else runs, store, patience=Patience(linger=5.0))
    while not queue.finished:
        spec = queue.next()
        if spec is None:
            time.sleep(0.02)
            continue
        store.open(spec)
        claim = None if store.is_done(spec.run_id) else claims.take(spec.run_id)
        if claim is None:
            end = End.DONE if store.is_done(spec.run_id) else End.TAKEN
            queue.ended(spec, Outcome(end))
        else:
            claim.beat({"epoch": 1})
            record = store.commit(RunRecord(spec, Status.FINISHED, HISTORY))
            claim.release()
            end = End.COMMITTED if record is not None else End.DONE
            queue.ended(spec, Outcome(end, record))
        ended[str(end)] += 1
    answers.put(ended)


def together(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> tuple[float, list[Any]]:
    """Run ``target`` in a process for each of ``arguments``; seconds until the last answer, and the answers."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    processes = [context.Process(target=target, args=(*each, answers)) for each in arguments]
    began = time.perf_counter()
    for process in processes:
        process.start()
    found = [answers.get() for _ in processes]
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    return took, found


def writing(root: Path, count: int, processes: int) -> list[tuple[str, float]]:
    """Operations a second by so many processes on a store of ``count`` finished runs."""
    more = [dataclasses.replace(spec, seed=10**6 + spec.seed) for spec in specs(100 * processes)]
    store = Store(root)
    for spec in more:
        store.open(spec)
    names = [spec.run_id for spec in more]
    took, counts = together(_take, [(str(store.runs), names, 3.0)] * processes)
    rows = [("claim, beat, release", sum(counts) / took)]
    each = max(10, 400 // processes)
    parts = [more[index * each : (index + 1) * each] for index in range(processes)]
    took, counts = together(_commit, [(str(root), part) for part in parts])
    rows.append(("commit", sum(counts) / took))
    for spec in more:
        shutil.rmtree(store.folder(spec.run_id))
    return rows


def sharing(processes: int, runs: int) -> list[tuple[str, float, Counter[str]]]:
    """A study of ``runs`` finished by so many supervisors at once, in one common order and in one of their own each."""
    rows = []
    for name, mixed in (("one common order", False), ("scattered", True)):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            chosen = list(specs(runs))
            took, counts = together(_work, [(folder, chosen, mixed, processes)] * processes)
            total = sum(counts, Counter[str]())
            assert total[str(End.COMMITTED)] == runs, total
            assert len(list(Store(Path(folder)).run_ids())) == runs
            rows.append((name, took, total))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--supervisors", type=int, default=64)
    parser.add_argument("--runs", type=int, default=1_000)
    words = parser.parse_args()
    print(f"{platform.platform()}, {multiprocessing.cpu_count()} cores, tmpfs")
    for size in words.sizes:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            print(f"\n{size:,} runs")
            for name, seconds in reading(Path(folder), size):
                print(f"  {name:<32} {1000 * seconds:>12,.1f} ms")
            for processes in words.processes:
                for name, rate in writing(Path(folder), size, processes):
                    print(f"  {name:<22} {processes:>4} proc. {rate:>11,.0f} a second")
    print(f"\n{words.runs:,} runs shared by {words.supervisors} supervisors")
    for name, seconds, ends in sharing(words.supervisors, words.runs):
        print(f"  {name:<18} {seconds:>6.1f} s  {dict(ends)}")


if __name__ == "__main__":
    main()
