"""ResNet-18 on one GPU: textbook loop, plain loop, captured steps, compiled ones, several runs at once.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --device cpu --tiny    # the same code on a CPU, in two minutes: figures of no meaning

Random images in the shape of CIFAR, bf16 (the textbook loop: fp16 with GradScaler), whole epochs with the draws at
their start. In images per second of training, and as a share of the matrix products per second that this very device
was measured to do. Without a GPU it says which figures are owed. As a whole it has never run; pieces of it have, on an
H100 (docs/speed.md).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import torch
from augmentation import random_images
from common import Report, in_turn
from textbook import steps as textbook_steps
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from interplay.data.splits import Split, Splits
from interplay.devices import Slot
from interplay.executors.process import WorkerProcess
from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.speed.measure import STEPS, Measure, ProbeWorkers
from interplay.speed.rates import Way, climb, few
from interplay.stack.captured import recorder_for, side_by_side
from interplay.stack.step import Networks
from interplay.study.presets import PRESETS, preset
from interplay.study.study import distinct
from interplay.train import backends
from interplay.train.loop import train

OWED = (
    "images per second and share of the measured matmul peak, ResNet-18, B = 64, 128, 256, 512: textbook, plain, "
    "captured, captured and compiled",
    "seconds an epoch with and without evaluation, and the projected time of the 83 runs of the documented sets",
    "k runs at once, in k processes and on k streams of one, against throughput, and the k to choose (expected: 3-4 at "
    "B = 64, 2 at 128, 1 from 256)",
    "stacks of K networks by grouped convolutions against those",
    "memory of a run, seconds until its first epoch has ended",
    "where the time of a captured step goes: kernels by kind, gaps between them",
    "whether a captured step agrees with the plain loop on a GPU (tests marked cuda)",
)


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    model: str
    sizes: tuple[int, ...]
    images: int
    tested: int
    square: int
    """Rows of the square matrices whose product is the measure of the peak."""
    at_once: int
    loaders: int
    window: float
    """Seconds of a measurement of several processes."""


FULL = Scale("resnet18", (64, 128, 256, 512), 50_000, 10_000, 8192, 4, 8, 2.0)
TINY = Scale("resnet8_s2", (16, 32), 160, 64, 256, 2, 0, 0.05)

MOST = 25
"""Kernels of a step that have a row of their own."""


def on(device: torch.device, splits: Splits) -> Splits:
    """``splits`` on the device."""

    def moved(split: Split) -> Split:
        return Split(split.images.to(device), split.labels.to(device))

    mean, std = splits.mean.to(device), splits.std.to(device)
    return Splits(moved(splits.train), moved(splits.test), None, mean, std, splits.classes)


def data(device: torch.device, scale: Scale) -> tuple[Splits, Splits]:
    """Random images on the CPU, and the same on the device."""
    whole = random_images(scale.images)
    tested = Split(whole.test.images[: scale.tested], whole.test.labels[: scale.tested])
    on_host = Splits(whole.train, tested, None, whole.mean, whole.std, whole.classes)
    return on_host, on(device, on_host)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """What ``work`` takes, to the end of what it started."""
    wait(device)
    began = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - began


def peak(device: torch.device, n: int) -> float:
    """Floating point operations a second of a matrix product, in bf16 on a GPU."""
    kind = torch.bfloat16 if device.type == "cuda" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=kind) for _ in range(2))

    def products(count: int) -> None:
        for _ in range(count):
            a @ b

    products(3)
    return 20 * 2 * n**3 / seconds(device, lambda: products(20))


def operations_per_image(spec: RunSpec) -> float:
    """Floating point operations of training on one image: a forward and a backward pass."""
    model, counter = build(spec, (3, 32, 32), 100), FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(2, 3, 32, 32)).sum().backward()
    return counter.get_total_flops() / 2


def measured_spec(device: torch.device, scale: Scale) -> RunSpec:
    """The run that is measured. A tiny rate keeps random labels from making it diverge."""
    precision: Literal["bf16", "fp32"] = "bf16" if device.type == "cuda" else "fp32"
    return RunSpec(dataset="cifar100", model=scale.model, precision=precision, lr=1e-6)


def ways_of(
    spec: RunSpec, on_host: Splits, splits: Splits, scale: Scale, *, compiled: bool
) -> dict[str, Callable[[], float]]:
    """The ways of training one run, each of which returns its images a second."""
    ways = {
        "textbook": lambda: textbook(spec, on_host, splits.device, scale),
        "plain": lambda: plain(spec, splits),
        "captured": lambda: captured(spec, splits, 1, 1) or 0.0,
    }
    if compiled:
        ways["compiled"] = lambda: captured(spec, splits, 1, 1, compiled=True) or 0.0
    return ways


def plain(spec: RunSpec, splits: Splits) -> float:
    """Images a second of the plain loop: the second of two epochs."""
    return train(spec.replace(epochs=2), splits).history[-1].images_per_second


def textbook(spec: RunSpec, splits: Splits, device: torch.device, scale: Scale) -> float:
    """Images a second of the textbook loop; the images lie on the CPU."""
    # What the other ways have switched on is no part of a textbook.
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
    endless = textbook_steps(spec, splits, device, workers=scale.loaders)
    counts: list[int] = []
    try:
        for _ in islice(endless, min(10, scale.images // spec.batch_size)):
            pass
        steps = min(90, scale.images // spec.batch_size)
        taken = seconds(device, lambda: counts.extend(islice(endless, steps)))
    finally:
        torch.backends.cudnn.benchmark = before
    return sum(counts) / taken


def captured(spec: RunSpec, splits: Splits, runs: int, networks: int, *, compiled: bool = False) -> float | None:
    """Images a second, all runs together, of ``runs`` captured steps side by side, each of ``networks`` networks."""
    device = splits.device
    found: list[Networks] = []

    def epoch(each: Networks) -> Iterator[None]:
        for _ in each.train_epoch([1] * networks):
            yield

    try:
        for first in range(runs):
            members = [spec.replace(seed=first * networks + place) for place in range(networks)]
            found.append(made(members, splits, lane=first))
            if compiled:
                found[-1].compile(spec)
        side_by_side([epoch(each) for each in found], device)  # records the graphs
        taken = seconds(device, lambda: side_by_side([epoch(each) for each in found], device))
    except torch.OutOfMemoryError:
        return None
    finally:
        for each in found:
            each.close()
    return runs * networks * len(splits.train) / taken


def made(specs: list[RunSpec], splits: Splits, lane: int = 0) -> Networks:
    """Networks as a stack has them; those that run side by side have a lane each."""
    return Networks(specs, [splits] * len(specs), recorder_for(splits.device, lane))


def evaluation(spec: RunSpec, splits: Splits) -> float:
    """Seconds of one captured look at the test images."""
    networks = made([spec], splits)
    networks.evaluate([splits.test])
    found = seconds(splits.device, lambda: networks.evaluate([splits.test]))
    networks.close()
    return found


def start(spec: RunSpec, splits: Splits, *, compiled: bool) -> tuple[float, int]:
    """Seconds from nothing to the end of the first captured epoch, less those of a second one; bytes that it took."""
    device = splits.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    networks: list[Networks] = []

    def first() -> None:
        networks.append(made([spec], splits))
        if compiled:
            networks[0].compile(spec)
        for _ in networks[0].train_epoch([1]):
            pass

    began = seconds(device, first)
    again = seconds(device, lambda: list(networks[0].train_epoch([2])))
    networks[0].close()
    return began - again, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def profiled(report: Report, spec: RunSpec, splits: Splits, steps: int = 20, *, compiled: bool = False) -> None:
    """Where the time of captured steps goes: kernels by name, and what is no kernel."""
    device = splits.device
    networks = made([spec], splits)
    if compiled:
        networks.compile(spec)
    for _ in networks.train_epoch([1]):
        pass
    kinds = [ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]
    some = islice(networks.train_epoch([2]), steps)
    with profile(activities=kinds) as found:
        whole = seconds(device, lambda: list(some))
    networks.close()
    on_gpu = device.type == "cuda"
    events = found.key_averages()
    times = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) / 1e6 for e in events}
    busy = sum(times.values())
    rows = [
        [name[:90], f"{1e3 * taken / steps:.3f}", f"{100 * taken / whole:.0f} %"]
        for name, taken in sorted(times.items(), key=lambda item: -item[1])[:MOST]
    ]
    rest = busy - sum(sorted(times.values())[-MOST:])
    rows.append(["others", f"{1e3 * rest / steps:.3f}", f"{100 * rest / whole:.0f} %"])
    rows.append(["gaps", f"{1e3 * (whole - busy) / steps:.3f}", f"{100 * (whole - busy) / whole:.0f} %"])
    way = "compiled" if compiled else "captured"
    report.table(f"a {way} step at B = {spec.batch_size} (profiler on)", ["", "ms a step", "share"], rows)


def projected(rates: Mapping[int, float], testing: Mapping[int, float], images: int) -> tuple[int, float]:
    """Number of the documented runs, and the hours that they take at these rates with a look at the test images after
    each epoch. ``rates`` are images a second of all runs at once.
    """
    specs = [spec for name in PRESETS for spec in preset(name).specs]

    def at(known: Mapping[int, float], size: int) -> float:
        return known[min(known, key=lambda each: abs(each - size))]

    hours = sum(s.epochs * (images / at(rates, s.batch_size) + at(testing, s.batch_size)) for s in specs) / 3600
    return len(specs), hours


def main() -> None:
    """Measure, print and keep; without a GPU, say what is owed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a small network and few images; nothing is kept")
    parser.add_argument("--no_compiled", action="store_true", help="leave Inductor out")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("There is no usable GPU here. Still owed:")
        for figure in OWED:
            print(f"  - {figure}")
        return
    device, scale = torch.device(args.device), TINY if args.tiny else FULL
    if device.type == "cpu":
        torch.set_num_threads(1)
    report = Report("gpu", device)
    with backends.set_for(device):
        measure(report, device, scale, args.repeats, compiled=not args.no_compiled)
    if not args.tiny:
        report.save()


