"""Where the time of one training step goes on one core, and how far that is from what the core can do.

    python benchmarks/step.py

Microseconds of each part, for one network: gathering, augmenting and normalising the batch; forward pass with the loss;
backward pass; update; the rest (hyperparameters, sums, the look at the loss). ``peak`` is the share of the floating
point operations a second that this core was measured to do in a product of two matrices of 1024x1024.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from common import Report
from small_models import STUDIES, data
from torch.utils.flop_counter import FlopCounterMode

from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.stack.batches import Choice
from interplay.stack.step import Networks

PARTS = ("batch", "forward", "backward", "update", "rest")


def peak(n: int = 1024) -> float:
    """Floating point operations a second of a float32 matrix product, the best of ten."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * n**3 / min(seconds)


def operations(spec: RunSpec, splits: Splits) -> float:
    """Floating point operations of training on one image, of convolutions and products."""
    model, counter = build(spec, splits.shape, splits.classes), FlopCounterMode(display=False)
    with counter:
        model(torch.zeros(2, *splits.shape)).sum().backward()
    return counter.get_total_flops() / 2


def parts(spec: RunSpec, splits: Splits, size: int, steps: int) -> dict[str, float]:
    """Seconds of each part of a step of a stack, median over ``steps``, for one of its networks."""
    networks = Networks([spec.replace(seed=seed) for seed in range(size)], [splits] * size)
    networks.stack.train()
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    choices = [choice for choice in networks.batches.epoch([1] * size) if len(choice.index) == size * spec.batch_size]
    list(networks.train_epoch([1] * size))
    for step in range(steps):
        choice: Choice = choices[step % len(choices)]
        marks = [time.perf_counter()]
        images, labels = networks.batches.gather(choice)
        images = networks.stack.arranged(images)
        marks.append(time.perf_counter())
        logits = networks.stack(images)
        losses = networks._losses(logits, labels)
        marks.append(time.perf_counter())
        networks.optimizer.zero_grad(set_to_none=True)
        losses.mean(1).sum().backward()
        marks.append(time.perf_counter())
        networks.optimizer.step()
        marks.append(time.perf_counter())
        networks._add(losses.detach().double().mean(1), logits.detach(), labels)
        networks.sums()
        marks.append(time.perf_counter())
        for part, began, ended in zip(PARTS, marks[:-1], marks[1:], strict=True):
            found[part].append((ended - began) / size)
    return {part: statistics.median(values) for part, values in found.items()}


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("step")
    most = peak()
    report.say(f"matrix product: {most / 1e9:.0f} GFLOP/s on one core")
    rows = []
    for name, spec in STUDIES.items():
        splits = data(spec)
        work = operations(spec, splits) * spec.batch_size
        for size in (1, 8):
            found = parts(spec, splits, size, args.steps if size == 1 else args.steps // 4)
            whole = sum(found.values())
            rows.append(
                [
                    f"{name}, B = {spec.batch_size}, K = {size}",
                    *(f"{1e6 * found[part]:,.0f}" for part in PARTS),
                    f"{1e6 * whole:,.0f}",
                    f"{work / 1e6:,.0f}",
                    f"{100 * work / whole / most:.0f} %",
                ]
            )
    report.table(
        f"microseconds of a step for each network, median of {args.steps} steps",
        ["", *PARTS, "whole", "MFLOP", "peak"],
        rows,
    )
    report.save()


if __name__ == "__main__":
    main()
