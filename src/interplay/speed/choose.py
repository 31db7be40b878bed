"""Which way through the code trains each run of a study: alone, or in a stack with others of its kind; and on a GPU,
how many runs at once.

The choice is about time only. It never changes which runs there are; every record names the way that was taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interplay.dataset_facts import DATASETS
from interplay.devices import gpu_model
from interplay.errors import SpecError
from interplay.spec import RunSpec
from interplay.speed.estimate import training_images
from interplay.speed.sharing import Sharing, Way, measure_gpu
from interplay.speed.stacks import CANDIDATES, Pace, cached, measure, named, remembered
from interplay.stack.grouping import fitting, kind, stack_key, stackable
from interplay.train.names import PathName

USUAL_SIZE = 16
"""Networks in a stack where neither a probe nor the user says how many: what small networks gain levels off there."""

AUTOMATIC = ("mlp", "cnn")
"""Networks that ``auto`` considers for stacks of several. Larger ones fill a core, or a GPU, by themselves."""

WORTH_A_PROBE = 60.0
"""Seconds of work of one kind, shared by all workers, below which a probe on a CPU costs more than it can save."""

WORTH_STEPS = 300_000
"""Steps of one kind for each GPU below which it is not probed: no path takes more than a thousand a second, and a probe
takes a minute.
"""

WORTH_COMPILING = 3_000_000
"""Steps below which Inductor is not tried: compiling takes another minute in each worker."""


@dataclass(frozen=True)
class Stacking:
    """How many runs of each kind may share a stack, how many workers a GPU, and why. By `partition.kind`."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Networks in a stack; a kind that is not named takes the plain path."""
    why: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What is noted in the environment of the records."""
    shares: Mapping[str, int] = field(default_factory=dict)
    """Workers that train runs of the kind on one GPU at once; one that is not named fills whatever slots there are."""
    compiled: frozenset[str] = frozenset()
    """Kinds whose stacks go through Inductor."""

    def limit(self, spec: RunSpec) -> int:
        """How many runs such as this one may share a stack; 0 for the plain path."""
        return self.sizes.get(stack_key(spec) or "", 0)

    def share(self, spec: RunSpec, slots: int) -> float:
        """The part of a GPU with ``slots`` slots that a worker with such a run takes."""
        return 1 / self.shares.get(kind(spec), max(1, slots))

    def is_compiled(self, spec: RunSpec) -> bool:
        """Whether a stack of such runs goes through Inductor."""
        return kind(spec) in self.compiled

    def facts(self, spec: RunSpec) -> dict[str, Any]:
        """What the record of such a run says about the choice."""
        return dict(self.why.get(kind(spec), {}))


def choose(
    missing: Sequence[RunSpec],
    *,
    path: PathName = "auto",
    size: int = 0,
    device: str = "cpu",
    visible: str = "",
    seats: int = 1,
    gpus: int = 1,
    workers: int = 1,
    free: int,
    alone: bool = False,
    notes: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Stacking:
    """Decide for the runs of a sitting.

    Args:
        missing: the runs.
        path: ``single`` for one run at a time, ``fused`` for stacks wherever a network has a stacked form (on a GPU
            with captured steps), ``compiled`` for the same through Inductor, ``auto`` for whichever a short
            measurement on this machine finds faster.
        size: most runs in a stack; 0 leaves it to the probe, or to `USUAL_SIZE` for networks that gain by it.
        device: where workers train.
        visible: CUDA_VISIBLE_DEVICES of a worker, for a probe of its GPU.
        seats: workers that one GPU may have at once, of which a probe chooses how many it gets; 1 to leave that.
        gpus: how many there are.
        workers: how many there are.
        free: bytes of memory that one worker may take.
        alone: whether something follows the runs that needs each to train by itself (trackers, instruments).
        notes: file that remembers what has been measured on this machine.
        say: told what was chosen by measurement.

    Raises:
        SpecError: a stack was asked for together with what needs runs to train alone.
    """
    if path in ("fused", "compiled") and alone:
        raise SpecError(f"--path {path}: trackers and instruments follow runs that train alone")
    if path in ("fused", "compiled"):
        # Grouped convolutions of large networks lose on a GPU; there the gain of this path is the captured step.
        sizes = {
            key: min(size or (USUAL_SIZE if device == "cpu" or spec.model in AUTOMATIC else 1), _fitting(spec, free))
            for spec in missing
            if (key := stack_key(spec)) is not None
        }
        return Stacking(sizes, compiled=frozenset(sizes if path == "compiled" else ()))
    if device != "cpu":
        single = alone or path == "single"
        return _on_gpus(missing, size, device, visible, seats, gpus, free, notes, say, single=single)
    if path == "single" or alone:
        return Stacking()
    return _on_cores(missing, size, device, workers, free, notes, say)


def _on_cores(
    missing: Sequence[RunSpec],
    size: int,
    device: str,
    workers: int,
    free: int,
    notes: Path | None,
    say: Callable[[str], None],
) -> Stacking:
    kinds = Counter(key for spec in missing if (key := stack_key(spec)) is not None)
    examples = {key: spec for spec in missing if (key := stack_key(spec)) is not None}
    sizes: dict[str, int] = {}
    why: dict[str, dict[str, Any]] = {}
    for key, spec in examples.items():
        most = min(size or USUAL_SIZE, _fitting(spec, free))
        pace = _pace(spec, kinds[key], most, device, workers, notes)
        if pace is not None and pace.stacked:
            why[key] = {"probe": pace.to_dict()}
        if pace is not None and pace.best:
            sizes[key] = min(most, pace.best)
            gain = pace.stacked[pace.best] / pace.alone
            say(
                f"{spec.model} at batch size {spec.batch_size}: stacks of {sizes[key]}, {gain:.1f} times as fast "
                "as one run at a time by a probe of this machine (--path single to leave it)"
            )
    return Stacking(sizes, why)


def _on_gpus(
    missing: Sequence[RunSpec],
    size: int,
    device: str,
    visible: str,
    seats: int,
    gpus: int,
    free: int,
    notes: Path | None,
    say: Callable[[str], None],
    *,
    single: bool,
) -> Stacking:
    counts = Counter(map(kind, missing))
    if device.startswith("cuda"):
        device = "cuda:0"  # a process of the probe sees one GPU, whatever this one calls it
    sizes: dict[str, int] = {}
    why: dict[str, dict[str, Any]] = {}
    shares: dict[str, int] = {}
    compiled: set[str] = set()
    for key, spec in {kind(spec): spec for spec in missing}.items():
        images = training_images(spec)
        if spec.dataset not in DATASETS or images is None:
            continue
        steps = counts[key] * spec.epochs * -(-images // spec.batch_size) / max(1, gpus)
        if steps < WORTH_STEPS:
            continue
        most = min(size or USUAL_SIZE, _fitting(spec, free), -(-counts[key] // max(1, gpus)))
        ways = [Way("single"), *([] if single else _other_ways(spec, most, compiling=steps >= WORTH_COMPILING))]

        def work(spec: RunSpec = spec, ways: Sequence[Way] = ways) -> Sharing:
            seconds = 20 * (len(ways) + seats)
            say(f"{spec.model} at batch size {spec.batch_size}: a probe of the GPU, about {seconds} s")
            return measure_gpu(spec, ways, seats, free * seats, device, visible)

        asked = ", ".join(map(str, ways))
        found = remembered(named(spec, f"{asked}; k<={seats}", gpu_model(visible)), notes, work, Sharing.from_dict)
        if not found.at_once:
            say(f"{spec.model} at batch size {spec.batch_size}: the probe failed; the plain path is taken")
            continue
        why[key] = {"probe": found.to_dict()}
        if found.way.path != "single":
            sizes[key] = found.way.networks
        if found.way.path == "compiled":
            compiled.add(key)
        if seats > 1:
            shares[key] = found.best
        say(
            f"{spec.model} at batch size {spec.batch_size}: {found.way}, {found.best} at once on a GPU, "
            f"{found.at_once[found.best]:,.0f} images/s by a probe of it"
        )
    return Stacking(sizes, why, shares, frozenset(compiled))


def _other_ways(spec: RunSpec, most: int, *, compiling: bool) -> list[Way]:
    """What may be faster than the plain path on a GPU; captured steps first, for they need no compiler."""
    if not stackable(spec):
        return []
    several = [size for size in CANDIDATES if size <= most] if spec.model in AUTOMATIC else []
    return [*(Way("fused", size) for size in (1, *several)), *([Way("compiled")] if compiling else [])]


def _pace(spec: RunSpec, runs: int, most: int, device: str, workers: int, notes: Path | None) -> Pace | None:
    """What is known or measured of this kind, or ``None`` where a probe is not worth its time."""
    images = training_images(spec)
    if spec.model not in AUTOMATIC or spec.dataset not in DATASETS or images is None:
        return None
    share = min(most, runs // max(1, workers))
    tried = [candidate for candidate in CANDIDATES if candidate <= share]
    if not tried:
        return None

    def worthwhile(rate: float) -> bool:
        return runs * spec.epochs * images / rate / max(1, workers) > WORTH_A_PROBE

    return cached(spec, tried[-1], notes, lambda: measure(spec, tried[-1], device, worthwhile))


def _fitting(spec: RunSpec, free: int) -> int:
    facts = DATASETS.get(spec.dataset)
    if facts is None:
        return USUAL_SIZE  # the shape of the images is not known before the file is opened
    return fitting(spec, facts.shape, facts.classes, free)
