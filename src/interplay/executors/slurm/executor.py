"""Slurm, through submitit: an array job of allocations on a shared file system.

The store is the truth; Slurm only lends machines. A job may be cancelled, requeued, submitted twice: what is missing is
found by whoever looks next.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Self

from interplay.devices import Slot
from interplay.errors import InterplayError
from interplay.executors.base import Asked, Executor, Listener
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import Report
from interplay.executors.signals import StopRequest
from interplay.executors.slurm.allocation import Allocation, log_line
from interplay.executors.slurm.jobs import Submission, alive, endings, submissions
from interplay.record import RunRecord
from interplay.store.ends import Ends
from interplay.store.files import write_whole
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.study.slurm import SlurmOptions
from interplay.text import file_name
from interplay.trial import Spec

LAST_SECONDS = 20
"""Before the time limit: what has not come to the end of its epoch then is killed, and goes on from its checkpoint."""

SILENT_SECONDS = 10.0
"""Between two questions to Slurm whether the jobs are still there."""


class SlurmError(InterplayError):
    """Slurm or submitit is not there, or sbatch refuses; the message says what to do."""

    exit_code = 2


class SlurmSignals(StopRequest):
    """Slurm's signals: USR2 before the time limit, TERM when the job is cancelled or preempted. Neither is rude."""

    def __init__(self, last_call: float) -> None:
        super().__init__(announce=False)
        self.limit_is_near = False
        self._last_call = last_call

    def listen(self) -> None:
        """Take the signals over from submitit, whose own handler would drop the epoch that is being trained."""
        signal.signal(signal.SIGUSR2, self._handle)
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGALRM, self._time_is_up)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR2 and not self.limit_is_near:
            self.limit_is_near = True
            signal.setitimer(signal.ITIMER_REAL, self._last_call)
        self.requested = True

    def _time_is_up(self, number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt


@dataclass(frozen=True)
class Task:
    """What submitit pickles: the allocation, and what it does when its time is over."""

    allocation: Allocation
    notice: int

    def __call__(self, index: int) -> dict[str, int]:
        """Run; requeue this job if its time is over, something is left, and it has moved at all."""
        stop = SlurmSignals(max(self.notice / 2, self.notice - LAST_SECONDS))
        stop.listen()
        report = None
        try:
            report = self.allocation.run(stop)
        except KeyboardInterrupt:
            log_line("the epoch did not end in time: the runs go on from their last checkpoints")
        signal.setitimer(signal.ITIMER_REAL, 0)
        if stop.limit_is_near and (report is None or report.left):
            if self.allocation.log.epochs:
                self._requeue()
            else:
                log_line("not requeued: not one epoch has ended within the time limit")
        if report is not None and report.problem:
            raise SlurmError(report.problem)
        return {"committed": len(report.committed), "failed": len(report.failed)} if report is not None else {}

    def _requeue(self) -> None:
        job = os.environ["SLURM_JOB_ID"]
        log_line(f"requeue job {job}")
        # The call ends this very process; where it is refused, the error stands in the log and the job just ends.
        subprocess.run(["scontrol", "requeue", job], check=False)


class SlurmExecutor(Executor):
    """Submits an array job of allocations; ``run`` then follows the store until they have gone.

    Args:
        options: what sbatch is asked for.
        workers: runs at a time in all; 0 for one allocation.
        study: the study as allocations are to know it.
    """

    def __init__(self, options: SlurmOptions, workers: int, study: Manifest) -> None:
        self.options, self.study = options, study
        self.allocations = _allocations(options, workers)

    @classmethod
    def slots(cls, asked: Asked) -> list[Slot]:
        """See `Executor.slots`."""
        options = asked.slurm
        device = "cuda:0" if options.gpus_per_node else "cpu"
        slots = _allocations(options, asked.workers) * options.per_allocation
        return [Slot(f"slurm{index}", device) for index in range(slots)]

    @classmethod
    def submits(cls, asked: Asked) -> bool:
        """See `Executor.submits`."""
        return not asked.wait

    @classmethod
    def make(cls, asked: Asked, study: Manifest, slots: Sequence[Slot]) -> Self:
        """See `Executor.make`."""
        found = cls(asked.slurm, asked.workers, study)
        found.check()
        return found

    def check(self) -> None:
        """Raise `SlurmError` unless sbatch and submitit are there."""
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise SlurmError("--executor slurm needs submitit: in a checkout, pip install -e '.[slurm]'") from error
        if shutil.which("sbatch") is None:
            raise SlurmError("there is no sbatch here: --executor slurm is for a login node of a Slurm cluster")

    def hand_over(self, store: Store, job: Job) -> Submission:
        """Hand the study to Slurm and return at once.

        Raises:
            SlurmError: sbatch refuses; with its own words.
        """
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        self.check()
        root = store.root.resolve()
        manifest = self.study.write(root)
        job = replace(job, data_dir=str(Path(job.data_dir).resolve()), output_dir=str(root))
        options = self.options
        slots = self.allocations * options.per_allocation
        per_gpu = (options.workers_per_gpu or 1) if options.gpus_per_node else 0
        allocation = Allocation(str(manifest), job, options.per_allocation, per_gpu, slots)
        executor = submitit.SlurmExecutor(folder=root / "jobs" / "slurm")
        try:
            executor.update_parameters(**_parameters(options, self.study.name, self.allocations))
            handles = executor.map_array(Task(allocation, options.notice), range(self.allocations))
        except (FailedJobError, FailedSubmissionError, ValueError, OSError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise SlurmError(f"sbatch refuses: {' '.join(lines[-3:])}") from error
        number = handles[0].job_id.split("_")[0]
        made = Submission("slurm", number, self.study.name, manifest.name, self.allocations, slots)
        write_whole(root / "jobs" / f"slurm-{made.job_id}.json", json.dumps(made.to_dict(), indent=1) + "\n")
        return made

    def submit(self, store: Store, job: Job) -> str:
        """See `Executor.submit`."""
        before = [each for each in alive(submissions(store.root)) if each.study == self.study.name]
        made = self.hand_over(store, job)
        lines = [f"Slurm job {made.job_id}: {made.allocations} allocations, {made.slots} runs at a time"]
        if before:
            there = ", ".join(each.job_id for each in before)
            lines.append(
                f"note: job {there} is at work on this study already; they share the runs, none is trained twice"
            )
        place = f" --output_dir {store.root}"
        lines += [f"look:   interplay status{place}", f"cancel: interplay cancel{place}"]
        return "\n".join([*lines, f"logs:   {store.root}/jobs/slurm"])

    def run(self, specs: Sequence[Spec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`. A stop ends the watching, not the jobs."""
        if not specs:
            return Report()
        made = self.hand_over(store, job)
        listener.note(f"Slurm job {made.job_id}: {made.allocations} allocations, {made.slots} runs at a time")
        stop.armed = True
        return _follow(made, specs, store, listener, stop)


def _allocations(options: SlurmOptions, workers: int) -> int:
    return max(1, -(-workers // options.per_allocation))


def _follow(made: Submission, specs: Sequence[Spec], store: Store, listener: Listener, stop: StopRequest) -> Report:
    report, ends = Report(), Ends(store.results)
    left = {spec.run_id: spec for spec in specs}
    asked, gone = time.monotonic(), False
    while left and not stop.requested:
        ends.look()
        for run_id in [run_id for run_id in left if run_id in ends.status]:
            record = store.readable_record(run_id)
            if record is not None:
                _ended(left.pop(run_id), record, report, listener)
        if gone:
            report.left = list(left.values())
            if left:
                report.problem = f"Slurm job {made.job_id} has ended ({endings(made)}); logs in {store.root}/jobs/slurm"
            break
        if left and time.monotonic() - asked > SILENT_SECONDS:
            asked = time.monotonic()
            with contextlib.suppress(InterplayError):  # a controller that does not answer says nothing about the job
                gone = not alive([made])  # and one more look at the table, which may have got its last rows just now
        time.sleep(0.5)
    if stop.requested:
        report.left = list(left.values())
    return report


def _ended(spec: Spec, record: RunRecord, report: Report, listener: Listener) -> None:
    if record.status == "failed":
        report.failed.append((spec, record.reason or "unknown reason"))
        listener.ended("slurm", spec, Outcome(End.FAILED, record, record.reason))
    else:
        report.committed.append(record)
        listener.ended("slurm", spec, Outcome(End.COMMITTED, record))


def _parameters(options: SlurmOptions, study: str, allocations: int) -> dict[str, Any]:
    """What submitit is told; keys of which nothing is said are left out, so that the cluster's defaults hold."""
    further: dict[str, Any] = {"requeue": True}
    for line in options.sbatch or ():
        name, equals, value = line[2:].partition("=")
        further[name] = value if equals else True
    cores = options.per_allocation * (options.cpus_per_worker or 1)
    asked = {
        "job_name": f"interplay-{file_name(study)}",
        "partition": options.partition,
        "account": options.account,
        "time": options.minutes,
        "mem": options.mem,
        "nodes": 1,
        "ntasks_per_node": 1,
        "gpus_per_node": options.gpus_per_node or None,
        "cpus_per_task": cores,
        # Since Slurm 22.05 a step does not inherit this, and all workers would share one core.
        "srun_args": [f"--cpus-per-task={cores}"],
        "constraint": options.constraint,
        "signal_delay_s": options.notice,
        "setup": list(options.setup) if options.setup else None,
        "array_parallelism": allocations,
        "additional_parameters": further,
        "wckey": None,
    }
    return {name: value for name, value in asked.items() if value is not None or name == "wckey"}
