"""Images a second by way of training, evaluation, the start, and where the time of a captured step goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import gpu
import textbook
from common import in_turn

from interplay.data.splits import Splits
from interplay.spec import RunSpec
from interplay.speed.measure import ProbeWorkers
from interplay.speed.rates import Way
from session_parts.book import Options, Sections, Session

SWITCHES = (
    *(Way("fused"), Way("fused", autotune="cudnn")),
    *(Way("compiled"), Way("compiled", autotune="cudnn"), Way("compiled", autotune="inductor")),
)
"""Captured and compiled steps, and the same with a longer search of cuDNN or of Inductor."""


def sections(session: Session, options: Options) -> Sections:
    """For each size ``ways`` and ``evaluation``; ``start`` and ``profile`` at the first one."""
    bench = Bench(session, options)
    found: dict[str, Callable[[], None]] = {}
    for size in bench.scale.sizes:
        found[f"ways B={size}"] = partial(bench.ways, size)
    for size in bench.scale.sizes:
        found[f"evaluation B={size}"] = partial(bench.evaluation, size)
    return found | {"start": bench.start, "profile": bench.profile, "switches": bench.switches}


class Bench:
    """What the sections share: data, scale and spec."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session, self._options = session, options
        self.scale = gpu.TINY if options.tiny else replace(gpu.FULL, sizes=options.sizes)

    @cache  # noqa: B019 - there is one
    def _data(self) -> tuple[Splits, Splits]:
        return gpu.data(self._options.device, self.scale)

    @cache  # noqa: B019
    def _per_image(self) -> tuple[float, float]:
        """The measured peak (operations a second), and the operations of a training image."""
        most = gpu.peak(self._options.device, self.scale.square)
        operations = gpu.operations_per_image(gpu.measured_spec(self._options.device, self.scale))
        self._session.say(f"matmul peak {most / 1e12:.2f} TFLOP/s; {operations / 1e9:.2f} GFLOP a training image")
        return most, operations

    def _spec(self, size: int) -> RunSpec:
        return gpu.measured_spec(self._options.device, self.scale).replace(batch_size=size)

    def ways(self, size: int) -> None:
        """Images a second of each way, in turns, after every round the medians so far."""
        most, operations = self._per_image()
        self._session.keep(peak=most, operations_per_image=operations, textbook_by_pil=textbook.HAS_PIL)
        if not textbook.HAS_PIL:
            self._session.say("the textbook loop crops and mirrors with numpy: PIL is not here")
        ways = gpu.ways_of(self._spec(size), *self._data(), self.scale, compiled=True)
        # The fast ones first: one round of all of them may take longer than there is.
        guarded = {name: self._told(name, self._session.guarded(name, ways[name])) for name in reversed(ways)}
        rounds: list[dict[str, float]] = []
        for _ in range(self._options.repeats):
            rounds.append(in_turn(guarded, 1))
            known = {name: sorted(each[name] for each in rounds)[len(rounds) // 2] for name in ways}
            self._session.keep(rounds=[{name: f"{rate:.1f}" for name, rate in each.items()} for each in rounds])
            self._session.table(
                f"{self.scale.model} at B = {size}: images per second (share of the peak)",
                ["rounds", *ways],
                [[len(rounds), *(f"{rate:,.0f} ({100 * rate * operations / most:.0f} %)" for rate in known.values())]],
            )
            if self._session.left() <= 0:
                break

    def _told(self, name: str, way: Callable[[], float]) -> Callable[[], float]:
        """``way``, which is kept as soon as it is known."""

        def tell() -> float:
            began = time.monotonic()
            rate = way()
            taken = time.monotonic() - began
            self._session.say(f"{name}: {rate:,.0f} images/s; {taken:.1f} s with its start")
            self._session.keep(**{f"{name}_now": round(rate, 1), f"{name}_seconds": round(taken, 1)})
            return rate

        return tell

    def evaluation(self, size: int) -> None:
        """Seconds of a captured look at the test images."""
        seconds = gpu.evaluation(self._spec(size), self._data()[1])
        rate = self.scale.tested / seconds
        self._session.table(
            f"evaluation at B = {size}", ["", "s", "images/s"], [["", f"{seconds:.3f}", f"{rate:,.0f}"]]
        )

    def start(self) -> None:
        """Seconds until the first epoch has ended, and memory."""
        size, rows = self.scale.sizes[0], []
        for name in ("captured", "compiled"):
            words = gpu.start_words(self._spec(size), self._data()[1], compiled=name == "compiled")
            rows.append([name, *words])
            self._session.table(f"start at B = {size}", ["", "until the first epoch, s", "memory, MiB"], rows)

    def switches(self) -> None:
        """What longer searches of the libraries are worth, in turns: each in a process, as a probe measures them.

        cuDNN keeps in a process what it has found there first.
        """
        size, rounds = self.scale.sizes[0], []
        with contextlib.ExitStack() as processes:
            guarded: dict[str, Callable[[], float]] = {}
            for way in SWITCHES:
                workers = processes.enter_context(
                    gpu.probe_workers(self._spec(size), self._options.device, way, self.scale)
                )
                guarded[str(way)] = self._session.guarded(str(way), partial(self._measured, str(way), workers))
            for _ in range(self._options.repeats):
                rounds.append(in_turn(guarded, 1))
                rates = [f"{sorted(each[name] for each in rounds)[len(rounds) // 2]:,.0f}" for name in guarded]
                self._session.table(
                    f"switches at B = {size}: images per second", ["rounds", *guarded], [[len(rounds), *rates]]
                )
                if self._session.left() <= 0:
                    break

    def _measured(self, name: str, workers: ProbeWorkers) -> float:
        """Images a second of a process, which is started where it is not there; its memory is noted."""
        began = time.monotonic()
        rate = workers.rate(1, self.scale.window)
        if rate is None:
            raise RuntimeError(f"{name} does not train: {workers.error}")
        taken, memory = time.monotonic() - began, workers.memory / 2**20
        self._session.keep(**{f"{name}, MiB": round(memory)})
        self._session.say(f"{name}: {rate:,.0f} images/s; {taken:.1f} s with its start; {memory:,.0f} MiB reserved")
        return rate

    def profile(self) -> None:
        """Kernels of a captured step by their time."""
        size = self.scale.sizes[0]
        for compiled in (False, True):
            steps = min(20, self.scale.images // size)
            gpu.profiled(self._session, self._spec(size), self._data()[1], steps, compiled=compiled)
