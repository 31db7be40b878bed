"""Studies beyond this machine: which executor, how many runs at a time, and the jobs that were handed to Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interplay.errors import InterplayError, SpecError
from interplay.lab.settings import Settings
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.study.claims import Claim
from interplay.study.study import Study

if TYPE_CHECKING:
    from interplay.devices import Slot
    from interplay.executors.attempt import Job
    from interplay.executors.base import Executor


def seats(study: Study, settings: Settings) -> list[Slot]:
    """The places of a cluster on which runs go at a time: one slot each, with the device that a worker will see."""
    from interplay.devices import Slot

    if settings.executor == "slurm":
        options = settings.slurm.over(study.slurm)
        allocations = max(1, -(-settings.workers // options.per_allocation))
        device = "cuda:0" if options.gpus_per_node else "cpu"
        return [Slot(f"slurm{index}", device) for index in range(allocations * options.per_allocation)]
    return [Slot(f"ray{index}", "cpu" if settings.gpus is None else "cuda:0") for index in range(settings.workers or 1)]


def manifest_of(study: Study) -> Manifest:
    """``study`` as the store remembers it: its runs and its claims."""
    claims = tuple(claim.to_table() if isinstance(claim, Claim) else claim for claim in study.claims)
    return Manifest(study.name, study.specs, study.experiment, claims, study.question)


def executor_for(study: Study, settings: Settings, slots: Sequence[Slot]) -> Executor:
    """Whoever will run the study.

    Raises:
        InterplayError: the engine is not installed, or not on this machine; says what to do.
    """
    if settings.executor == "inline":
        from interplay.executors.inline import InlineExecutor

        return InlineExecutor()
    if settings.executor == "slurm":
        from interplay.executors.slurm.executor import SlurmExecutor

        slurm = SlurmExecutor(settings.slurm.over(study.slurm), settings.workers, manifest_of(study))
        slurm.check()
        return slurm
    if settings.executor == "ray":
        from interplay.executors.ray import RayExecutor

        if settings.gpus not in (None, "all"):
            raise SpecError(f"--gpus {settings.gpus}: Ray chooses among its GPUs; say --gpus all, or --workers N")
        per_gpu = max(1, settings.per_gpu) if settings.gpus is not None else 0
        ray = RayExecutor(settings.address, settings.workers, per_gpu)
        ray.check()
        return ray
    from interplay.executors.local import LocalExecutor

    return LocalExecutor(slots)


def submit(executor: Executor, store: Store, job: Job) -> str:
    """Hand the study to Slurm, and say how to look and how to end it."""
    from interplay.executors.slurm.executor import SlurmExecutor
    from interplay.executors.slurm.jobs import alive, submissions

    assert isinstance(executor, SlurmExecutor), "only Slurm takes a study and lets the submitter go"
    before = [each for each in alive(submissions(store.root)) if each.study == executor.study.name]
    made = executor.submit(store, job)
    lines = [f"Slurm job {made.job_id}: {made.allocations} allocations, {made.seats} runs at a time"]
    if before:
        there = ", ".join(each.job_id for each in before)
        lines.append(f"note: job {there} is at work on this study already; they share the runs, none is trained twice")
    place = f" --output_dir {store.root}"
    lines += [f"look:   interplay status{place}", f"cancel: interplay cancel{place}"]
    return "\n".join([*lines, f"logs:   {store.root}/jobs/slurm"])


def cancel(settings: Settings, study: str | None = None) -> str:
    """End the jobs of this store, or of the study of that name; says which.

    Raises:
        InterplayError: Slurm is not here or does not answer.
    """
    from interplay.executors.slurm import jobs

    known = [each for each in jobs.submissions(settings.store().root) if study is None or each.study == study]
    if known and jobs.states(known) is None:
        raise SpecError("there is no squeue here: cancel from a node of the cluster")
    living = jobs.alive(known)
    if not living:
        return "no job of this store waits or runs"
    jobs.cancel(living)
    return "\n".join(
        f"cancelled job {each.job_id} ({each.study}): its runs stop at the next epoch, with a checkpoint"
        for each in living
    )


def job_lines(store: Store) -> list[str]:
    """A line for each job of this store that Slurm still has; nothing where Slurm is not here."""
    from interplay.executors.slurm import jobs

    known = jobs.submissions(store.root)
    try:
        found = jobs.states(known) or {}
    except InterplayError as error:
        return [f"note: {error}"]
    return [
        f"job         {each.job_id}  {each.study}: "
        + ", ".join(f"{count} {state}" for state, count in sorted(found[each.job_id].items()))
        for each in known
        if each.job_id in found
    ]
