"""How a study stands and how long the rest of it may take: nothing here runs a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interplay.errors import SpecError
from interplay.lab.clusters import job_lines
from interplay.lab.running import counts, in_store, prepared, with_data
from interplay.settings import Settings
from interplay.study.study import Study, distinct
from interplay.summary import setting

if TYPE_CHECKING:
    from interplay.executors.gpus import Slot


def dry_run(study: Study, settings: Settings | None = None, others: Sequence[Study] = ()) -> str:
    """What running ``study`` would do: runs in all, done, shared with ``others``, missing, and the expected time."""
    from interplay.executors.plan import alike, estimate, plan, readable
    from interplay.executors.probe import probe

    settings = settings or Settings()
    study, slots = prepared(study, settings)
    store = settings.store()
    planned = plan(study.specs, store)
    shared = set(study.specs) & set(distinct([prepared(other, settings)[0] for other in others]))
    lines = [study.header(), counts(len(planned.specs), len(planned.done), len(planned.failed), len(planned.missing))]
    if others:
        lines.append(f"  {len(shared)} of them shared with {', '.join(other.name for other in others)}")
    if planned.missing:
        records = (r for spec in planned.specs if (r := store.readable_record(spec.run_id)) is not None)
        expected = estimate(planned.missing, [*records, *alike(store, planned.missing)], len(slots))
        if expected is None:
            one_thread(slots)
            expected = probe(planned.missing, slots[0].device, len(slots))
        if expected is None:
            lines.append("  no estimate: nothing like it has finished, and the shape of the data is not known")
        else:
            workers = f"{len(slots)} worker{'' if len(slots) == 1 else 's'}"
            lines.append(
                f"  about {readable(expected.wall_seconds)} with {workers} "
                f"({readable(expected.run_seconds)} of work; from {expected.source})"
            )
    return "\n".join(lines)


def one_thread(slots: Sequence[Slot]) -> None:
    """One thread for what this process computes, as workers on CPUs have."""
    import torch

    if slots[0].device == "cpu":
        torch.set_num_threads(1)


def forecast(study: Study, settings: Settings, workers: int, gpu: str | None = None) -> str:
    """Wall time, hours of work and the tail of the queue for what is missing of ``study``, with half, as many and twice
    as many ``workers``; from finished runs on devices named like ``gpu``, without one from any, or from a probe here.

    Raises:
        SpecError: no workers.
    """
    from interplay.executors.plan import alike, estimate, measured_on, plan, readable, schedule
    from interplay.executors.probe import probe

    if workers < 1:
        raise SpecError(f"workers must be 1 or greater, not {workers}")
    if gpu is None:
        study, slots = prepared(study, settings)
    else:  # runs on GPUs keep their mixed precision; none need be here to plan for them
        study, slots = with_data(study, settings), []
    store = settings.store()
    planned = plan(study.specs, store)
    lines = [study.header(), counts(len(planned.specs), len(planned.done), len(planned.failed), len(planned.missing))]
    if not planned.missing:
        return "\n".join(lines)
    own = [r for spec in planned.done if (r := store.readable_record(spec.run_id)) is not None and measured_on(r, gpu)]
    expected = estimate(planned.missing, [*own, *alike(store, planned.missing, gpu=gpu)], workers)
    if expected is None and slots:
        one_thread(slots)
        expected = probe(planned.missing, slots[0].device, workers)
    if expected is None:
        where = f" on a device named like {gpu!r}" if gpu else ""
        return "\n".join([*lines, f"  no estimate: nothing like some of the missing runs has finished{where}"])
    longest = readable(max(expected.times))
    lines.append(f"  {readable(expected.run_seconds)} of work, the longest run {longest}; from {expected.source}")
    unit = "GPU hours" if gpu or settings.gpus is not None else "core hours"
    share = 1.0
    if unit == "GPU hours":
        # As many as shared a GPU when it was measured: with more of them on it, each would have taken longer.
        share = expected.at_once
        if settings.per_gpu and settings.per_gpu != share:
            lines.append(f"  note: measured with {share:g} runs at once on a GPU, so planned for {share:g}")
        lines.append(f"  a worker is one of {share:g} on a GPU" if share > 1 else "  a worker has a GPU to itself")
    lines.append(f"  {'workers':>8}  {'wall time':>14}  {unit:>10}  {'tail':>14}")
    for number in sorted({max(1, workers // 2), workers, 2 * workers}):
        found = schedule(expected.times, number)
        hours = found.busy_seconds / 3600 / share
        wall, tail = readable(found.wall_seconds), readable(found.tail_seconds) if found.tail_seconds else "none"
        lines.append(f"  {number:>8}  {wall:>14}  {hours:>10.2f}  {tail:>14}")
    return "\n".join([*lines, "  tail: from the first worker with nothing left to do to the end of the last run"])


def show_status(settings: Settings | None = None, study: Study | None = None) -> str:
    """Finished, running (worker, epoch, remaining time), diverged, interrupted, failed (first line of the error)."""
    from interplay.executors.plan import readable
    from interplay.executors.status import status

    settings = settings or Settings()
    store = settings.store()
    found = status(store, in_store(study, settings) if study is not None else None)
    lines = [
        f"{len(found.finished)} finished, {len(found.running)} running, {len(found.diverged)} diverged, "
        f"{len(found.interrupted)} interrupted, {len(found.failed)} failed"
        + (f", {len(found.missing)} missing" if study is not None else "")
        + (f", {len(found.damaged)} damaged" if found.damaged else "")
    ]
    for run_id, claim in found.running:
        eta = f", about {readable(claim['eta'])} left" if claim.get("eta") is not None else ""
        epoch = f"epoch {claim['epoch']}/{claim['epochs']}" if {"epoch", "epochs"} <= claim.keys() else "starting"
        lines.append(f"running     {run_id}  {epoch}{eta}  on {claim.get('worker')} of {claim.get('host')}")
    lines += [f"diverged    {record.run_id}  {setting(record.spec)}: {record.reason}" for record in found.diverged]
    lines += [f"interrupted {run_id}  goes on when it is asked for again" for run_id in found.interrupted]
    lines += [f"failed      {record.run_id}  {setting(record.spec)}: {record.reason}" for record in found.failed]
    lines += [f"damaged     {run_id}  its record cannot be read" for run_id in found.damaged]
    return "\n".join([*lines, *job_lines(store)])
