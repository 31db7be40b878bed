"""Crop, mirror and normalise: batches on the device against one image at a time.

    python benchmarks/augmentation.py

Images of 32x32 pixels, padded by 4, cropped, mirrored and normalised, in images per second on one core. ``per image``
is PIL for each picture, as a textbook loop does it in its loader; ``loader`` is the same in a DataLoader with two
worker processes, which is what that loop really gets from two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from common import Report, in_turn, rate
from textbook import Pictures, loader

from interplay.data.batches import TrainingBatches
from interplay.data.splits import Split, Splits
from interplay.spec import RunSpec

BAR = 5.0
IMAGES = 4096


def random_images(count: int) -> Splits:
    """Random pictures in the shape of CIFAR."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(pixels, torch.arange(count) % 10)
    return Splits(split, split, None, torch.full((3,), 0.5), torch.full((3,), 0.25), 10)


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = Report("augmentation")
    splits = random_images(IMAGES)
    pictures = Pictures(splits, 4, mirror=True)
    rows, ratios = [], []
    for size in (64, 128, 256, 512):
        spec = RunSpec(dataset="cifar10", augment="crop_flip", batch_size=size)
        batches = TrainingBatches(spec, splits)
        textbook = loader(splits, spec, 2)

        def batched(batches: TrainingBatches = batches) -> int:
            return sum(len(labels) for _, labels in batches.epoch(1))

        def per_image(size: int = size) -> int:
            return len(torch.stack([pictures[index][0] for index in range(size)]))

        def loaded(textbook: Iterable[Any] = textbook) -> int:
            return sum(len(labels) for _, labels in textbook)

        ways: dict[str, Callable[[], int]] = {"batched": batched, "per image": per_image, "loader": loaded}
        found = in_turn({name: partial(rate, way, args.seconds) for name, way in ways.items()}, args.repeats)
        ratios.append(found["batched"] / found["per image"])
        rows.append(
            [
                f"B = {size}",
                *(f"{found[name]:,.0f}" for name in ways),
                f"{ratios[-1]:.1f}",
                f"{found['batched'] / found['loader']:.1f}",
            ]
        )
    report.table(
        f"images per second, median of {args.repeats} rounds",
        ["", "batched", "per image", "loader, 2 workers", "batched : per image", "batched : loader"],
        rows,
    )
    report.say()
    report.verdict("batched augmentation against one image at a time, at every batch size,", min(ratios), BAR)
    report.save()


if __name__ == "__main__":
    main()
