"""Several runs at once on one GPU: on streams of one process, in processes, and as stacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from statistics import median
from typing import Literal

import gpu

from interplay.data.splits import Splits
from interplay.spec import RunSpec
from interplay.speed.rates import Way, few
from session_parts.book import Options, Sections, Session

IMAGES = 12_800
"""Of an epoch: enough steps, and eight runs of two epochs in seconds."""


def sections(session: Session, options: Options) -> Sections:
    """For each size streams, processes and stacks of captured steps, then streams and processes of compiled ones."""
    packing = Packing(session, options)
    found: dict[str, Callable[[], None]] = {}
    for size in packing.scale.sizes:
        found[f"streams captured B={size}"] = partial(packing.here, "streams", size, compiled=False)
        found[f"processes captured B={size}"] = partial(packing.processes, size, "fused")
        found[f"stack captured B={size}"] = partial(packing.here, "stack", size, compiled=False)
        found[f"streams compiled B={size}"] = partial(packing.here, "streams", size, compiled=True)
        found[f"processes compiled B={size}"] = partial(packing.processes, size, "compiled")
    return found


class Packing:
    """What the sections share: data and scale."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session, self._options = session, options
        full = replace(gpu.FULL, sizes=options.sizes, images=IMAGES, tested=64, at_once=options.at_once, window=1.0)
        self.scale = replace(gpu.TINY, sizes=(16,), images=64) if options.tiny else full

    @cache  # noqa: B019 - there is one
    def _splits(self) -> Splits:
        return gpu.data(self._options.device, self.scale)[1]

    def _spec(self, size: int) -> RunSpec:
        return gpu.measured_spec(self._options.device, self.scale).replace(batch_size=size)

    def here(self, kind: str, size: int, *, compiled: bool) -> None:
        """k runs in this process; after every round the medians so far. No round that would not end in time begins."""
        rounds: list[dict[int, float]] = []
        longest = 0.0
        while len(rounds) < self._options.repeats and longest <= self._session.left():
            began = time.monotonic()
            rounds.append(gpu.here_at_once(kind, self._spec(size), self._splits(), self.scale, 1, compiled=compiled))
            longest = max(longest, time.monotonic() - began)
            known = {k: median(each[k] for each in rounds if k in each) for k in rounds[0]}
            self._tell(kind, "compiled" if compiled else "captured", size, known, len(rounds))

    def processes(self, size: int, path: Literal["fused", "compiled"]) -> None:
        """k processes, which the GPU serves in turns: no MPS is started.

        Raises:
            RuntimeError: not even one trains.
        """
        known, error = gpu.processes_at_once(self._spec(size), self._options.device, Way(path), self.scale)
        if not known:
            raise RuntimeError(f"no process trains: {error}")
        self._session.keep(error=error)
        self._tell("processes", "compiled" if path == "compiled" else "captured", size, known, 1)

    def _tell(self, kind: str, way: str, size: int, known: dict[int, float], rounds: int) -> None:
        self._session.keep(rates={str(k): round(rate, 1) for k, rate in known.items()}, rounds=rounds)
        self._session.table(
            f"k = 1, 2, ... by {kind}, {way}, B = {size}: images per second of all together",
            ["", *(str(k) for k in known), "choose"],
            [[kind, *(f"{rate:,.0f}" for rate in known.values()), few(known)]],
        )
