"""What was measured of one kind of run, and what it says: which way of training is fastest, and how many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from interplay.train.names import Autotune, StackPath

WORTHWHILE = 1.15
"""Another way must be so many times as fast as the plain path; below that, noise decides."""

NEARLY_BEST = 1.05
"""The first way, and the fewest processes, within this factor of the fastest are taken: they lose less when something
goes wrong.
"""

WORTH_SEARCHING = 1.02
"""A way for which a library searches longer must be so many times as fast as without that. Two thirds of what is
expected of it (`break_even.SEARCH_GAIN`) still save more than the search costs each worker.
"""


@dataclass(frozen=True)
class Way:
    """A path through the code, with the number of networks that one process trains, and which libraries search longer
    for its kernels.
    """

    path: Literal["single"] | StackPath
    networks: int = 1
    autotune: Autotune = "none"

    def __str__(self) -> str:
        place = self.path if self.path == "single" else f"{self.path} {self.networks}"
        return place if self.autotune == "none" else f"{place} autotune={self.autotune}"

    @classmethod
    def parse(cls, name: str) -> Way:
        """The inverse of ``str``; raises `ValueError` for what is no name of a way."""
        place, _, searched = name.partition(" autotune=")
        path, _, networks = place.partition(" ")
        autotunes: tuple[Autotune, ...] = get_args(Autotune)
        autotune = next((known for known in autotunes if known == (searched or "none")), None)
        if autotune is not None:
            for known in get_args(StackPath):
                if path == known:
                    return cls(known, int(networks or 1), autotune)
            if path == "single":
                return cls("single", autotune=autotune)
        raise ValueError(f"{name!r} is no way of training")

    @property
    def untuned(self) -> Way:
        """The same with what libraries find by default."""
        return replace(self, autotune="none")


PLAIN = Way("single")


@dataclass(frozen=True)
class Rates:
    """What was measured of one kind of run on one device. Training images a second."""

    ways: Mapping[Way, float]
    """Of one process; a way that failed is not there."""
    at_once: Mapping[int, float]
    """Of the fastest way, by the number of processes, all of them together; empty where that was not asked."""

    @property
    def way(self) -> Way:
        """How runs of this kind are trained best: see `fastest`."""
        return fastest(self.ways)

    @property
    def processes(self) -> int:
        """How many of them on one GPU."""
        return few(self.at_once)

    def to_dict(self) -> dict[str, Any]:
        """JSON types, rounded to what such a measurement can tell."""
        return {
            "path": self.way.path,
            "networks": self.way.networks,
            **({"autotune": self.way.autotune} if self.way.autotune != "none" else {}),
            "ways": {str(way): float(f"{rate:.3g}") for way, rate in self.ways.items()},
            "at_once": {str(count): float(f"{rate:.3g}") for count, rate in self.at_once.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Rates:
        """The inverse of ``to_dict``; reads the form that CPUs had before too (``alone`` and ``stacked``)."""
        if "alone" in values:
            ways = {"single": values["alone"]} | {f"fused {size}": rate for size, rate in values["stacked"].items()}
            values = {"ways": ways, "at_once": {}}
        at_once = {int(count): float(rate) for count, rate in values["at_once"].items()}
        return cls({Way.parse(name): float(rate) for name, rate in values["ways"].items()}, at_once)


def fastest(rates: Mapping[Way, float], *, asked: bool = False) -> Way:
    """The plain path, unless another is `WORTHWHILE` times as fast; of those, the first that is nearly the fastest.

    Then the same with a longer search of a library, where that is `WORTH_SEARCHING` times as fast, or is ``asked`` for
    and runs at all.
    """
    untuned = {way: rate for way, rate in rates.items() if way == way.untuned}
    most = max(untuned.values(), default=0.0)
    found = PLAIN
    if most >= WORTHWHILE * untuned.get(PLAIN, 0.0):
        found = next((way for way, rate in untuned.items() if rate * NEARLY_BEST >= most), PLAIN)
    for way, rate in rates.items():
        if way.untuned == found.untuned and way != way.untuned:
            found = way if rate and (asked or rate >= WORTH_SEARCHING * rates.get(found, 0.0)) else found
    return found


def few(rates: Mapping[int, float]) -> int:
    """The fewest processes that are nearly as fast as the fastest number of them; 1 where nothing was measured."""
    most = max(rates.values(), default=0.0)
    return min((count for count, rate in rates.items() if rate * NEARLY_BEST >= most), default=1)


def climb(rate: Callable[[int], float | None], most: int) -> dict[int, float]:
    """Rates of 1, 2, … processes, up to ``most``, until two more in a row gain nothing or one does not fit.

    Args:
        rate: of so many processes at once; ``None`` if they do not run, for want of memory as a rule.
        most: where to stop.
    """
    found: dict[int, float] = {}
    for count in range(1, max(1, most) + 1):
        now = rate(count)
        if now is None:
            break
        best = max(found.values(), default=0.0)
        found[count] = now
        if count >= 3 and found[count] < NEARLY_BEST * best and count - few(found) >= 2:
            break
    return found
