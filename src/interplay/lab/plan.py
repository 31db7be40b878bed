"""How a study stands and how long the rest of it may take: nothing here runs a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.errors import SpecError
from interplay.lab.prepare import counts, one_thread, prepared, with_data
from interplay.lab.settings import MAX_WORKERS, Settings
from interplay.speed.estimate import (
    Estimate,
    Schedule,
    alike,
    estimate,
    makespan,
    measured_on,
    plan,
    readable,
    schedule,
)
from interplay.study.study import Study, distinct
from interplay.text import shown
from interplay.trial import Trial, trials


@dataclass(frozen=True)
class Outlook:
    """What running a study would do; as text, or as JSON types."""

    study: Study
    done: int
    failed: int
    missing: int
    others: tuple[str, ...]
    """Names of the studies that it may share runs with."""
    shared: int
    workers: int
    expected: Estimate | None
    """Of what is missing; ``None`` where nothing like it has finished and a probe cannot tell."""

    def __str__(self) -> str:
        total = self.done + self.failed + self.missing
        lines = [self.study.header(), counts(total, self.done, self.failed, self.missing)]
        if self.others and not trials(self.study.specs):
            lines.append(f"  {self.shared} of them shared with {', '.join(self.others)}")
        if self.missing and self.expected is None:
            unknown = "" if trials(self.study.specs) else ", and the shape of the data is not known"
            lines.append(f"  no estimate: nothing like it has finished{unknown}")
        elif self.expected is not None:
            workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
            lines.append(
                f"  about {readable(self.expected.wall_seconds)} with {workers} "
                f"({readable(self.expected.run_seconds)} of work; from {self.expected.source})"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; times in seconds, ``null`` where there is no estimate."""
        return {
            **_named(self.study),
            **_counted(self.done, self.failed, self.missing),
            "shared": self.shared,
            "shared_with": list(self.others),
            "workers": self.workers,
            "estimate": None if self.expected is None else _times(self.expected),
        }


def _named(study: Study) -> dict[str, Any]:
    words = {name: getattr(study, name) for name in ("name", "question", "cost", "command")}
    return {**words, "claims": [claim.id for claim in study.own_claims()]}


def _counted(done: int, failed: int, missing: int) -> dict[str, int]:
    return {"runs": done + failed + missing, "done": done, "failed": failed, "missing": missing}


def _times(expected: Estimate) -> dict[str, Any]:
    return {
        "wall_seconds": expected.wall_seconds,
        "run_seconds": expected.run_seconds,
        "longest_seconds": max(expected.times, default=0.0),
        "source": expected.source,
    }


def dry_run(study: Study, settings: Settings | None = None, others: Sequence[Study] = ()) -> Outlook:
    """What running ``study`` would do: runs in all, done, shared with ``others``, missing, and the expected time."""
    settings = settings or Settings()
    study, slots = prepared(study, settings)
    store = settings.store()
    planned = plan(study.specs, store)
    shared = set(study.specs) & set(distinct([prepared(other, settings)[0] for other in others]))
    expected = None
    if planned.missing:
        records = (r for spec in planned.specs if (r := store.readable_record(spec.run_id)) is not None)
        expected = estimate(planned.missing, [*records, *alike(store, planned.missing)], len(slots))
        own = [spec for spec in planned.missing if not isinstance(spec, Trial)]
        if expected is None and len(own) == len(planned.missing):
            from interplay.speed.measure import probe  # torch

            one_thread(slots)
            expected = probe(own, slots[0].device, len(slots))
    return Outlook(
        study,
        len(planned.done),
        len(planned.failed),
        len(planned.missing),
        tuple(other.name for other in others),
        len(shared),
        len(slots),
        expected,
    )


