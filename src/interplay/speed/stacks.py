"""A short measurement of one run alone against stacks of several, on random images of the data's shape."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from interplay.spec import RunSpec
from interplay.speed.epochs import random_splits
from interplay.speed.estimate import training_images
from interplay.stack.train import train_stack
from interplay.store.files import write_whole
from interplay.train.environment import device_name
from interplay.train.loop import train

CANDIDATES = (2, 4, 8, 16, 32)
"""Sizes of stacks that are tried, as far as there are runs and memory."""

WORTHWHILE = 1.15
"""A stack must be so many times as fast as one run at a time; below that, noise decides."""

NEARLY_BEST = 1.05
"""The smallest stack within this factor of the fastest is taken: it loses less when something goes wrong."""

REPEATS = 3
_SECONDS = 0.05


@dataclass(frozen=True)
class Pace:
    """Training images a second on one worker, all runs of a stack together."""

    alone: float
    stacked: Mapping[int, float]
    """By the number of networks; empty where no stack was tried."""

    @property
    def best(self) -> int:
        """Networks in a stack; 0 where runs had better train alone."""
        fastest = max(self.stacked.values(), default=0.0)
        if fastest < WORTHWHILE * self.alone:
            return 0
        return min(size for size, rate in self.stacked.items() if rate * NEARLY_BEST >= fastest)

    @property
    def complete(self) -> bool:
        """See `Measurement`."""
        return bool(self.stacked)

    def to_dict(self) -> dict[str, Any]:
        """JSON types, rounded to what such a measurement can tell."""
        return {
            "alone": float(f"{self.alone:.3g}"),
            "stacked": {str(size): float(f"{rate:.3g}") for size, rate in self.stacked.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pace:
        """The inverse of ``to_dict``."""
        return cls(float(values["alone"]), {int(size): float(rate) for size, rate in values["stacked"].items()})


def measure(spec: RunSpec, most: int, device: str, worthwhile: Callable[[float], bool] = lambda rate: True) -> Pace:
    """Measure runs such as ``spec``, alone and in stacks of up to ``most``, in turn.

    ``worthwhile`` is asked with the images a second of one run alone; when it says no, no stack is tried.
    """
    images = training_images(spec) or spec.batch_size
    count = min(images, spec.batch_size)
    while True:
        splits = random_splits(spec, count, min(count, 64), device)
        runs = _quick(spec, count, most)
        last = train(runs[0], splits).history[-1]
        if count == images or count / last.images_per_second > _SECONDS:
            break
        count = min(images, 4 * count)
    if not worthwhile(last.images_per_second):
        return Pace(last.images_per_second, {})
    sizes = [size for size in CANDIDATES if size <= most] or [most]
    alone: list[float] = []
    stacked: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        alone.append(train(runs[0], splits).history[-1].images_per_second)
        for size in sizes:
            records = train_stack(runs[:size], [splits] * size)
            stacked[size] += [record.history[-1].images_per_second for record in records[:1] if record is not None]
    return Pace(statistics.median(alone), {size: statistics.median(rates) for size, rates in stacked.items()})


class Measurement(Protocol):
    """What a probe finds."""

    @property
    def complete(self) -> bool:
        """Whether it is worth remembering: a probe that was cut short says nothing about a longer study."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""


M = TypeVar("M", bound=Measurement)


def cached(spec: RunSpec, most: int, notes: Path | None, work: Callable[[], Pace]) -> Pace:
    """What ``notes`` know of this kind of run on this machine and this torch, else ``work``, which they then keep."""
    return remembered(named(spec, f"K<={most}", device_name(torch.device("cpu"))), notes, work, Pace.from_dict)


def named(spec: RunSpec, *more: str) -> str:
    """A kind of run as far as its cost goes, what was asked about it and of which machine, and this torch."""
    parts = (spec.model, *spec.own_knobs.values(), spec.dataset, f"B={spec.batch_size}", spec.optimizer)
    return " ".join(str(part) for part in (*parts, spec.augment, spec.precision, *more, torch.__version__))


def remembered(name: str, notes: Path | None, work: Callable[[], M], load: Callable[[Mapping[str, Any]], M]) -> M:
    """What ``notes`` have under ``name``, else ``work``, which they then keep."""
    known = _read(notes)
    if name in known:
        try:
            return load(known[name])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            known.pop(name)  # changed by hand, or of another version: it is measured again
    found = work()
    if notes is not None and found.complete:
        notes.parent.mkdir(parents=True, exist_ok=True)
        write_whole(notes, json.dumps({**known, name: found.to_dict()}, indent=1) + "\n")
    return found


def _read(notes: Path | None) -> dict[str, Any]:
    try:
        found = json.loads(notes.read_text(encoding="utf-8")) if notes is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _quick(spec: RunSpec, count: int, runs: int) -> list[RunSpec]:
    """Two epochs, of which the first one warms up; a tiny rate keeps random labels from making runs diverge."""
    base = spec.replace(
        epochs=2, warmup_epochs=0, lr=1e-6, weight_decay=0.0, train_limit=count, val_split=0, label_noise=0.0
    )
    return [base.replace(seed=seed) for seed in range(max(1, runs))]