def measure(report: Report, device: torch.device, scale: Scale, repeats: int, *, compiled: bool) -> None:
    """Everything, table by table."""
    on_host, splits = data(device, scale)
    base = measured_spec(device, scale)
    operations, most = operations_per_image(base), peak(device, scale.square)
    report.say(f"matmul peak {most / 1e12:.2f} TFLOP/s; {operations / 1e9:.2f} GFLOP a training image")
    rows, rates, testing = [], {}, {}
    together: dict[str, list[list[str]]] = {"processes": [], "streams": [], "stack": []}
    best: dict[int, float] = {}
    ways: dict[str, Callable[[], float]] = {}
    for size in scale.sizes:
        spec = base.replace(batch_size=size)
        ways = ways_of(spec, on_host, splits, scale, compiled=compiled)
        found = in_turn(ways, repeats)
        testing[size] = evaluation(spec, splits)
        rates[size] = max(found["captured"], found.get("compiled", 0.0))
        row = [f"{rate:,.0f} ({100 * rate * operations / most:.0f} %)" for rate in found.values()]
        epoch = scale.images / rates[size]
        rows.append([f"B = {size}", *row, f"{epoch:.2f} s", f"{epoch + testing[size]:.2f} s"])
        path: Literal["fused", "compiled"] = "compiled" if rates[size] > found["captured"] else "fused"
        several = at_once(spec, splits, Way(path), scale, repeats)
        best[size] = max([rates[size], *several["processes"].values()])
        for kind, measured in several.items():
            cells = [f"{measured[k]:,.0f}" if k in measured else "-" for k in range(1, scale.at_once + 1)]
            together[kind].append([f"B = {size}", *cells, str(few(measured))])
    report.table("images per second (share of the peak)", ["", *ways, "an epoch", "with evaluation"], rows)
    columns = ["", *map(str, range(1, scale.at_once + 1)), "choose"]
    report.table("k processes at once: images per second", columns, together["processes"])
    report.table("k runs on k streams of one process: images per second", columns, together["streams"])
    report.table("stacks of K networks: images per second", columns, together["stack"])
    began = [[name, *start_words(base.replace(batch_size=scale.sizes[0]), splits, compiled=name == "compiled")]
             for name in ("captured", *(["compiled"] if compiled else []))]  # fmt: skip
    report.table(f"start at B = {scale.sizes[0]}", ["", "until the first epoch, s", "memory, MiB"], began)
    profiled(report, base.replace(batch_size=scale.sizes[-1]), splits, min(20, scale.images // scale.sizes[-1]))
    if scale is FULL:
        report.verdict("images a second at B = 128, in 60,000", best[128] / 60_000, 1)
        for words, known in (("one at a time", rates), ("as many at once as is best", best)):
            count, hours = projected(known, testing, scale.images)
            report.say(f"the {count} runs of the three sets, {words}, with evaluation: {hours:.2f} hours")
        report.say(f"{len(distinct([preset(name) for name in PRESETS]))} of them are distinct, and only those are run")


def start_words(spec: RunSpec, splits: Splits, *, compiled: bool) -> tuple[str, str]:
    """Cells of the table of starts."""
    began, memory = start(spec, splits, compiled=compiled)
    return f"{began:.1f}", f"{memory / 2**20:,.0f}" if memory else "-"


def at_once(spec: RunSpec, splits: Splits, way: Way, scale: Scale, repeats: int) -> dict[str, dict[int, float]]:
    """Images a second of several runs at once, by how they share the device and how many there are."""
    found = {"processes": processes_at_once(spec, splits.device, way, scale)[0]}
    return found | {kind: here_at_once(kind, spec, splits, scale, repeats) for kind in ("streams", "stack")}


def processes_at_once(
    spec: RunSpec, place: torch.device, way: Way, scale: Scale
) -> tuple[dict[int, float], str | None]:
    """Images a second of k processes, by k, until two more in a row gain nothing or one fails, and what that said."""
    with probe_workers(spec, place, way, scale) as workers:
        return climb(lambda count: workers.rate(count, scale.window), scale.at_once), workers.error


def probe_workers(spec: RunSpec, place: torch.device, way: Way, scale: Scale) -> ProbeWorkers:
    """Processes that measure one way of training, as the probe of a study has them."""
    device, visible = ("cuda:0", "0") if place.type == "cuda" else ("cpu", "")
    order = Measure(spec, way, device, min(STEPS, scale.images // spec.batch_size))
    return ProbeWorkers(order, lambda: WorkerProcess(Slot("gpu0", device, visible)))


def here_at_once(
    kind: str, spec: RunSpec, splits: Splits, scale: Scale, repeats: int, *, compiled: bool = False
) -> dict[int, float]:
    """Images a second of k runs on k streams of this process, or of a stack of k networks, by k."""
    shape = {k: (k, 1) if kind == "streams" else (1, k) for k in range(1, scale.at_once + 1)}
    rounds = [
        {k: captured(spec, splits, *each, compiled=compiled) for k, each in shape.items()} for _ in range(repeats)
    ]
    found: dict[int, float] = {}
    for k in shape:
        known = sorted(rate for one in rounds if (rate := one[k]) is not None)
        if len(known) == repeats:
            found[k] = known[len(known) // 2]
    return found


if __name__ == "__main__":
    main()
