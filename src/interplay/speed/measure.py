"""What is measured: how fast one kind of run trains by one way, on random images in the shape of its data.

`Measure` is an order. It is carried out in this process (`measure_here`, on a CPU) or by worker processes like those
that train (`ProbeWorkers`, on a GPU), so that several share a GPU as workers do. Nothing here changes what a run
computes.
"""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from interplay.data.splits import Split, Splits
from interplay.dataset_facts import DATASETS
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.speed.estimate import Estimate, makespan, training_images
from interplay.speed.rates import PLAIN, Rates, Way
from interplay.stack.train import train_stack
from interplay.train.events import EpochEnded, Event
from interplay.train.loop import Interrupted, train

STEPS = 100
"""Steps of an epoch on a GPU: long enough that what happens between epochs does not count."""

WINDOW = 1.0
REPEATS = 3
"""Seconds of a measurement by worker processes, and how many there are of each kind, of which the median counts."""

EPOCH_HERE = 0.05
"""Seconds that an epoch on a CPU takes at least, for the same reason."""

PATIENCE = 600.0
"""Seconds within which a process must answer: starting torch may take minutes, and so may compiling."""

CONTEXT = 2**30
"""Bytes that a process takes on a GPU besides what torch reserves: context, libraries, kernels."""

_FOREVER = 1_000_000
"""Epochs of a run that ends when it is told to."""


