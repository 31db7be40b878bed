"""Small networks on a CPU: the textbook loop, the plain loop, one worker a core, stacks.

    python benchmarks/small_models.py

Counts networks x steps per second with all cores of the machine at work:

    textbook    one run at a time, torch's threads on all cores, a DataLoader with a worker a core (textbook.py);
                fp32, since half precision is slower on most CPUs; and the same with one thread for the network, which
                leaves a core to the loader. The faster one is what ratios are about
    alone       the lab's plain loop, one run, one thread: one core
    workers     the plain loop in one process a core
    stacked     stacks of K networks in one process a core
    products    of a step only its matrix products or convolutions, forwards and backwards, in one process a core, with
                nothing between them: what torch's kernels leave to any path

The studies are those of a laptop: the MLP on the digits; the small CNN on images of 8x8 (the digits) and of 32x32 with
crops and mirrors. The path that the lab takes by itself is the better one of the last two, by a probe.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from augmentation import random_images
from common import Report, in_turn
from textbook import steps as textbook_steps
from torch import Tensor, nn

from interplay.data.splits import Split, Splits, load
from interplay.devices import cpu_slots
from interplay.executors.allocator import keep_freed_memory
from interplay.executors.base import Listener
from interplay.executors.job import Job
from interplay.executors.local import LocalExecutor
from interplay.executors.signals import StopRequest
from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.speed.choose import Machine, choose
from interplay.stack.step import Networks
from interplay.store.store import Store
from interplay.train.events import BatchSeen, Event
from interplay.train.loop import train

CPU = torch.device("cpu")
CORES = len(cpu_slots(0))

STUDIES: dict[str, RunSpec] = {
    "MLP, digits": RunSpec(dataset="digits", model="mlp", label_noise=0.4, precision="fp32"),
    "CNN, digits": RunSpec(dataset="digits", model="cnn", precision="fp32"),
    "CNN, 32x32": RunSpec(dataset="cifar10", model="cnn", train_limit=4096, precision="fp32"),
}
BARS = {"MLP, digits": 4.0, "CNN, digits": 2.0, "CNN, 32x32": 2.0}
GOALS = {"MLP, digits": 40.0, "CNN, digits": 6.0, "CNN, 32x32": 3.0}
"""Of the same ratio."""


def data(spec: RunSpec) -> Splits:
    """The digits, or random pictures in the shape of CIFAR: the values of pixels cost no time."""
    return load(spec, Path("/nonexistent")) if spec.dataset == "digits" else random_images(spec.train_limit or 4096)


class _Enough(Exception):
    pass


def alone(spec: RunSpec, splits: Splits, seconds: float) -> float:
    """Steps a second of the plain loop, which is stopped in the middle of it."""
    began: list[float] = []
    counted = 0

    def emit(progress: Event) -> None:
        nonlocal counted
        if not isinstance(progress, BatchSeen):
            return
        now = time.perf_counter()
        if began and now - began[0] > seconds:
            counted += progress.batch
            raise _Enough
        if progress.batch == progress.batches:
            if began:
                counted += progress.batches
            else:
                began.append(now)  # the first epoch warms up

    # Evaluation is left out on every side: the textbook loop has none.
    few = Splits(splits.train, _first(splits), None, splits.mean, splits.std, splits.classes)
    with contextlib.suppress(_Enough):
        train(spec.replace(epochs=10_000), few, emit=emit)
    return counted / (time.perf_counter() - began[0])


def _first(splits: Splits) -> Split:
    return Split(splits.test.images[:1], splits.test.labels[:1])


def stacked(spec: RunSpec, splits: Splits, size: int, seconds: float) -> float:
    """Networks x steps a second of a stack of ``size``."""
    specs = [spec.replace(seed=seed, lr=0.01 * (1 + seed / size)) for seed in range(size)]
    networks = Networks(specs, [splits] * size)

    def endless() -> Iterator[int]:
        epoch = 0
        while True:
            epoch += 1
            for _ in networks.train_epoch([1 + epoch % spec.epochs] * size):
                networks.sums()  # the loop looks at the losses at every batch
                yield size

    return per_second(endless(), seconds)


def products(spec: RunSpec, splits: Splits, size: int, channels_last: bool, seconds: float) -> float:
    """Networks x steps a second of the products of a step alone; linear layers as those of a stack of ``size``."""
    network = build(spec, splits.shape, splits.classes)
    form = torch.channels_last if channels_last else torch.contiguous_format
    calls: list[Callable[[], object]] = []
    # Nothing asks for the gradient of the images, which the first layer takes.

    def linear(layer: nn.Linear, x: Tensor, y: Tensor) -> None:
        inputs, outputs = torch.randn(size, *x.shape), torch.randn(size, *y.shape)
        weight = torch.randn(size, layer.in_features, layer.out_features)
        first = not calls
        calls.extend([lambda: torch.bmm(inputs, weight), lambda: torch.bmm(inputs.mT, outputs)])
        if not first:
            calls.append(lambda: torch.bmm(outputs, weight.mT))

    def convolution(layer: nn.Conv2d, x: Tensor, y: Tensor) -> None:
        inputs, weight, outputs = (torch.randn(each.shape).to(memory_format=form) for each in (x, layer.weight, y))
        how = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
        wanted = [bool(calls), True, False]
        calls.append(lambda: torch.ops.aten.convolution(inputs, weight, None, *how))
        calls.append(lambda: torch.ops.aten.convolution_backward(outputs, inputs, weight, None, *how, wanted))

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            convolution(layer, inputs[0], output)
        elif isinstance(layer, nn.Linear) and spec.model == "mlp":  # after convolutions it is next to nothing
            linear(layer, inputs[0], output)

    for layer in network.modules():
        layer.register_forward_hook(note)
    with torch.no_grad():
        network(torch.randn(spec.batch_size, *splits.shape))
    networks = size if spec.model == "mlp" else 1

    def endless() -> Iterator[int]:
        while True:
            for call in calls:
                call()
            yield networks

    return per_second(endless(), seconds)


def per_second(steps: Iterator[int], seconds: float, warm_up: int = 3) -> float:
    """What ``steps`` yield, a second, after a few of them."""
    for _ in range(warm_up):
        next(steps)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += next(steps)
    return count / (time.perf_counter() - began)


def textbook(spec: RunSpec, splits: Splits, seconds: float, threads: int) -> float:
    """Steps a second of the textbook loop: ``threads`` for the network, and a loader process a core."""
    torch.set_num_threads(threads)
    try:
        images = per_second(textbook_steps(spec, splits, CPU, CORES), seconds)
    finally:
        torch.set_num_threads(1)
    return images * -(-len(splits.train) // spec.batch_size) / len(splits.train)


class Workers:
    """Processes of this very script, one a core, that measure when they are told to, all at once."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, "--worker"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(CORES)
        ]

    def rate(self, study: str, batch_size: int, size: int, seconds: float, layout: str = "") -> float:
        """Networks x steps a second of all workers together; ``size`` 0: the plain loop; ``layout``: products alone."""
        order = json.dumps(
            {"study": study, "batch_size": batch_size, "size": size, "seconds": seconds, "products": layout}
        )
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(order + "\n")
            process.stdin.flush()
        return sum(float(process.stdout.readline()) for process in self.processes if process.stdout is not None)

    def end(self) -> None:
        """Let them go."""
        for process in self.processes:
            process.communicate()


