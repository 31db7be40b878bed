"""How fast one worker process trains one kind of run: ``python -m interplay.speed.rate``.

In a process of its own, as workers are, so that several on one GPU share it as several workers would. The first line of
the standard input is the order. Then, each time: the process says that it is ready, reads for how many seconds to
train, and answers with images a second. It ends with its input.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

import torch

from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.speed.epochs import random_splits
from interplay.speed.estimate import training_images
from interplay.stack.train import train_stack
from interplay.train.loop import Interrupted, train

STEPS = 100
"""Steps of an epoch on random images: long enough that what happens between epochs does not count."""

FOREVER = 1_000_000
"""Epochs of a run that ends when it is told to."""


class Clock:
    """Is told of every epoch; waits for orders, counts images while one lasts, and reports."""

    def __init__(self, images: int, reading: TextIO, say: Callable[[dict[str, Any]], None], memory: Callable[[], int]):
        self._images, self._reading, self._say, self._memory = images, reading, say, memory
        self._until: float | None = None
        self._began = 0.0
        self._seen = 0

    def epoch(self) -> bool:
        """An epoch has ended; True when it was the last one. The first one is to warm up."""
        now = time.perf_counter()
        if self._until is not None:
            self._seen += self._images
            if now < self._until:
                return False
            self._say({"rate": self._seen / (now - self._began), "memory": self._memory()})
        self._say({"ready": True})
        line = self._reading.readline()
        if not line.strip():
            return True
        self._seen, self._began = 0, time.perf_counter()
        self._until = self._began + float(line)
        return False


def endless(spec: RunSpec, images: int, networks: int) -> list[RunSpec]:
    """Runs of the cost of ``spec``, without end; a tiny rate keeps random labels from making them diverge."""
    quick = spec.replace(
        epochs=FOREVER, warmup_epochs=0, lr=1e-6, weight_decay=0.0, train_limit=images, val_split=0, label_noise=0.0
    )
    return [quick.replace(seed=seed) for seed in range(networks)]


def serve(order: dict[str, Any], reading: TextIO, say: Callable[[dict[str, Any]], None]) -> None:
    """Carry out one order: ``spec``, ``device``, ``path`` and ``networks``."""
    spec, device, networks = RunSpec.from_dict(order["spec"]), order["device"], order["networks"]
    whole = max(1, (training_images(spec) or spec.batch_size) // spec.batch_size)  # without the short last batch
    images = min(STEPS, whole) * spec.batch_size
    splits = random_splits(spec, images, 64, device)

    def memory() -> int:
        return int(torch.cuda.max_memory_reserved(device)) if splits.device.type == "cuda" else 0

    runs = endless(spec, images, networks)
    clock = Clock(images * networks, reading, say, memory)

    def of_a_stack(member: RunSpec, metrics: EpochMetrics) -> bool:
        return member is runs[-1] and clock.epoch()

    with contextlib.suppress(Interrupted):
        if order["path"] == "single":
            train(runs[0], splits, on_epoch=lambda metrics: clock.epoch(), test_every=FOREVER)
        else:
            compiled = order["path"] == "compiled"
            train_stack(runs, [splits] * networks, on_epoch=of_a_stack, test_every=FOREVER, compiled=compiled)


def main() -> None:
    """Serve the process that started this one."""

    def say(fact: dict[str, Any]) -> None:
        print(json.dumps(fact), flush=True)

    torch.set_num_threads(1)
    try:
        serve(json.loads(sys.stdin.readline()), sys.stdin, say)
    except Exception as error:  # whatever it is, this way of training is none that can be chosen
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
