"""One run from specification to committed record: where training, store and trackers meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from interplay.data import splits
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.store.checkpoints import publish
from interplay.store.store import Store
from interplay.train.checkpoint import Checkpoints
from interplay.train.single import BatchMetrics, train


@dataclass(frozen=True)
class Job:
    """Operational settings of a run: where and how, never what."""

    data_dir: Path
    device: torch.device
    save_checkpoints: bool = False
    experiment: int | None = None
    instruments: tuple[str, ...] = ()


def execute(
    spec: RunSpec,
    store: Store,
    job: Job,
    *,
    on_epoch: Callable[[EpochMetrics], bool | None] | None = None,
    on_batch: Callable[[BatchMetrics], None] | None = None,
) -> RunRecord:
    """Train ``spec``, commit its record, give its checkpoints their names.

    If another worker committed the same run meanwhile, that record stands and is returned.

    Raises:
        Interrupted, DataError, SpecError, CheckpointError: nothing is committed; the run can be started again.
    """
    data = splits.load(spec, job.data_dir, job.device)
    folder = store.open(spec)

    def epoch_ended(metrics: EpochMetrics) -> bool | None:
        store.add_epoch(spec.run_id, metrics)
        return on_epoch(metrics) if on_epoch else None

    checkpoints = Checkpoints(folder, keep=job.save_checkpoints)
    record = train(
        spec, data, on_epoch=epoch_ended, on_batch=on_batch, checkpoints=checkpoints, instruments=job.instruments
    )
    if not store.commit(record):
        standing = store.record(spec.run_id)
        assert standing is not None, "a refused commit means that there is a record"
        record = standing
    publish(store.root, spec, folder, job.experiment)
    return record
