"""Stores with a small programme in them: three sets over which best cells are known, and runs that did not end well."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store

LRS, DECAYS, BATCHES = (0.01, 0.05, 0.1, 0.2), (1e-4, 5e-4, 1e-3, 5e-3, 1e-2), (64, 128, 256)
EVIL = "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
MACHINE = {"torch": "2.7", "device": "cpu", "device_name": "a processor", "commit": "abc", "threads": 1}


def record(spec: RunSpec, accuracy: float | None) -> RunRecord:
    """A run of three epochs that ends at ``accuracy`` (%); one that diverged for ``None``."""
    value = 1.0 if accuracy is None else accuracy
    history = tuple(
        EpochMetrics(epoch, spec.lr, 2.0 / epoch, value / 3 * epoch, 2.5 / epoch, value / 3 * epoch, seconds=0.5)
        for epoch in (1, 2, 3)
    )
    lost = accuracy is None
    return RunRecord(
        spec,
        Status.DIVERGED if lost else Status.FINISHED,
        history[: 1 if lost else 3],
        reason="loss not finite" if lost else None,
        environment={**MACHINE, "path": "single"},
        collapse={"sum_of_rates": 100 * spec.lr, "steps": 300.0},
        wall_seconds=1.5,
    )


def programme(seed: int) -> list[RunRecord]:
    """λ* = 1e-4/η up to the grid; the cell of the largest rate and decay diverges, the smallest one is missing."""
    base = RunSpec(dataset="digits", model="mlp", epochs=3, seed=seed)
    found: dict[str, RunRecord] = {}

    def add(momentum: float, wd: float, lr: float, batch: int, best: float) -> None:
        spec = base.replace(momentum=momentum, weight_decay=wd, lr=lr, batch_size=batch)
        noise = 0.04 * math.sin(37 * seed + 11 * len(found))
        accuracy = 78 - 2 * math.log10(max(wd, 1e-6) * lr * 128 / batch / best) ** 2 + noise
        found.setdefault(spec.run_id, record(spec, None if (lr, wd) == (0.2, 1e-2) else accuracy))

    for lr in LRS:
        for wd in DECAYS:
            if (lr, wd) != (0.01, 1e-4):
                add(0.9, wd, lr, 128, 1e-4)
    for lr in (0.01, 0.05, 0.1, 0.5):
        add(0.0, 0.0, lr, 128, 1e-7)
        add(0.0, 5e-4, lr, 128, 5e-5)
    for batch in (64, 256):
        for wd in DECAYS[:-1]:
            add(0.9, wd, 0.1 * batch / 128, batch, 1e-4)
    return list(found.values())


def fill(root: Path, seeds: int = 3) -> Store:
    """Commit the programme for some seeds, a failed run with a hostile message and an interrupted one."""
    store = Store(root)
    for seed in range(seeds):
        for each in programme(seed):
            store.commit(each)
    spoilt = RunSpec(dataset="digits", model="mlp", epochs=3, seed=99)
    store.fail(RunRecord(spoilt, Status.FAILED, reason=f"no such file: {EVIL}"))
    left = spoilt.replace(seed=98)
    store.open(left)
    store.add_epoch(left.run_id, EpochMetrics(1, 0.1, 2.0, 20.0, 2.1, 19.0), first=True)
    return store


@pytest.fixture(scope="session", name="programme")
def _programme() -> Callable[[int], list[RunRecord]]:
    """The records of the programme for one seed."""
    return programme


@pytest.fixture(scope="session", name="fill")
def _fill() -> Callable[..., Store]:
    """Makes a store of the programme."""
    return fill


@pytest.fixture(scope="session")
def evil() -> str:
    """What the failed run says of itself."""
    return EVIL


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that no test changes."""
    return fill(tmp_path_factory.mktemp("store") / "outputs")


@pytest.fixture(scope="session")
def page(store: Store) -> Path:
    """Its page."""
    from interplay.lab.report import report

    return report([store.root], figures=False).page