@dataclass(frozen=True)
class Forecast:
    """How long what is missing of a study may take with several numbers of workers; as text, or as JSON types."""

    study: Study
    done: int
    failed: int
    missing: int
    expected: Estimate | None
    """``None`` where nothing is missing, or nothing like it has finished."""
    queues: tuple[Schedule, ...]
    """The queue with half as many workers, as many, and twice as many."""
    unit: str
    """Of the hours of work: ``GPU hours`` or ``core hours``."""
    share: float
    """Workers on one GPU."""
    gpu: str | None
    notes: tuple[str, ...] = ()
    deadline: float | None = None
    """Seconds within which all is to be done."""

    def __str__(self) -> str:
        total = self.done + self.failed + self.missing
        lines = [self.study.header(), counts(total, self.done, self.failed, self.missing)]
        if self.expected is None:
            where = f" on a device named like {self.gpu!r}" if self.gpu else ""
            none = f"  no estimate: nothing like some of the missing runs has finished{where}"
            return "\n".join([*lines, *([none] if self.missing else [])])
        longest = readable(max(self.expected.times))
        work = readable(self.expected.run_seconds)
        lines.append(f"  {work} of work, the longest run {longest}; from {self.expected.source}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.unit == "GPU hours":
            lines.append(
                f"  a worker is one of {self.share:g} on a GPU" if self.share > 1 else "  a worker has a GPU to itself"
            )
        lines.append(f"  {'workers':>8}  {'wall time':>14}  {self.unit:>10}  {'tail':>14}")
        for queue in self.queues:
            wall, tail = readable(queue.wall_seconds), readable(queue.tail_seconds) if queue.tail_seconds else "none"
            lines.append(f"  {queue.workers:>8}  {wall:>14}  {self._hours(queue):>10.2f}  {tail:>14}")
        if self.deadline is not None:
            lines.append(f"  deadline {readable(self.deadline)}: {_met(self.expected.times, self.deadline)}")
        return "\n".join([*lines, "  tail: from the first worker with nothing left to do to the end of the last run"])

    def _hours(self, queue: Schedule) -> float:
        return queue.busy_seconds / 3600 / self.share

    def to_dict(self) -> dict[str, Any]:
        """JSON types; times in seconds, ``null`` where there is no estimate."""
        return {
            **_named(self.study),
            **_counted(self.done, self.failed, self.missing),
            "estimate": None if self.expected is None else _times(self.expected),
            "hours_are": self.unit,
            "workers_on_a_gpu": self.share,
            "notes": list(self.notes),
            "deadline_seconds": self.deadline,
            "queues": [
                {
                    "workers": queue.workers,
                    "wall_seconds": queue.wall_seconds,
                    "hours": self._hours(queue),
                    "tail_seconds": queue.tail_seconds,
                }
                for queue in self.queues
            ],
        }


def forecast(
    study: Study, settings: Settings, workers: int, gpu: str | None = None, deadline: float | None = None
) -> Forecast:
    """Wall time, hours of work and the tail of the queue for what is missing of ``study``, with half, as many and twice
    as many ``workers``; from finished runs on devices named like ``gpu``, without one from any, or from a probe here.
    With a ``deadline`` in seconds, how many workers meet it.

    Raises:
        SpecError: no workers, or more than a study may have.
    """
    if not 1 <= workers <= MAX_WORKERS:
        raise SpecError(f"workers must be 1 or greater, at most {MAX_WORKERS}, not {shown(workers)}")
    if gpu is None:
        study, slots = prepared(study, settings)
    else:  # runs on GPUs keep their mixed precision; none need be here to plan for them
        study, slots = with_data(study, settings), []
    store = settings.store()
    planned = plan(study.specs, store)
    unit = "GPU hours" if gpu or settings.gpus is not None else "core hours"
    expected = None
    if planned.missing:
        own = [
            r for spec in planned.done if (r := store.readable_record(spec.run_id)) is not None and measured_on(r, gpu)
        ]
        expected = estimate(planned.missing, [*own, *alike(store, planned.missing, gpu=gpu)], workers)
        own_runs = [spec for spec in planned.missing if not isinstance(spec, Trial)]
        if expected is None and slots and len(own_runs) == len(planned.missing):
            from interplay.speed.measure import probe  # torch

            one_thread(slots)
            expected = probe(own_runs, slots[0].device, workers)
    share, notes = 1.0, []
    if unit == "GPU hours" and expected is not None:
        # As many as shared a GPU when it was measured: with more of them on it, each would have taken longer.
        share = expected.at_once
        if settings.per_gpu and settings.per_gpu != share:
            notes.append(f"measured with {share:g} runs at once on a GPU, so planned for {share:g}")
    numbers = sorted({max(1, workers // 2), workers, 2 * workers}) if expected is not None else []
    queues = tuple(schedule(expected.times, number) for number in numbers) if expected is not None else ()
    counted = len(planned.done), len(planned.failed), len(planned.missing)
    return Forecast(study, *counted, expected, queues, unit, share, gpu, tuple(notes), deadline)


def _met(times: Sequence[float], deadline: float) -> str:
    """How many workers end runs of ``times`` seconds within ``deadline`` seconds, in words."""
    if max(times) > deadline:
        return f"not met by any number of workers, since the longest run takes {readable(max(times))}"
    workers = max(1, math.ceil(sum(times) / deadline))
    while (wall := makespan(times, workers)) > deadline:
        workers += 1
    return f"met by {workers} worker{'s' if workers > 1 else ''} or more, in {readable(wall)}"
