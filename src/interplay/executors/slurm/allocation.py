"""One allocation of a cluster at work on a study: a local executor that shares the store with many others.

It knows the study by its manifest and what has ended by the table. It trusts no queue and asks no server: it takes runs
that nobody has, as two supervisors on one machine would, and goes when nothing is left to take.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from interplay.devices import Gpu, Slot, cpu_slots, gpu_slots
from interplay.executors.base import Listener
from interplay.executors.job import Job
from interplay.executors.local import LocalExecutor
from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import LOOK_AGAIN, Patience, Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics, brief
from interplay.speed.estimate import work
from interplay.store.ends import Ends
from interplay.store.manifest import read_manifest
from interplay.store.store import Store
from interplay.summary import setting
from interplay.trial import Spec


class AllocationLog(Listener):
    """Lines for the log of an allocation, and a count of what moved: requeueing without progress would never end."""

    def __init__(self) -> None:
        self.epochs = 0

    def started(self, worker: str, spec: Spec) -> None:
        """See `Listener`."""
        log_line(f"start {spec.run_id} on {worker}: {setting(spec)}")

    def epoch(self, worker: str, spec: Spec, metrics: EpochMetrics) -> None:
        """See `Listener`."""
        self.epochs += 1

    def ended(self, worker: str, spec: Spec, outcome: Outcome) -> None:
        """See `Listener`."""
        if outcome.end not in (End.TAKEN, End.DONE):
            words = brief(outcome.record) if outcome.record is not None else outcome.reason or ""
            log_line(f"{outcome.end} {spec.run_id} on {worker}: {words}")

    def note(self, text: str) -> None:
        """See `Listener`."""
        log_line(f"note: {text}")


def log_line(text: str) -> None:
    """A line of the log."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stdout, flush=True)


@dataclass(frozen=True)
class Allocation:
    """What one allocation does. Plain values: it is handed to another machine as it is.

    Attributes:
        manifest: file of the study.
        job: what workers are told; its paths must mean the same on every node.
        workers: without GPUs, worker processes.
        per_gpu: workers on each GPU that the allocation was given (0: it has none).
        slots_in_all: runs at a time in all allocations of the submission.
    """

    manifest: str
    job: Job
    workers: int = 1
    per_gpu: int = 0
    slots_in_all: int = 1
    log: AllocationLog = field(default_factory=AllocationLog, compare=False)

    def slots(self) -> list[Slot]:
        """Where the workers of this allocation go; GPUs are those that the cluster lets this process see."""
        if not self.per_gpu:
            return [replace(slot, device=self.job.device) for slot in cpu_slots(self.workers)]
        names = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        gpus = [Gpu(name) for name in names.split(",") if name.strip()]
        return gpu_slots("all", self.per_gpu, gpus, self.job.device)

    def run(self, stop: StopRequest) -> Report:
        """Run what nobody has, until nothing is left or ``stop`` is requested."""
        store = Store(Path(self.job.output_dir))
        ends = Ends(store.results)
        ends.look()
        specs = read_manifest(Path(self.manifest)).specs
        missing = [spec for spec in specs if spec.run_id not in ends.status]
        slots = self.slots()
        again = os.environ.get("SLURM_RESTART_COUNT")
        log_line(f"{socket.gethostname()}: {len(missing)} of {len(specs)} runs missing; {len(slots)} workers")
        if again:
            log_line(f"restart {again}")
        lapse = self.job.lease.lapse
        patience = Patience(look_again=max(LOOK_AGAIN, lapse / 4), linger=3 * lapse)
        executor = LocalExecutor(slots, patience=patience)
        report = executor.run(scattered(missing, self.slots_in_all), store, self.job, self.log, stop)
        log_line(
            f"{len(report.committed)} committed, {report.elsewhere} by others, {len(report.failed)} failed, "
            f"{len(report.left)} left" + (f": {report.problem}" if report.problem else "")
        )
        return report


def scattered(specs: Sequence[Spec], slots: int, rng: random.Random | None = None) -> list[Spec]:
    """Longest first, as far as that matters, but each allocation in its own order.

    In one common order, W of them would all ask for the first run, W-1 of them for the second, and so on: they would
    ask for W²/2 leases before all are at work. Drawn from four times as many runs as there are slots, three asks in
    four succeed. Runs of the same length are shuffled all together.
    """
    rng = rng or random.Random(os.urandom(8))
    ordered: list[Spec] = []
    for _, same in groupby(sorted(specs, key=work, reverse=True), key=work):
        alike = list(same)
        rng.shuffle(alike)
        ordered += alike
    block = max(1, 4 * slots)
    found: list[Spec] = []
    for start in range(0, len(ordered), block):
        part = ordered[start : start + block]
        rng.shuffle(part)
        found += part
    return found
