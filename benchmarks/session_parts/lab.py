"""Runs of the lab in this process: what `chunk` and `faults` train on, and an attempt that waits for a dead one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from interplay.data.identity import resolve
from interplay.devices import fitted
from interplay.executors.attempt import Way, attempt
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.spec import RunSpec
from interplay.store.leases import Claims
from interplay.store.store import Store
from interplay.train.events import Event, RunEnded, never, unheard


def random_npz(path: Path, images: int) -> Path:
    """A file of random images in the shape of CIFAR-100, made once: the same every time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draws = np.random.default_rng(0)
        parts = {"train": images, "test": max(100, images // 5)}
        # The npz must have as many classes as CIFAR-100 in either part.
        arrays = {f"x_{part}": draws.integers(0, 256, (n, 32, 32, 3), np.uint8) for part, n in parts.items()}
        arrays |= {f"y_{part}": np.arange(n, dtype=np.int64) % 100 for part, n in parts.items()}
        np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def settled(spec: RunSpec, data_dir: Path, device: str) -> RunSpec:
    """``spec`` with the fingerprint of its data and the precision of the device."""
    return fitted(resolve(spec, data_dir), device)


def carried_out(
    specs: Sequence[RunSpec],
    root: Path,
    job: Job,
    way: Way,
    emit: Callable[[Event], None] = unheard,
    should_stop: Callable[[], bool] = never,
    patience: float = 90.0,
) -> list[Outcome]:
    """Attempt runs, as `interplay run` does; one that a process left that is no more is taken over.

    Args:
        specs: settled ones; of a stack or of lanes, those that train together.
        root: folder of the store.
        job: settings.
        way: how to train.
        emit: takes the events.
        should_stop: asked after each epoch.
        patience: seconds to wait for another process that has a run.
    """
    store, end = Store(root), time.monotonic() + patience
    outcomes = dict.fromkeys(specs, Outcome(End.TAKEN))

    def heard(event: Event) -> None:
        if isinstance(event, RunEnded):
            outcomes[cast(RunSpec, event.spec)] = event.outcome
        emit(event)

    claims = Claims(store.runs, "gpu_session", job.lease)
    while taken := [spec for spec, outcome in outcomes.items() if outcome.end is End.TAKEN]:
        attempt(taken, store, claims, job, heard, should_stop, way=way)
        if all(outcome.end is not End.TAKEN for outcome in outcomes.values()) or time.monotonic() > end:
            break
        time.sleep(0.5)
    return list(outcomes.values())
