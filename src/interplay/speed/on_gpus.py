"""The probe of a GPU: ways of training one kind of run, tried in one worker process as long as that can pay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from interplay.spec import RunSpec
from interplay.speed.break_even import Group, affordable, following, processes_pay, search
from interplay.speed.measure import CONTEXT, Measure, ProbeWorker, ProbeWorkers
from interplay.speed.rates import PLAIN, Rates, Way, climb, fastest
from interplay.train.names import AutotuneName


@dataclass(frozen=True)
class Probe:
    """What is asked of a GPU.

    Attributes:
        spec: the kind of run.
        tries: what may be tried besides the plain path.
        images: that are to be trained on one GPU.
        most: processes at once, at most.
        free: bytes of memory that all of them together may take on the GPU.
        device: what a process calls its GPU.
        start: starts a worker process that sees this GPU alone.
        autotune: which libraries may search longer for the kernels of the fastest way.
    """

    spec: RunSpec
    tries: Sequence[Group]
    images: float
    most: int
    free: int
    device: str
    start: Callable[[], ProbeWorker]
    autotune: AutotuneName = "none"

    def following(self, ways: Mapping[Way, float]) -> Way | None:
        """The next way that is worth measuring."""
        way = following(self.tries, ways, self.images)
        return way or search(self.spec, ways, self.images, self.autotune, self.device)

    def best(self, ways: Mapping[Way, float]) -> Way:
        """The way that is taken; with a search that was asked for if that runs."""
        return fastest(affordable(ways, self.images)) if self.autotune == "auto" else fastest(ways, asked=True)

    def is_answered_by(self, found: Rates) -> bool:
        """Whether nothing is left that is worth measuring."""
        if not found.ways.get(PLAIN) or self.following(found.ways) is not None:
            return False
        return bool(found.at_once) or not self.asks_how_many(found)

    def asks_how_many(self, found: Rates) -> bool:
        """Whether several processes at once are worth trying."""
        return self.most > 1 and processes_pay(found.ways, self.images)


def on_a_gpu(probe: Probe, known: Rates | None = None) -> Rates:
    """Measure the plain path, then what is worth trying, then the fastest in more and more processes.

    Nothing more is measured where the plain path does not run: the run itself will say why.

    Args:
        probe: what is asked.
        known: what was measured before, which is not measured again.
    """
    known = known or Rates({}, {})
    ways = {way: rate for way, rate in known.ways.items() if rate or known.ways.get(PLAIN)}
    with ProbeWorkers(Measure(probe.spec, PLAIN, probe.device), probe.start) as workers:
        if not ways.get(PLAIN):
            ways[PLAIN] = workers.rate(1) or 0.0
        while ways[PLAIN] and (way := probe.following(ways)) is not None:
            workers.turn_to(way)
            ways[way] = workers.rate(1) or 0.0
        chosen = probe.best(ways)
        found = Rates(ways, known.at_once if chosen == probe.best(known.ways) else {})
        if not ways[PLAIN] or found.at_once or not probe.asks_how_many(found):
            return found
        workers.turn_to(chosen)

        def rate(count: int) -> float | None:
            if count > 1 and count * (workers.memory + CONTEXT) > probe.free:
                return None
            return workers.rate(count)

        return Rates(ways, climb(rate, probe.most))
