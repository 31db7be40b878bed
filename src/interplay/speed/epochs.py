"""A short measurement of how long runs take on this machine, with random images in place of the data."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from interplay.data.splits import Split, Splits
from interplay.dataset_facts import DATASETS
from interplay.spec import RunSpec
from interplay.speed.estimate import Estimate, makespan, training_images
from interplay.train.loop import train

_SECONDS = 2.0


def probe(missing: Sequence[RunSpec], device: str, workers: int) -> Estimate | None:
    """Time a few steps of each kind of run among ``missing``; ``None`` for a dataset whose shape is not known.

    One network trains alone here: several on one GPU are slower each, and the estimate says what it rests on.
    """
    seconds: dict[tuple[object, ...], float] = {}
    times = []
    for spec in missing:
        images = training_images(spec)
        if spec.dataset not in DATASETS or images is None:
            return None
        kind = (spec.model, *spec.own_knobs.values(), spec.dataset, spec.batch_size, images)
        if kind not in seconds:
            seconds[kind] = epoch_seconds(spec, images, device)
        times.append(spec.epochs * seconds[kind])
    source = f"a probe of {len(seconds)} kinds of run on {device}"
    return Estimate(sum(times), makespan(times, workers), workers, source, tuple(times))


def epoch_seconds(spec: RunSpec, images: int, device: str) -> float:
    """Seconds of one epoch, from a run over a few random batches and a part of the test images."""
    facts = DATASETS[spec.dataset]
    steps = 1
    while True:
        count = min(images, steps * spec.batch_size)
        tested = min(facts.n_test, 2 * count)
        record_seconds, rate, tail = _measure(spec, count, tested, device)
        if record_seconds > _SECONDS / 4 or count == images:
            return images / rate + tail * (facts.n_test + spec.val_split) / tested
        steps *= 4


def _measure(spec: RunSpec, count: int, tested: int, device: str) -> tuple[float, float, float]:
    """Seconds in all, training images a second, and seconds of evaluating ``tested`` images, of a warm epoch."""
    splits = random_splits(spec, count, tested, device)
    # A tiny rate keeps random labels from making the run diverge; two epochs, of which the first one warms up.
    quick = spec.replace(epochs=2, warmup_epochs=0, lr=1e-6, weight_decay=0.0, train_limit=count, val_split=0)
    began = time.perf_counter()
    last = train(quick, splits).history[-1]
    return time.perf_counter() - began, last.images_per_second, last.seconds - count / last.images_per_second


def random_splits(spec: RunSpec, count: int, tested: int, device: str) -> Splits:
    """``count`` random training images in the shape of the data of ``spec``, and ``tested`` random test images."""
    facts = DATASETS[spec.dataset]
    generator = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        pixels = torch.randint(0, 256, (n, *facts.shape), dtype=torch.uint8, generator=generator)
        labels = torch.randint(0, facts.classes, (n,), generator=generator)
        return Split(pixels.to(device), labels.to(device))

    channels = facts.shape[0]
    mean, std = torch.full((channels,), 0.5, device=device), torch.full((channels,), 0.25, device=device)
    return Splits(split(count), split(tested), None, mean, std, facts.classes)
