"""Studies beyond this machine: which executor, how many runs at a time, and the jobs that were handed to Slurm."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from interplay.devices import Slot
from interplay.errors import InterplayError, SpecError
from interplay.executors.registry import executor_class
from interplay.executors.slurm import jobs
from interplay.lab.settings import Settings
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.study.claims import Claim
from interplay.study.study import Study

if TYPE_CHECKING:
    from interplay.executors.base import Executor


def slots_of(study: Study, settings: Settings) -> list[Slot]:
    """Where the runs of ``study`` go at a time, with the device that a worker will see."""
    return executor_class(settings.executor).slots(_asked(study, settings))


def submits(study: Study, settings: Settings) -> bool:
    """Whether the study is handed over and goes on without this process."""
    return executor_class(settings.executor).submits(_asked(study, settings))


def _asked(study: Study, settings: Settings) -> Settings:
    return dataclasses.replace(settings, slurm=settings.slurm.over(study.slurm))


def manifest_of(study: Study) -> Manifest:
    """``study`` as the store remembers it: its runs and its claims."""
    claims = tuple(claim.to_table() if isinstance(claim, Claim) else claim for claim in study.claims)
    return Manifest(study.name, study.specs, study.experiment, claims, study.question)


def executor_for(study: Study, settings: Settings, slots: Sequence[Slot]) -> Executor:
    """Whoever will run the study.

    Raises:
        InterplayError: the engine is not installed, or not on this machine; says what to do.
    """
    return executor_class(settings.executor).make(_asked(study, settings), manifest_of(study), slots)


def cancel(settings: Settings, study: str | None = None) -> str:
    """End the jobs of this store, or of the study of that name; says which.

    Raises:
        InterplayError: Slurm is not here or does not answer.
    """
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