def work() -> None:
    """A worker: one order a line, one rate a line."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as the lab's own workers
    loaded = {name: data(spec) for name, spec in STUDIES.items()}
    for line in sys.stdin:
        order = json.loads(line)
        spec = STUDIES[order["study"]].replace(batch_size=order["batch_size"])
        splits = loaded[order["study"]]
        if order["products"]:
            channels_last = order["products"] == "channels last"
            found = products(spec, splits, max(order["size"], 1), channels_last, order["seconds"])
        elif order["size"]:
            found = stacked(spec, splits, order["size"], order["seconds"])
        else:
            found = alone(spec, splits, order["seconds"])
        print(found, flush=True)


def studies(report: Report, workers: Workers, repeats: int, seconds: float, names: list[str]) -> None:
    """The comparison that the bars are about."""
    rows, bounds, verdicts = [], [], []
    for name in names:
        spec = STUDIES[name]
        size, splits = spec.batch_size, data(spec)
        found = in_turn(
            {
                "textbook": lambda spec=spec, splits=splits: textbook(spec, splits, seconds, CORES),
                "textbook, 1 thread": lambda spec=spec, splits=splits: textbook(spec, splits, seconds, 1),
                "alone": lambda spec=spec, splits=splits: alone(spec, splits, seconds),
                "workers": lambda name=name, size=size: workers.rate(name, size, 0, seconds),
                "stacks of 8": lambda name=name, size=size: workers.rate(name, size, 8, seconds),
                "stacks of 16": lambda name=name, size=size: workers.rate(name, size, 16, seconds),
                **{
                    layout: lambda name=name, size=size, layout=layout: workers.rate(name, size, 16, seconds, layout)
                    for layout in ("contiguous", "channels last")
                },
            },
            repeats,
        )
        most = max(found.pop("contiguous"), found.pop("channels last"))
        reference = max(found["textbook"], found["textbook, 1 thread"])
        best = max(found["workers"], found["stacks of 8"], found["stacks of 16"])
        ratio = best / reference
        bounds.append([name, f"{ratio:.1f}", f"{GOALS[name]:g}", f"{most:,.0f}", f"{most / reference:.1f}"])
        verdicts.append((f"{name}: the better path against the textbook loop", ratio, BARS[name]))
        rows.append([f"{name}, B = {size}", *(f"{value:,.1f}" for value in found.values()), f"{ratio:.1f}"])
    report.table(
        f"networks x steps per second, median of {repeats} rounds; all but `alone` with {CORES} cores",
        ["", "textbook", "textbook, 1 thread", "alone", "workers", "stacks of 8", "stacks of 16", "best : textbook"],
        rows,
    )
    report.table(
        f"what is left to gain: the products of a step alone, on {CORES} cores",
        ["", "best : textbook", "goal", "products a second", "products : textbook"],
        bounds,
    )
    report.say()
    for verdict in verdicts:
        report.verdict(*verdict)


def growth(report: Report, workers: Workers, repeats: int, seconds: float) -> None:
    """With K and with B."""
    sizes = (0, 1, 2, 4, 8, 16, 32)
    rows = []
    for name in STUDIES:
        for batch_size in (32, 128, 512):
            found = in_turn(
                {
                    str(size): lambda name=name, batch_size=batch_size, size=size: workers.rate(
                        name, batch_size, size, seconds
                    )
                    for size in (sizes if name != "CNN, 32x32" else sizes[:5])
                },
                repeats,
            )
            rows.append(
                [f"{name}, B = {batch_size}", *(f"{found[str(k)]:,.0f}" if str(k) in found else "" for k in sizes)]
            )
    report.table(
        f"the same as the stack grows ({CORES} workers)",
        ["", "plain loop", *(f"K = {size}" for size in sizes[1:])],
        rows,
    )


def whole_studies(report: Report, repeats: int) -> None:
    """Wall time of whole studies through the executors, processes, commits and evaluation included."""
    base = RunSpec(dataset="digits", model="mlp", label_noise=0.4, epochs=60, precision="fp32")
    rows = []
    for count in (4, 16, 64):
        specs = [base.replace(lr=0.002 * (1 + index)) for index in range(count)]

        def study(path: str, specs: list[RunSpec] = specs) -> float:
            with tempfile.TemporaryDirectory() as folder:
                speed = choose(specs, Machine(free=2**33, workers=CORES), path=path)  # type: ignore[arg-type]
                executor = LocalExecutor(cpu_slots(0), speed=speed)
                job = Job(data_dir="data", output_dir=folder)
                began = time.perf_counter()
                done = executor.run(specs, Store(Path(folder)), job, Listener(), StopRequest())
                assert len(done.committed) == len(specs)
                return time.perf_counter() - began

        found = in_turn({path: lambda path=path: study(path) for path in ("single", "fused")}, repeats)
        rows.append(
            [
                f"{count} runs",
                *(f"{value:.1f} s" for value in found.values()),
                f"{found['single'] / found['fused']:.1f}",
            ]
        )
    report.table(
        f"whole studies of the MLP on digits, 60 epochs, {CORES} workers, median of {repeats}",
        ["", "single", "fused", "ratio"],
        rows,
    )


def start_up(report: Report, repeats: int) -> None:
    """From a command to the end of a run of one epoch, and what of it is Python, torch and the run itself."""
    base = RunSpec(dataset="digits", model="mlp", epochs=1, precision="fp32")
    splits = data(base)

    def command(*words: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.perf_counter() - began

    def whole() -> float:
        with tempfile.TemporaryDirectory() as folder:
            words = ["--dataset", "digits", "--model", "mlp", "--epochs", "1", "--output_dir", folder]
            return command("-m", "interplay.cli.main", "run", *words)

    def warm() -> float:
        began = time.perf_counter()
        record = train(base, splits)
        return time.perf_counter() - began - record.history[0].seconds

    found = in_turn(
        {
            "python": lambda: command("-c", "pass"),
            "python with torch": lambda: command("-c", "import torch"),
            "interplay run, one epoch of the MLP": whole,
            "a further run in a warm worker, before its first step": warm,
        },
        repeats,
    )
    report.table(
        f"start-up, median of {repeats}", ["", "ms"], [[name, f"{1000 * value:,.0f}"] for name, value in found.items()]
    )


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="the comparison of studies alone")
    parser.add_argument("--study", choices=STUDIES, help="the comparison of one study")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work()
        return
    torch.set_num_threads(1)
    report = Report("small-models")
    workers = Workers()
    try:
        studies(report, workers, args.repeats, args.seconds, [args.study] if args.study else list(STUDIES))
        if not (args.quick or args.study):
            growth(report, workers, args.repeats, args.seconds / 2)
    finally:
        workers.end()
    if not (args.quick or args.study):
        whole_studies(report, args.repeats)
        start_up(report, args.repeats)
    if not args.study:
        report.save()


if __name__ == "__main__":
    main()
