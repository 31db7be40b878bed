"""Which way through the code trains each run of a study: alone, or in a stack with others of its kind; and on a GPU,
how many runs at once.

The choice is about time only. It never changes which runs there are; every record names the way that was taken.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interplay.dataset_facts import DATASETS
from interplay.devices import gpu_model
from interplay.spec import RunSpec
from interplay.speed.break_even import AUTOMATIC, CANDIDATES, USUAL_STREAMS, WORTH_STEPS, groups
from interplay.speed.estimate import training_images
from interplay.speed.measure import ProbeWorker, on_a_core
from interplay.speed.on_gpus import Probe, on_a_gpu
from interplay.speed.plan import SpeedPlan
from interplay.speed.rates import PLAIN, Rates, Way
from interplay.stack.grouping import kind, stack_key, stackable
from interplay.stack.memory import fitting
from interplay.store.files import write_whole
from interplay.train.environment import device_name
from interplay.train.names import SIDE_BY_SIDE, Autotune, AutotuneName, PathName, StackPath

USUAL_SIZE = 16
"""Networks in a stack where neither a probe nor the user says how many: what small networks gain levels off there."""

WORTH_A_PROBE = 60.0
"""Seconds of work of one kind, shared by all workers, below which a probe on a CPU costs more than it can save."""

WORTH_COMPILING_HERE = 20_000
"""Steps of one kind for each worker on a CPU from which Inductor may gain: it costs a minute or two. Measured on an AMD
EPYC: ResNet-8 is 1.39 times as fast at B = 32 and 0.94 times at B = 128; the small networks lose."""


@dataclass(frozen=True)
class Machine:
    """What runs are planned for.

    Attributes:
        device: where workers train.
        visible: CUDA_VISIBLE_DEVICES of a worker, for a probe of its GPU.
        slots: workers that one GPU may have at once, of which a probe chooses how many it gets; 1 to leave that.
        gpus: how many there are.
        workers: how many there are.
        free: bytes of memory that one worker may take.
        start: starts a worker process that measures on one of the GPUs; without it GPUs are not probed.
    """

    free: int
    device: str = "cpu"
    visible: str = ""
    slots: int = 1
    gpus: int = 1
    workers: int = 1
    start: Callable[[], ProbeWorker] | None = None


def choose(
    missing: Sequence[RunSpec],
    machine: Machine,
    *,
    path: PathName = "auto",
    size: int = 0,
    autotune: AutotuneName = "auto",
    notes: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> SpeedPlan:
    """Decide for the runs that are missing.

    Args:
        missing: the runs.
        machine: where they are trained.
        path: ``single`` for one run at a time, ``fused`` for stacks wherever a network has a stacked form (on a GPU
            with captured steps), ``compiled`` for the same through Inductor, ``streams`` for runs side by side in one
            process with a stream of a GPU each, ``compiled_streams`` for both, ``auto`` for whichever a short
            measurement on this machine finds faster.
        size: most runs in a stack; 0 leaves it to the probe, or to `USUAL_SIZE` for networks that gain by it.
        autotune: which libraries search longer for fast kernels; ``auto`` for those that a probe finds faster by it.
        notes: file that remembers what has been measured on this machine.
        say: told what was chosen by measurement.
    """
    match path:
        case "fused" | "compiled" | "streams" | "compiled_streams":
            return _asked(missing, machine, path, size, autotune)
    plain = path == "single"
    if plain and machine.device == "cpu":
        return SpeedPlan()
    return _measured(missing, machine, size, autotune, notes, say, plain=plain)


def _asked(
    missing: Sequence[RunSpec], machine: Machine, path: StackPath, size: int, autotune: AutotuneName
) -> SpeedPlan:
    """Stacks by ``path`` wherever a network has that form; of runs side by side one process on each GPU."""
    beside = path in SIDE_BY_SIDE and machine.device != "cpu"

    def usual(spec: RunSpec) -> int:
        if path in SIDE_BY_SIDE:
            return USUAL_STREAMS
        # Grouped convolutions of large networks lose on a GPU; there the gain is the captured step.
        return USUAL_SIZE if machine.device == "cpu" or spec.model in AUTOMATIC else 1

    sizes = {
        key: min(size or usual(spec), _fitting(spec, machine.free * (machine.slots if beside else 1)))
        for key, spec in {stack_key(spec): spec for spec in missing}.items()  # one build of a network a kind
        if key is not None
    }
    shares = dict.fromkeys(sizes, 1) if beside else {}
    return SpeedPlan(sizes, shares=shares, paths=dict.fromkeys(sizes, path), autotunes=_by_hand(missing, autotune))


def _by_hand(missing: Sequence[RunSpec], autotune: AutotuneName) -> dict[str, Autotune]:
    """Which libraries search longer where that is asked for, by kind."""
    return {} if autotune == "auto" or autotune == "none" else dict.fromkeys(map(kind, missing), autotune)


def _measured(
    missing: Sequence[RunSpec],
    machine: Machine,
    size: int,
    autotune: AutotuneName,
    notes: Path | None,
    say: Callable[[str], None],
    *,
    plain: bool,
) -> SpeedPlan:
    """What a probe of each kind of run finds fastest, where a probe is worth its time."""
    counts = Counter(map(kind, missing))
    sizes: dict[str, int] = {}
    why: dict[str, dict[str, Any]] = {}
    shares: dict[str, int] = {}
    paths: dict[str, StackPath] = {}
    autotunes = _by_hand(missing, autotune)
    on_cpu = machine.device == "cpu"
    several = len({spec.optimizer for spec in missing}) > 1
    for key, spec in {kind(spec): spec for spec in missing}.items():
        if spec.dataset not in DATASETS or training_images(spec) is None:
            continue
        by = f" by {spec.optimizer}" if several else ""
        words = f"{spec.model}{by} at batch size {spec.batch_size}"
        # On a GPU one process may have all of it: how many fit beside each other is measured.
        most = min(size or USUAL_SIZE, _fitting(spec, machine.free * (1 if on_cpu else machine.slots)))

        def say_of(text: str, words: str = words) -> None:
            say(f"{words}: {text}")

        if on_cpu:
            found = _probe_core(spec, counts[key], most, machine, notes, say_of, plain)
            way = found.way if found is not None else PLAIN
        else:
            found, way = _probe_gpu(spec, counts[key], most, machine, autotune, notes, say_of, plain)
        if found is None:
            continue
        why[key] = {"probe": found.to_dict()}
        if way.autotune != "none":
            autotunes[key] = way.autotune
        elif not on_cpu and autotunes.pop(key, None) is not None:
            say_of(f"without autotune={autotune}, which fails or has no use with {way}")
        if way.path != "single":
            sizes[key] = min(most, way.networks)
            paths[key] = way.path
        if machine.slots > 1 and (found.at_once or way.path != "single"):
            # On the plain path the host is what runs wait for: as many as fit, where nobody has measured.
            shares[key] = found.processes
        if not on_cpu:
            known = found.at_once or {1: found.ways[way]}
            rate = f"{known[found.processes]:,.0f} images/s by a probe of it"
            say(f"{words}: {way}, {found.processes} at once on a GPU, {rate}")
        elif way.path != "single":
            gain = found.ways[way] / found.ways[PLAIN]
            what = "compiled" if way.path == "compiled" else f"stacks of {sizes[key]}"
            say(
                f"{words}: {what}, {gain:.1f} times as fast as one run at a time by a probe of this machine (--path "
                "single to leave it)"
            )
    return SpeedPlan(sizes, why, shares, paths, autotunes)


_Say = Callable[[str], None]


def _probe_core(
    spec: RunSpec, runs: int, most: int, machine: Machine, notes: Path | None, say: _Say, plain: bool
) -> Rates | None:
    """What is known or measured of this kind on a CPU; ``None`` where a probe is not worth its time."""
    images, workers = training_images(spec), max(1, machine.workers)
    if not stackable(spec) or images is None:
        return None
    share = min(most, runs // workers)
    steps = runs * spec.epochs * -(-images // spec.batch_size) / workers
    if spec.model in AUTOMATIC:
        ways = [Way("fused", candidate) for candidate in CANDIDATES if candidate <= share]
    else:
        ways = [Way("compiled")] if steps >= WORTH_COMPILING_HERE and has_compiler() and not plain else []
    if not ways:
        return None

    def worthwhile(rate: float) -> bool:
        return runs * spec.epochs * images / rate / workers > WORTH_A_PROBE

    asked = "compiled" if ways[-1].path == "compiled" else f"K<={ways[-1].networks}"
    name = named(spec, asked, device_name(torch.device("cpu")))

    def work(_: Rates) -> Rates:
        say("measuring this machine ...")
        return on_a_core(spec, ways, machine.device, worthwhile)

    found = remembered(name, notes, work, lambda f: len(f.ways) > 1)
    return found if len(found.ways) > 1 else None


def _probe_gpu(
    spec: RunSpec,
    runs: int,
    most: int,
    machine: Machine,
    autotune: AutotuneName,
    notes: Path | None,
    say: _Say,
    plain: bool,
) -> tuple[Rates | None, Way]:
    """What is known or measured of this kind on a GPU, and how it trains; ``None`` where a probe is not worth its time,
    or fails.
    """
    start, gpus = machine.start, max(1, machine.gpus)
    images = runs * spec.epochs * (training_images(spec) or 0) / gpus
    if start is None or images / spec.batch_size < WORTH_STEPS:
        return None, PLAIN
    # A process of the probe sees one GPU, whatever this one calls it.
    device = "cuda:0" if machine.device.startswith("cuda") else machine.device
    probe = Probe(
        spec,
        [] if plain else groups(spec, min(most, -(-runs // gpus))),
        images,
        machine.slots,
        machine.free * machine.slots,
        device,
        start,
        autotune,
    )

    def work(known: Rates) -> Rates:
        say("measuring this GPU, half a minute to three minutes; before hours of work up to ten ...")
        return on_a_gpu(probe, known)

    asked = "" if autotune == "auto" else f", autotune={autotune}"
    name = named(spec, f"{'single, ' if plain else ''}k<={machine.slots}{asked}", gpu_model(machine.visible))
    found = remembered(name, notes, work, probe.is_answered_by)
    if not any(found.ways.values()):
        say("the probe failed; the plain path is taken")
        return None, PLAIN
    return found, probe.best(found.ways)


def has_compiler() -> bool:
    """Whether there is a C++ compiler, which Inductor needs on a CPU."""
    return any(map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++"))))


def _fitting(spec: RunSpec, free: int) -> int:
    facts = DATASETS.get(spec.dataset)
    if facts is None or not stackable(spec):
        return USUAL_SIZE  # the shape of the images is not known before the file is opened
    return fitting(spec, facts.shape, facts.classes, free)


# -- what was measured before -----------------------------------------------------------------------------------------


def named(spec: RunSpec, *more: str) -> str:
    """A kind of run as far as its cost goes, what was asked about it and of which machine, and this torch."""
    parts = (spec.model, *spec.own_knobs.values(), spec.dataset, f"B={spec.batch_size}", spec.optimizer)
    return " ".join(str(part) for part in (*parts, spec.augment, spec.precision, *more, torch.__version__))


def remembered(
    name: str, notes: Path | None, work: Callable[[Rates], Rates], is_complete: Callable[[Rates], bool]
) -> Rates:
    """What ``notes`` have under ``name`` if that is all, else what ``work`` makes of it, which they then keep."""
    known = read_notes(notes)
    before = Rates({}, {})
    if name in known:
        try:
            before = Rates.from_dict(known[name])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            known.pop(name)  # changed by hand, or of another version: it is measured again
    if before.ways and is_complete(before):
        return before
    found = work(before)
    if notes is not None and is_complete(found):
        notes.parent.mkdir(parents=True, exist_ok=True)
        write_whole(notes, json.dumps({**known, name: found.to_dict()}, indent=1) + "\n")
    return found


def read_notes(notes: Path | None) -> dict[str, Any]:
    """What was measured, by name; nothing where the file is absent or damaged."""
    try:
        found = json.loads(notes.read_text(encoding="utf-8")) if notes is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
