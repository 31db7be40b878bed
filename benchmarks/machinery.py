"""What the machinery costs around the training: ``python benchmarks/machinery.py``.

Trivial runs (one epoch of the MLP on digits) through the executors, the time that training itself takes subtracted;
planning a study of 10,000 runs; and how the answer that nothing is missing grows with the study. Everything is measured
in this run, on this machine; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from store_scale import filled  # beside this file

from interplay.devices import cpu_slots
from interplay.executors.base import Listener
from interplay.executors.inline import InlineExecutor
from interplay.executors.job import Job
from interplay.executors.local import LocalExecutor
from interplay.executors.outcomes import Outcome
from interplay.executors.signals import StopRequest
from interplay.lab.prepare import with_data
from interplay.lab.settings import Settings
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.estimate import plan
from interplay.store.store import Store
from interplay.study.files import load
from interplay.study.grid import expand
from interplay.train.environment import commit


class Clock(Listener):
    """When each run ended, so that the start of worker processes can be told from the runs."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.ends: list[float] = []

    def ended(self, worker: str, spec: RunSpec, outcome: Outcome) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter() - self.began)


def specs(count: int) -> list[RunSpec]:
    """Trivial runs."""
    base = {"dataset": "digits", "model": "mlp", "epochs": 1, "precision": "fp32"}
    return list(expand(base, {"lr": [1e-4 * (i + 1) for i in range(count)]}))


def executors(count: int, workers: int) -> list[tuple[str, float, float, float]]:
    """(name, overhead per run in ms, training per run in ms, seconds until the first run has ended)."""
    rows = []
    for name, executor, slots in (
        ("inline", InlineExecutor(), 1),
        (f"local, {workers} workers", LocalExecutor(cpu_slots(workers)), workers),
    ):
        with tempfile.TemporaryDirectory() as folder:
            store, clock = Store(Path(folder)), Clock()
            job = Job(data_dir="data", output_dir=folder)
            report = executor.run(specs(count), store, job, clock, StopRequest())
            assert len(report.committed) == count
            skipped = 2 * slots  # starting processes, importing torch and loading the data are not the machinery
            wall = (clock.ends[-1] - clock.ends[skipped - 1]) * slots / (count - skipped)
            training = statistics.median(record.wall_seconds for record in report.committed)
            rows.append((name, 1000 * (wall - training), 1000 * training, clock.ends[0]))
    return rows


def planning(count: int) -> list[tuple[str, float]]:
    """Seconds to expand, name and look up ``count`` runs in an empty store and in one that has them all."""
    began = time.perf_counter()
    side = round(count**0.5)
    axes = {"lr": [1e-3 * (i + 1) for i in range(side)], "weight_decay": [1e-5 * (i + 1) for i in range(side)]}
    found = list(expand({}, axes))
    expanded = time.perf_counter() - began
    rows = [(f"expand a grid of {len(found):,} runs", expanded)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        began = time.perf_counter()
        assert len(plan(found, store).missing) == len(found)
        rows.append(("plan it on an empty store", time.perf_counter() - began))
        text = RunRecord(found[0], Status.FINISHED, (EpochMetrics(1, 0.1, 1.0, 50.0, 1.0, 50.0),)).to_json()
        for spec in found:
            store.folder(spec.run_id).mkdir(parents=True)
            (store.folder(spec.run_id) / "record.json").write_text(text)
        began = time.perf_counter()
        assert len(plan(found, store).done) == len(found)
        rows.append(("plan it on a store that has all of them", time.perf_counter() - began))
    return rows


def finished(count: int) -> float:
    """CPU seconds of ``interplay study`` that finds all ``count`` runs done, the start of Python included."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        seeds = list(range(1, count // 100 + 1))
        axis = [round(1e-3 * (i + 1), 6) for i in range(10)]
        (here / "done.toml").write_text(
            f'name = "done"\nseeds = {seeds}\n[base]\ndataset = "digits"\nmodel = "mlp"\nepochs = 10\n'
            f"[[grid]]\nlr = {axis}\nweight_decay = {axis}\n"
        )
        study = with_data(load(here / "done.toml"), Settings(output_dir=here / "outputs"))
        filled(here / "outputs", tuple(spec.replace(precision="fp32") for spec in study.specs))
        command = [sys.executable, "-m", "interplay", "study", "done.toml"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, cwd=here, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plan", type=int, default=10_000)
    parser.add_argument("--finished", type=int, nargs="*", default=[1_000, 5_000, 20_000])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.platform()}, Python {platform.python_version()}, torch {torch.__version__}, commit {commit()}")
    print(
        f"\n{'executor':24}{'overhead/run':>14}{'training/run':>14}{'first run ends':>16}   ({args.runs} trivial runs)"
    )
    with contextlib.redirect_stderr(io.StringIO()):
        rows = executors(args.runs, args.workers)
    for name, overhead, training, first in rows:
        print(f"{name:24}{overhead:11.1f} ms{training:11.1f} ms{first:14.1f} s")
    print()
    for what, seconds in planning(args.plan):
        print(f"{what:44}{seconds:8.2f} s")
    for count in args.finished:
        print(f"{f'answer that all of {count:,} runs are done':44}{finished(count):8.2f} s of CPU")


if __name__ == "__main__":
    main()
