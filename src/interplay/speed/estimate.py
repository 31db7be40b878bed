"""Plan before acting: which runs are done, which are missing, how long the rest will take."""

from __future__ import annotations

import heapq
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from interplay.dataset_facts import DATASETS
from interplay.network_facts import NETWORKS
from interplay.record import RunRecord
from interplay.store.folders import names_in
from interplay.store.store import THOROUGH, Store
from interplay.trial import Spec, Trial


@dataclass(frozen=True)
class Plan:
    """The runs of a study by what is to be done about them."""

    specs: tuple[Spec, ...]
    done: tuple[Spec, ...]
    failed: tuple[Spec, ...]
    missing: tuple[Spec, ...]
    """In the order in which they are to start: longest first."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing to run."""
        return not self.missing


def plan(specs: Sequence[Spec], store: Store) -> Plan:
    """Look up every run in the store; a folder listing and one look a run. A run with a damaged record is missing."""
    done, failed, missing = [], [], []
    known = {run_id: names_in(store.folder(run_id)) for run_id in store.run_ids()}
    for spec in specs:
        ends = known.get(spec.run_id, frozenset())
        if "record.json" in ends and not (len(known) <= THOROUGH and store.is_damaged(spec.run_id)):
            done.append(spec)
        elif "failed.json" in ends:
            failed.append(spec)
        else:
            missing.append(spec)
    return Plan(tuple(specs), tuple(done), tuple(failed), tuple(sorted(missing, key=work, reverse=True)))


def training_images(spec: Spec) -> int | None:
    """N, where it is known without opening files."""
    if isinstance(spec, Trial):
        return None
    facts = DATASETS.get(spec.dataset)
    return spec.training_images(facts.n_train) if facts else spec.train_limit


def work(spec: Spec) -> tuple[float, int]:
    """A measure of how long a run takes, to start long ones first; small batches take longer for the same images."""
    if isinstance(spec, Trial):  # nothing is known of it but what its knobs are called
        return (_number(spec.epochs), -int(_number(spec.batch_size)))
    own = spec.own_knobs
    work = NETWORKS[spec.model].work if spec.model in NETWORKS else 1.0
    size = work * own.get("widening", 1) ** 2 * own.get("blocks_per_stage", 1)
    return (size * spec.epochs * (training_images(spec) or 50_000), -spec.batch_size)


@dataclass(frozen=True)
class Estimate:
    """Expected time of what is missing."""

    run_seconds: float
    """Sum over runs, each alone."""
    wall_seconds: float
    """With ``workers`` at work, longest runs first."""
    workers: int
    source: str
    """What the estimate rests on."""
    times: tuple[float, ...] = ()
    """Seconds of each run."""
    at_once: float = 1.0
    """Median number of runs that shared a device with those that the times are from."""


def estimate(missing: Sequence[Spec], records: Iterable[RunRecord], workers: int) -> Estimate | None:
    """From finished runs of the same network and data: median seconds an epoch, of the same batch size if there is one.

    ``None`` if a kind of run among the missing has no finished one.
    """
    exact: dict[tuple[object, ...], list[float]] = defaultdict(list)
    near: dict[tuple[object, ...], list[float]] = defaultdict(list)
    used = 0
    sharing: list[float] = []
    for record in records:
        if record.history:
            sharing.append(float(record.environment.get("at_once", 1)))
            seconds = record.wall_seconds / _units(record.spec, len(record.history))
            exact[(*_kind(record.spec), record.spec.batch_size)].append(seconds)
            near[_kind(record.spec)].append(seconds)
            used += 1
    times = []
    for spec in missing:
        known = exact.get((*_kind(spec), spec.batch_size)) or near.get(_kind(spec))
        if not known:
            return None
        times.append(_units(spec, spec.epochs) * statistics.median(known))
    source = f"{used} finished run{'' if used == 1 else 's'}"
    at_once = statistics.median(sharing) if sharing else 1.0
    return Estimate(sum(times), makespan(times, workers), workers, source, tuple(times), at_once)


def alike(store: Store, missing: Sequence[Spec], most: int = 50, gpu: str | None = None) -> list[RunRecord]:
    """Some finished runs of the same networks from other studies of the store, to estimate from; see `measured_on`."""
    models = {_family(spec) for spec in missing}
    found: list[RunRecord] = []
    for run_id in store.run_ids():
        if len(found) == most:
            break
        record = store.readable_record(run_id) if store.is_done(run_id) else None
        if record is not None and _family(record.spec) in models and measured_on(record, gpu):
            found.append(record)
    return found


def measured_on(record: RunRecord, gpu: str | None) -> bool:
    """Whether the run was on a device whose name has ``gpu`` in it, in capitals or not; any device for ``None``."""
    return gpu is None or gpu.lower() in str(record.environment.get("device_name", "")).lower()


def _family(spec: Spec) -> str:
    """What trains, or what is trained."""
    return spec.trainer.name if isinstance(spec, Trial) else spec.model


def _units(spec: Spec, epochs: int) -> float:
    """What the time of a run is proportional to: its ``epochs``; of a trial those that its knobs tell, else one."""
    return max(_number(spec.epochs), 1.0) if isinstance(spec, Trial) else epochs


def _number(value: object) -> float:
    """Of a knob that may be missing or a word."""
    return float(value) if isinstance(value, int | float) else 0.0


def _kind(spec: Spec) -> tuple[object, ...]:
    if isinstance(spec, Trial):
        words = {name: value for name, value in spec.knobs.items() if isinstance(value, str)}
        return (spec.trainer.name, *sorted(words.items()))
    return (spec.model, *spec.own_knobs.values(), spec.dataset, training_images(spec), spec.precision)


def makespan(times: Iterable[float], workers: int) -> float:
    """Wall time when each worker takes the next run as it becomes free, longest first (Graham's LPT rule)."""
    return schedule(times, workers).wall_seconds


@dataclass(frozen=True)
class Schedule:
    """A queue of runs as some workers go through it. Seconds."""

    workers: int
    wall_seconds: float
    busy_seconds: float
    """Summed over workers, while they train; a worker that finds nothing more to do goes."""
    tail_seconds: float
    """From the moment at which the first worker finds nothing more to do to the end."""


def schedule(times: Iterable[float], workers: int) -> Schedule:
    """Simulate the queue: each worker takes the next run as it becomes free, longest first."""
    loads = [0.0] * max(1, workers)
    for seconds in sorted(times, reverse=True):
        heapq.heapreplace(loads, loads[0] + seconds)
    return Schedule(len(loads), max(loads), sum(loads), max(loads) - loads[0])


def readable(seconds: float) -> str:
    """Such as ``45 s``, ``12 min``, ``3 h 20 min`` or ``2 d 4 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"
