"""How a GPU is used best by runs of one kind: which path through the code, and how many runs at once.

Both are measured on the GPU itself, by processes like those of workers: first one process on each path, then more and
more of them side by side on the fastest. Nothing here changes what a run computes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from interplay.spec import RunSpec
from interplay.speed.stacks import NEARLY_BEST, WORTHWHILE

WINDOW = 1.0
WINDOWS = 3
"""Seconds of a measurement, and how many there are, of which the median counts."""

PATIENCE = 600.0
"""Seconds within which a process must be ready: starting torch may take minutes, and so may compiling."""

CONTEXT = 2**30
"""Bytes that a process takes on a GPU besides what torch reserves: context, libraries, kernels."""


@dataclass(frozen=True)
class Way:
    """A path through the code, with the number of networks that one process trains."""

    path: Literal["single", "fused", "compiled"]
    networks: int = 1

    def __str__(self) -> str:
        return self.path if self.path == "single" else f"{self.path} {self.networks}"


@dataclass(frozen=True)
class Sharing:
    """What was measured of one kind of run on one GPU. Rates are training images a second, all processes together."""

    way: Way
    ways: Mapping[str, float]
    """Of one process, by the name of the `Way`; a way that failed is not there."""
    at_once: Mapping[int, float]
    """Of the way that was chosen, by the number of processes."""

    @property
    def best(self) -> int:
        """Processes on one GPU."""
        return few(self.at_once)

    @property
    def complete(self) -> bool:
        """See `pace.Measurement`."""
        return bool(self.at_once)

    def to_dict(self) -> dict[str, Any]:
        """JSON types, rounded to what such a measurement can tell."""
        return {
            "path": self.way.path,
            "networks": self.way.networks,
            "ways": {name: float(f"{rate:.3g}") for name, rate in self.ways.items()},
            "at_once": {str(count): float(f"{rate:.3g}") for count, rate in self.at_once.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sharing:
        """The inverse of ``to_dict``."""
        at_once = {int(count): float(rate) for count, rate in values["at_once"].items()}
        return cls(Way(values["path"], int(values["networks"])), dict(values["ways"]), at_once)


def fastest(rates: Mapping[Way, float]) -> Way:
    """The plain path, unless another is `WORTHWHILE` times as fast; of those, the first that is nearly the fastest."""
    plain = rates.get(Way("single"), 0.0)
    most = max(rates.values(), default=0.0)
    if most < WORTHWHILE * plain:
        return Way("single")
    return next((way for way, rate in rates.items() if rate * NEARLY_BEST >= most), Way("single"))


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


class Crowd:
    """Processes that train the same kind of run, started as they are needed, on one GPU or on the CPU.

    Args:
        spec: the kind of run.
        way: how they train it.
        device: what they call it.
        visible: its CUDA_VISIBLE_DEVICES.
    """

    def __init__(self, spec: RunSpec, way: Way, device: str, visible: str = "") -> None:
        self._order = {"spec": spec.to_dict(), "device": device, "path": way.path, "networks": way.networks}
        self._environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.memory = 0
        """Bytes that torch reserved on the GPU for one of them, at most; 0 on a CPU."""
        self.error: str | None = None
        """What the last process that gave up said."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was written to a dead process cannot be flushed
                        pipe.close()

    def rate(self, count: int, window: float = WINDOW) -> float | None:
        """Images a second of ``count`` processes at once; ``None`` if one of them gives up."""
        while len(self._processes) < count:
            process = subprocess.Popen(
                [sys.executable, "-m", "interplay.speed.rate"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=self._environment,
            )
            self._processes.append(process)
            self._tell(process, json.dumps(self._order))
            if "ready" not in self._hear(process):
                return None
        return self._measured(self._processes[:count], window)

    def _measured(self, processes: list[subprocess.Popen[bytes]], window: float) -> float | None:
        rounds: list[float] = []
        for _ in range(WINDOWS):
            for process in processes:
                self._tell(process, str(window))
            facts = [self._hear(process) for process in processes]
            if any("rate" not in each for each in facts):
                return None
            rounds.append(sum(each["rate"] for each in facts))
            self.memory = max(self.memory, *(int(each["memory"]) for each in facts))
            if any("ready" not in self._hear(process) for process in processes):
                return None
        return statistics.median(rounds)

    def _tell(self, process: subprocess.Popen[bytes], line: str) -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it is gone, which is heard below
            process.stdin.write(f"{line}\n".encode())

    def _hear(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        there, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if there else b""
        try:
            fact: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            fact = {"error": "it ended without a word" if there else f"it said nothing for {PATIENCE:g} s"}
        self.error = fact.get("error", self.error)
        return fact


def measure_gpu(spec: RunSpec, ways: Iterable[Way], most: int, free: int, device: str, visible: str) -> Sharing:
    """Measure each of ``ways`` in one process, then the fastest in more and more of them.

    Args:
        spec: the kind of run.
        ways: what to try, the plain path first.
        most: processes at once, at most.
        free: bytes of memory that all of them together may take on the GPU.
        device, visible: as `Crowd` takes them.
    """
    rates: dict[Way, float] = {}
    for way in ways:
        with Crowd(spec, way, device, visible) as crowd:
            if (alone := crowd.rate(1)) is not None:
                rates[way] = alone
    chosen = fastest(rates)
    names = {str(way): rate for way, rate in rates.items()}
    if chosen not in rates:  # nothing runs at all: the run itself will say why
        return Sharing(chosen, names, {})
    with Crowd(spec, chosen, device, visible) as crowd:

        def rate(count: int) -> float | None:
            if crowd.memory and count * (crowd.memory + CONTEXT) > free:
                return None
            return crowd.rate(count)

        return Sharing(chosen, names, climb(rate, most))