# -- one measurement --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measure:
    """An order: train runs such as ``spec`` by ``way`` and say how fast that is.

    Attributes:
        steps: of an epoch at most.
        seconds: of the measurement, which ends with an epoch; 0 to train one epoch only, to warm up.
        tested: test images that are looked at after each epoch; 0 for none.
    """

    spec: RunSpec
    way: Way
    device: str
    steps: int = STEPS
    seconds: float = 0.0
    tested: int = 0

    @property
    def images(self) -> int:
        """Of an epoch: whole batches."""
        size = self.spec.batch_size
        return min(self.steps, (training_images(self.spec) or size) // size) * size


@dataclass(frozen=True)
class Measured:
    """The answer to `Measure`."""

    rate: float = 0.0
    """Training images a second, all networks of the process together; 0 for one that only warmed up."""
    memory: int = 0
    """Bytes that torch reserved on the GPU, at most; 0 on a CPU."""
    test_seconds: float = 0.0
    """Of an epoch, for looking at the test images."""
    error: str | None = None
    """Why these runs cannot be trained this way."""


class Meter:
    """Is told of every epoch; counts images while an order lasts, answers, and asks for the next order.

    Args:
        order: the first one. The first epoch warms up.
        answer: takes what was measured.
        following: waits for the next order. Training goes on while it is for the same runs, and ends with any other.
    """

    def __init__(self, order: Measure, answer: Callable[[Measured], None], following: Callable[[], object]) -> None:
        self.order = order
        self.next: object = None
        """The order that ended the training."""
        self._answer, self._following = answer, following
        self._began: float | None = None
        self._images = 0
        self._epochs = 0
        self._test_seconds = 0.0

    def epoch(self, metrics: EpochMetrics) -> bool:
        """An epoch has ended; True when it was the last one."""
        now = time.perf_counter()
        order, networks = self.order, self.order.way.networks
        if self._began is None:
            if order.seconds:
                self._begin(now)
                return False
            self._answer(Measured(memory=_memory(order.device)))
        else:
            self._epochs += 1
            self._images += order.images * networks
            if order.tested:
                self._test_seconds += networks * (metrics.seconds - order.images / metrics.images_per_second)
            if now - self._began < order.seconds:
                return False
            rate = self._images / (now - self._began - self._test_seconds)
            self._answer(Measured(rate, _memory(order.device), self._test_seconds / self._epochs))
        self.next = self._following()
        if not isinstance(self.next, Measure) or replace(self.next, seconds=order.seconds) != order:
            return True
        self.order = self.next
        self._begin(time.perf_counter() if self.order.seconds else None)
        return False

    def _begin(self, now: float | None) -> None:
        self._began, self._images, self._epochs, self._test_seconds = now, 0, 0, 0.0


def _clear(device: str) -> None:
    """What another way has taken of a GPU is not counted as this one's."""
    if device.startswith("cuda"):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _memory(device: str) -> int:
    return int(torch.cuda.max_memory_reserved(device)) if device.startswith("cuda") else 0


def carry_out(order: Measure, answer: Callable[[Measured], None], following: Callable[[], object]) -> object:
    """Measure as ``order`` says and as those say that follow it, and return the first order that is for other runs.

    Raises whatever training raises.
    """
    _clear(order.device)
    meter, networks = Meter(order, answer, following), order.way.networks
    splits = random_splits(order.spec, order.images, order.tested or 64, order.device)
    # A tiny rate keeps random labels from making the runs diverge.
    quick = order.spec.replace(
        epochs=_FOREVER,
        warmup_epochs=0,
        lr=1e-6,
        weight_decay=0.0,
        train_limit=order.images,
        val_split=0,
        label_noise=0.0,
    )
    runs = [quick.replace(seed=seed) for seed in range(networks)]
    test_every = 1 if order.tested else _FOREVER

    enough = False

    def emit(event: Event) -> None:
        nonlocal enough
        if isinstance(event, EpochEnded) and event.spec is runs[-1]:
            enough = meter.epoch(event.metrics)

    def should_stop() -> bool:
        return enough

    words: dict[str, Any] = {"emit": emit, "should_stop": should_stop, "test_every": test_every}
    words["autotune"] = order.way.autotune
    try:
        if order.way.path == "single":
            train(runs[0], splits, **words)
        else:
            train_stack(runs, [splits] * networks, path=order.way.path, **words)
    except Interrupted:  # as the meter has said
        return meter.next
    raise RuntimeError("a run on random images diverged")


def measure_here(order: Measure) -> Measured:
    """Carry out one order in this process. Raises whatever training raises."""
    answers: list[Measured] = []
    carry_out(order, answers.append, lambda: None)
    return answers[0]


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


def _long_enough(order: Measure, seconds: float) -> tuple[Measure, Measured]:
    """``order`` with so many steps that an epoch takes ``seconds``, if there are so many, and what it measured."""
    order = replace(order, steps=1, seconds=1e-9)
    while True:
        found, images = measure_here(order), order.images
        more = replace(order, steps=4 * order.steps, tested=4 * order.tested)
        if images / found.rate + found.test_seconds > seconds or more.images == images:
            return order, found
        order = more


def epoch_seconds(spec: RunSpec, device: str) -> float:
    """Seconds of one epoch of a run that trains alone: from a few batches, and from looking at some test images."""
    facts = DATASETS[spec.dataset]
    order, found = _long_enough(Measure(spec, PLAIN, device, tested=2 * spec.batch_size), 5 * EPOCH_HERE)
    images = training_images(spec) or spec.batch_size
    return images / found.rate + found.test_seconds * (facts.n_test + spec.val_split) / order.tested


# -- one kind of run --------------------------------------------------------------------------------------------------


def on_a_core(spec: RunSpec, ways: Iterable[Way], device: str, worthwhile: Callable[[float], bool]) -> Rates:
    """Measure the plain path and ``ways`` in turn, in this process.

    ``worthwhile`` is asked with the images a second of the plain path; when it says no, no other way is tried.
    """
    order, found = _long_enough(Measure(spec, PLAIN, device), EPOCH_HERE)
    if not worthwhile(found.rate):
        return Rates({PLAIN: found.rate}, {})
    orders = {way: replace(order, way=way) for way in (PLAIN, *ways)}
    rounds: list[dict[Way, float]] = []
    for _ in range(REPEATS):
        rates = {way: _rate_here(order) for way, order in orders.items()}
        rounds.append({way: rate for way, rate in rates.items() if rate is not None})
    done = [way for way in orders if all(way in each for each in rounds)]
    return Rates({way: statistics.median(each[way] for each in rounds) for way in done}, {})


def _rate_here(order: Measure) -> float | None:
    """Images a second of one way in this process; ``None`` for a compiled one that cannot be had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, about itself
            return measure_here(order).rate
    except Exception:
        if order.way.path == "compiled":  # whatever it is, this way of training is none that can be chosen
            return None
        raise


# -- by worker processes ----------------------------------------------------------------------------------------------


class ProbeWorker(Protocol):
    """A worker process as far as measuring needs it: see `executors.process.WorkerProcess`."""

    def send(self, order: object) -> None:
        """Give it an order; nothing happens if it is gone."""

    def answer(self, seconds: float) -> object:
        """What it says next; ``None`` if it says nothing for so long. Raises `EOFError` where it is gone."""

    def end(self) -> None:
        """Kill it."""


class ProbeWorkers:
    """Worker processes that train the same kind of run, started as they are needed, on one GPU or on the CPU.

    Args:
        order: the runs, the way and the device.
        start: starts one.
    """

    def __init__(self, order: Measure, start: Callable[[], ProbeWorker]) -> None:
        self.order = replace(order, seconds=0.0)
        self._start = start
        self._workers: list[ProbeWorker] = []
        self._warm = 0
        """How many of them have trained by this order."""
        self.memory = 0
        """Bytes that torch reserved on the GPU for one of them, at most; 0 on a CPU."""
        self._memories: dict[Way, int] = {}
        """The same of ways that were measured before: who searches no more needs less than a new process will."""
        self.error: str | None = None
        """What the last one that gave up said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._warm = 0

    def turn_to(self, way: Way) -> None:
        """Measure another way from now on, with the processes that are there: a start takes longer than that.

        What cuDNN has found for a shape a process keeps, so for a search among more or fewer new ones are started.
        """
        if (way.autotune in ("cudnn", "both")) != (self.order.way.autotune in ("cudnn", "both")):
            self._end()
        if way != self.order.way:
            self._memories[self.order.way] = self.memory
            self.order, self._warm, self.memory = replace(self.order, way=way), 0, self._memories.get(way, 0)

    def rate(self, count: int, window: float = WINDOW) -> float | None:
        """Images a second of ``count`` processes at once; ``None`` if one of them gives up, which ends them all."""
        found = self._rate(count, window)
        if found is None:  # after some errors nothing works in a process any more
            self._end()
        return found

    def _rate(self, count: int, window: float) -> float | None:
        while self._warm < count:
            if self._warm == len(self._workers):
                self._workers.append(self._start())
            if self._measured([self._workers[self._warm]], 0.0) is None:
                return None
            self._warm += 1
        rounds = [self._measured(self._workers[:count], window) for _ in range(REPEATS)]
        known = [rate for rate in rounds if rate is not None]
        return statistics.median(known) if len(known) == REPEATS else None

    def _measured(self, workers: list[ProbeWorker], seconds: float) -> float | None:
        for worker in workers:
            worker.send(replace(self.order, seconds=seconds))
        answers = [self._answer(worker) for worker in workers]
        self.error = next((each.error for each in answers if each.error is not None), self.error)
        if any(each.error is not None for each in answers):
            return None
        self.memory = max(self.memory, *(each.memory for each in answers))
        return sum(each.rate for each in answers)

    @staticmethod
    def _answer(worker: ProbeWorker) -> Measured:
        try:
            found = worker.answer(PATIENCE)
        except EOFError:
            return Measured(error="it ended without a word")
        return found if isinstance(found, Measured) else Measured(error=f"it said nothing for {PATIENCE:g} s")


def probe(missing: Sequence[RunSpec], device: str, workers: int) -> Estimate | None:
    """Time a few steps of each kind of run among ``missing``; ``None`` for a dataset whose shape is not known.

    One network trains alone here: several on one GPU are slower each, and the estimate says what it rests on.
    """
    seconds: dict[tuple[object, ...], float] = {}
    times = []
    for spec in missing:
        if spec.dataset not in DATASETS:
            return None
        kind = (spec.model, *spec.own_knobs.values(), spec.dataset, spec.batch_size, training_images(spec))
        if kind not in seconds:
            seconds[kind] = epoch_seconds(spec, device)
        times.append(spec.epochs * seconds[kind])
    source = f"a probe of {len(seconds)} kind{'' if len(seconds) == 1 else 's'} of run on {device}"
    return Estimate(sum(times), makespan(times, workers), workers, source, tuple(times))
