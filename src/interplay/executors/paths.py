"""Which way through the code trains each run of a study: alone, or in a stack with others of its kind.

The choice is about time only. It never changes which runs there are; every record names the way that was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interplay.errors import SpecError
from interplay.executors.pace import CANDIDATES, Pace, cached, measure
from interplay.executors.plan import training_images
from interplay.spec import DATASETS, RunSpec
from interplay.train.names import PathName
from interplay.train.partition import fitting, stack_key

USUAL_SIZE = 16
"""Networks in a stack where neither a probe nor the user says how many: what small networks gain levels off there."""

AUTOMATIC = ("mlp", "cnn")
"""Networks that ``auto`` considers, on a CPU. Larger ones fill a core by themselves; GPUs have not been measured."""

WORTH_A_PROBE = 60.0
"""Seconds of work of one kind, shared by all workers, below which a probe would cost more than it could save."""


@dataclass(frozen=True)
class Stacking:
    """How many runs of each kind may share a stack, and why."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """By `partition.stack_key`; a kind that is not named takes the plain path."""
    why: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is noted in the environment of the records, by kind."""

    def limit(self, spec: RunSpec) -> int:
        """How many runs such as this one may share a stack; 0 for the plain path."""
        return self.sizes.get(stack_key(spec) or "", 0)

    def facts(self, spec: RunSpec) -> dict[str, Any]:
        """What a record of a stack says about the choice."""
        return dict(self.why.get(stack_key(spec) or "", {}))


def choose(
    missing: Sequence[RunSpec],
    *,
    path: PathName = "auto",
    size: int = 0,
    device: str = "cpu",
    workers: int = 1,
    free: int,
    alone: bool = False,
    notes: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Stacking:
    """Decide for the runs of a sitting.

    Args:
        missing: the runs.
        path: ``single`` for one run at a time, ``fused`` for stacks wherever a network has a stacked form, ``auto`` for
            stacks where a short measurement on this machine finds them faster.
        size: most runs in a stack; 0 leaves it to the probe, or to `USUAL_SIZE`.
        device: where workers train.
        workers: how many there are.
        free: bytes of memory that one worker may take.
        alone: whether something follows the runs that needs each to train by itself (trackers, instruments).
        notes: file that remembers what has been measured on this machine.
        say: told what was chosen by measurement.

    Raises:
        SpecError: ``fused`` was asked for together with what needs runs to train alone.
    """
    if path == "fused" and alone:
        raise SpecError("--path fused: trackers and instruments follow runs that train alone")
    if path == "single" or alone:
        return Stacking()
    kinds = Counter(key for spec in missing if (key := stack_key(spec)) is not None)
    examples = {key: spec for spec in missing if (key := stack_key(spec)) is not None}
    sizes: dict[str, int] = {}
    why: dict[str, dict[str, Any]] = {}
    for key, spec in examples.items():
        most = min(size or USUAL_SIZE, _memory_limit(spec, free))
        if path == "fused":
            sizes[key] = most
            continue
        pace = _pace(spec, kinds[key], most, device, workers, notes)
        if pace is not None and pace.best:
            sizes[key] = min(most, pace.best)
            why[key] = {"probe": pace.to_dict()}
            gain = pace.stacked[pace.best] / pace.alone
            say(
                f"{spec.model} at batch size {spec.batch_size}: stacks of {sizes[key]}, {gain:.1f} times as fast "
                "as one run at a time by a probe of this machine (--path single to leave it)"
            )
    return Stacking(sizes, why)


def _pace(spec: RunSpec, runs: int, most: int, device: str, workers: int, notes: Path | None) -> Pace | None:
    """What is known or measured of this kind, or ``None`` where a probe is not worth its time."""
    images = training_images(spec)
    if device != "cpu" or spec.model not in AUTOMATIC or spec.dataset not in DATASETS or images is None:
        return None
    share = min(most, runs // max(1, workers))
    tried = [candidate for candidate in CANDIDATES if candidate <= share]
    if not tried:
        return None

    def worthwhile(rate: float) -> bool:
        return runs * spec.epochs * images / rate / max(1, workers) > WORTH_A_PROBE

    return cached(spec, tried[-1], notes, lambda: measure(spec, tried[-1], device, worthwhile))


def _memory_limit(spec: RunSpec, free: int) -> int:
    facts = DATASETS.get(spec.dataset)
    if facts is None:
        return USUAL_SIZE  # the shape of the images is not known before the file is opened
    return fitting(spec, facts.shape, facts.classes, free)
