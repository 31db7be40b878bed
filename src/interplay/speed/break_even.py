"""What is worth trying on a GPU: the next way of training, as long as it should save more time than trying it takes.

Seconds and gains are those of ResNet-18 in bf16 at B = 128 on an H100, of 27 November 2026 (docs/speed.md). They decide
how long a probe goes on. What is chosen is what it measures to be fastest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from interplay.spec import RunSpec
from interplay.speed.rates import NEARLY_BEST, PLAIN, Way, fastest
from interplay.stack.grouping import stackable
from interplay.train.names import Autotune, AutotuneName, StackPath, possible

TRY_SECONDS = 6.0
"""Of one more way in a process that is there: graphs are captured, then three windows of a second."""

START_SECONDS = 15.0
"""Of one more process, until its first epoch has ended."""

COMPILE_SECONDS = 60.0
"""What Inductor costs before it gains: half a minute in the probe, and as much in each worker."""

SEARCH_GAIN = 0.03
SEARCH_SECONDS: Mapping[Literal["cudnn", "inductor"], float] = {"cudnn": 20.0, "inductor": 180.0}
"""The share of the remaining time that a longer search of a library may save, and the seconds of the search in each
process. Expectations both, which no GPU has measured yet.
"""

PLAIN_STEP = 4e-3
"""Seconds of a step on the plain path at least: the host takes them, whatever the network."""

WORTH_STEPS = round(4 * START_SECONDS / PLAIN_STEP)
"""Steps of one kind on each GPU from which the plain path is measured, which says whether anything else is."""

STREAMS = (2, 3, 4)
"""Runs side by side in one process that are tried."""

USUAL_STREAMS = 3
"""How many are taken where nothing is measured: four are no faster."""

AUTOMATIC = ("mlp", "cnn")
"""Networks that ``auto`` considers for stacks of several. Larger ones fill a core, or a GPU, by themselves."""

WITHOUT_CONVOLUTIONS = ("mlp",)
"""Networks for which cuDNN has nothing to search."""

CANDIDATES = (2, 4, 8, 16, 32)
"""Sizes of stacks that are tried, as far as there are runs and memory."""


@dataclass(frozen=True)
class Group:
    """Ways that differ in how many networks they train, from few to many; the next is tried where the last gained.

    Attributes:
        ways: in the order in which they are tried.
        cost: seconds of the first.
        gain: the share of the remaining time that it is expected to save.
        after: the path that must have gained before.
    """

    ways: tuple[Way, ...]
    cost: float
    gain: float
    after: StackPath | None = None


def groups(spec: RunSpec, most: int) -> list[Group]:
    """What may be faster than the plain path on a GPU, cheap tries first.

    Args:
        spec: the kind of run.
        most: networks that one process may train: as there are runs, and memory.
    """
    if not stackable(spec):
        return []
    sizes = [size for size in CANDIDATES if size <= most] if spec.model in AUTOMATIC else []
    counts = [count for count in STREAMS if count <= most]

    def side_by_side(path: StackPath) -> tuple[Way, ...]:
        return tuple(Way(path, count) for count in counts)

    return [
        # From 12 ms a step on the plain path, which waits for the host, to 3.2 ms.
        Group((Way("fused"), *(Way("fused", size) for size in sizes)), TRY_SECONDS, 0.5),
        Group(side_by_side("streams"), 2 * TRY_SECONDS, 0.18),
        Group((Way("compiled"),), COMPILE_SECONDS, 0.16),
        Group(side_by_side("compiled_streams"), 2 * TRY_SECONDS, 0.17, after="compiled"),
    ]


def following(tries: Sequence[Group], rates: Mapping[Way, float], images: float) -> Way | None:
    """The next way to try; ``None`` where no other is expected to pay.

    Args:
        tries: see `groups`.
        rates: images a second of the ways that were tried; 0 for those that failed. The plain path is among them.
        images: that are still to be trained on one GPU.
    """
    best = max(rates.values())
    left = images / best if best else float("inf")
    for group in tries:
        if left * group.gain < group.cost or not _gained(group.after, rates):
            continue
        before = 0.0
        for way in group.ways:
            if way not in rates:
                return way
            if rates[way] < NEARLY_BEST * before or not rates[way]:
                break
            before = rates[way]
    return None


def search(spec: RunSpec, rates: Mapping[Way, float], images: float, autotune: AutotuneName, device: str) -> Way | None:
    """The fastest way so far with a longer search of a library that is still to be tried; ``None`` for none.

    Args:
        spec: the kind of run.
        rates: as `following` takes them.
        images: that are still to be trained on one GPU.
        autotune: ``auto`` for each that is expected to pay, otherwise what is tried whatever it costs.
        device: where it is tried.
    """
    if autotune != "auto":
        untuned = fastest(rates).untuned
        way = replace(untuned, autotune=possible(autotune, untuned.path, device))
        return None if way in rates else way
    best = fastest(rates)
    left = images / rates[best] if rates.get(best) else float("inf")
    for library, seconds in SEARCH_SECONDS.items():
        more: Autotune = library if best.autotune == "none" else "both"
        way = replace(best, autotune=possible(more, best.path, device))
        if way == best or (library == "cudnn" and spec.model in WITHOUT_CONVOLUTIONS):
            continue
        tried = any(each.untuned == best.untuned and each.autotune in (library, "both") for each in rates)
        # In the probe, where cuDNN needs a new process, and in each worker.
        cost = START_SECONDS + COMPILE_SECONDS / 2 + TRY_SECONDS + 2 * seconds
        if not tried and left * SEARCH_GAIN >= cost:
            return way
    return None


def affordable(rates: Mapping[Way, float], images: float) -> dict[Way, float]:
    """``rates`` without the ways whose search would cost each worker more than it may save: a longer study tried it."""
    return {
        way: rate
        for way, rate in rates.items()
        if way == way.untuned
        or images * SEARCH_GAIN
        >= rate * sum(seconds for library, seconds in SEARCH_SECONDS.items() if way.autotune in (library, "both"))
    }


def processes_pay(rates: Mapping[Way, float], images: float) -> bool:
    """Whether several processes on a GPU are worth trying: two at once, each with a start.

    On the plain path the host is what they share out; with captured steps streams have gained most of it, so that a
    tenth is all that is expected.
    """
    best = max(rates.values())
    gain = 0.5 if max(rates, key=lambda way: rates[way]).untuned == PLAIN else 0.1
    return best > 0 and images / best * gain > 2 * (START_SECONDS + TRY_SECONDS)


def _gained(path: StackPath | None, rates: Mapping[Way, float]) -> bool:
    """Whether a path was tried and was faster than the same without it: ``compiled`` than ``fused``."""
    return path is None or rates.get(Way(path), 0.0) > rates.get(Way("fused"), 0.0)
