"""ResNet-18 on one GPU: textbook loop, plain loop, captured steps, several runs at once.

    python benchmarks/gpu.py

Random images in the shape of CIFAR, bf16 (the textbook loop: fp16 with GradScaler). In images per second of training,
and as a share of the matrix products per second that this very GPU was measured to do in bf16. NEVER RUN ON A GPU so
far: without one it only says which figures are owed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from augmentation import random_images
from common import Report, in_turn
from textbook import steps as textbook_steps
from torch.utils.flop_counter import FlopCounterMode

from interplay.data.splits import Split, Splits
from interplay.executors.pace import Pace
from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.study.presets import PRESETS, preset
from interplay.study.study import distinct
from interplay.train.captured import side_by_side
from interplay.train.networks import Networks
from interplay.train.single import train

SIZES = (64, 128, 256, 512)
IMAGES = 50_000
OWED = (
    "images per second and share of the measured matmul peak, ResNet-18, B = 64, 128, 256, 512: textbook, plain, "
    "captured, captured and compiled",
    "seconds an epoch, and the projected time of the 83 runs of the documented sets",
    "k runs at once on k streams against throughput, for each B, and the k to choose (expected: 3-4 at 64, 2 at 128, "
    "1 from 256)",
    "stacks of K networks by grouped convolutions against k streams",
    "whether a captured step agrees with the plain loop on a GPU (tests marked cuda)",
)


def on(device: torch.device, splits: Splits) -> Splits:
    """``splits`` on the GPU."""

    def moved(split: Split) -> Split:
        return Split(split.images.to(device), split.labels.to(device))

    mean, std = splits.mean.to(device), splits.std.to(device)
    return Splits(moved(splits.train), moved(splits.test), None, mean, std, splits.classes)


def peak(device: torch.device, n: int = 8192) -> float:
    """Floating point operations a second of a bf16 matrix product."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 * timed(lambda: a @ b, 20)


def timed(work: Callable[[], object], repeats: int) -> float:
    """Calls a second, after three to warm up."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return repeats / (time.perf_counter() - began)


def operations_per_image(spec: RunSpec) -> float:
    """Floating point operations of training on one image: a forward and a backward pass."""
    model, counter = build(spec, (3, 32, 32), 100), FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(2, 3, 32, 32)).sum().backward()
    return counter.get_total_flops() / 2


def plain(spec: RunSpec, splits: Splits) -> float:
    """Images a second of the plain loop: the second of two epochs."""
    rates: list[float] = []
    train(spec.replace(epochs=2), splits, on_epoch=lambda metrics: rates.append(metrics.images_per_second))
    return rates[-1]


def textbook(spec: RunSpec, splits: Splits, device: torch.device, steps: int) -> float:
    """Images a second of the textbook loop; the images lie on the CPU."""
    endless = textbook_steps(spec, splits, device, workers=8)
    for _ in islice(endless, 10):
        pass
    torch.cuda.synchronize()
    began = time.perf_counter()
    count = sum(islice(endless, steps))
    torch.cuda.synchronize()
    return count / (time.perf_counter() - began)


def captured(spec: RunSpec, splits: Splits, runs: int, networks: int, steps: int, *, compiled: bool = False) -> float:
    """Images a second, all runs together, of ``runs`` captured steps side by side, each of ``networks`` networks."""
    found = []
    for first in range(runs):
        specs = [spec.replace(seed=first * networks + place) for place in range(networks)]
        found.append(Networks(specs, [splits] * networks))
        if compiled:
            found[-1].forward = torch.compile(found[-1].stack, dynamic=False)

    def some(each: Networks, count: int) -> Iterator[None]:
        for _ in islice(each.train_epoch([1] * networks), count):
            yield

    device = splits.device
    side_by_side([some(each, 5) for each in found], device)  # records the graphs
    torch.cuda.synchronize()
    began = time.perf_counter()
    side_by_side([some(each, steps) for each in found], device)
    torch.cuda.synchronize()
    return runs * networks * steps * spec.batch_size / (time.perf_counter() - began)


def projected(rates: dict[int, float]) -> tuple[int, float]:
    """Number of the documented runs, and the hours that they take at these images a second, without evaluation."""
    specs = distinct([preset(name) for name in PRESETS])

    def at(size: int) -> float:
        return rates[min(rates, key=lambda known: abs(known - size))]

    return len(specs), sum(spec.epochs * IMAGES / at(spec.batch_size) for spec in specs) / 3600


def main() -> None:
    """Measure, print and keep; without a GPU, say what is owed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=90, help="of each measurement")
    parser.add_argument("--compiled", action="store_true", help="the forward pass through Inductor, too")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no usable GPU here. Still owed:")
        for figure in OWED:
            print(f"  - {figure}")
        return
    device = torch.device("cuda")
    report = Report("gpu", device)
    on_host = random_images(IMAGES)
    splits = on(device, on_host)
    base = RunSpec(dataset="cifar100", model="resnet18", precision="bf16")
    operations, most = operations_per_image(base), peak(device)
    report.say(f"matmul peak {most / 1e12:.0f} TFLOP/s in bf16; {operations / 1e9:.2f} GFLOP a training image")
    rows, rates, sharing, stacks = [], {}, [], []
    for size in SIZES:
        spec = base.replace(batch_size=size)
        ways = {
            "textbook": lambda spec=spec: textbook(spec, on_host, device, args.steps),
            "plain": lambda spec=spec: plain(spec, splits),
            "captured": lambda spec=spec: captured(spec, splits, 1, 1, args.steps),
        }
        if args.compiled:
            ways["compiled"] = lambda spec=spec: captured(spec, splits, 1, 1, args.steps, compiled=True)
        found = in_turn(ways, args.repeats)
        rates[size] = found["captured"]
        row = [f"{rate:,.0f} ({100 * rate * operations / most:.0f} %)" for rate in found.values()]
        rows.append([f"B = {size}", *row, f"{IMAGES / rates[size]:.1f} s"])
        for table, kind in ((sharing, "streams"), (stacks, "stack")):
            several = in_turn(
                {
                    str(k): lambda spec=spec, k=k, kind=kind: captured(
                        spec, splits, k if kind == "streams" else 1, 1 if kind == "streams" else k, args.steps
                    )
                    for k in (1, 2, 3, 4)
                },
                args.repeats,
            )
            best = Pace(several["1"], {int(k): rate for k, rate in several.items() if k != "1"}).best or 1
            table.append([f"B = {size}", *(f"{rate:,.0f}" for rate in several.values()), str(best)])
    report.table("images per second (share of the peak)", ["", *ways, "an epoch, captured"], rows)
    report.table("k runs on k streams: images per second", ["", "1", "2", "3", "4", "choose"], sharing)
    report.table("stacks of K networks: images per second", ["", "1", "2", "3", "4", "choose"], stacks)
    count, hours = projected(rates)
    report.say(f"\nthe {count} documented runs, one at a time, captured, without evaluation: {hours:.1f} hours")
    report.save()


if __name__ == "__main__":
    main()
