"""Do captured steps, compiled ones and runs on streams compute what the plain loop computes? Losses step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from unittest.mock import patch

import torch
from gpu import made
from torch import Tensor

from interplay.data.splits import Splits
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack.captured import side_by_side
from interplay.stack.step import Networks
from interplay.train import loop
from interplay.train.events import BatchSeen, Event
from session_parts.book import Options, Sections, Session

FIRST = 10
"""Steps of which the largest difference is told besides: later ones differ by what rounding has grown to."""

STREAMS = 3

Losses = list[list[float]]
"""Of each run, of each step."""


def sections(session: Session, options: Options) -> Sections:
    """A section for each network, precision and way."""
    steps, size = (6, 16) if options.tiny else (60, 128)
    # A moderate rate: at higher ones rounding grows so fast that the plain loop soon differs from itself.
    base = RunSpec(dataset="cifar100", batch_size=size, epochs=1, lr=0.01, train_limit=steps * size)
    found: dict[str, Callable[[], None]] = {}
    for model in ("resnet8_s2",) if options.tiny else ("resnet8_s2", "resnet18"):
        for precision in ("fp32", "bf16"):
            compared = Compared(session, base.replace(model=model, precision=precision), options.place)
            for way in ("again", "captured", "compiled", "streams"):
                found[f"{model} {precision} {way}"] = partial(compared.section, way)
    return found


class Compared:
    """The losses of one kind of run, by several ways, beside those of the plain loop.

    Args:
        session: where the tables go.
        spec: the run; those beside it differ by their seed.
        device: where all of them train.
    """

    def __init__(self, session: Session, spec: RunSpec, device: str) -> None:
        self._session, self._device = session, device
        self._specs = [spec.replace(seed=spec.seed + place) for place in range(STREAMS)]

    @cache  # noqa: B019 - there are four of them, for as long as the process lives
    def _splits(self) -> Splits:
        spec = self._specs[0]
        assert spec.train_limit is not None
        return random_splits(spec, spec.train_limit, 64, self._device)

    @cache  # noqa: B019
    def _plain(self, place: int) -> list[float]:
        return plain_losses(self._specs[place], self._splits())

    def section(self, way: str) -> None:
        """Train by ``way`` and tell the largest relative difference to the plain loop."""
        specs = self._specs if way == "streams" else self._specs[:1]
        expected = [self._plain(place) for place in range(len(specs))]
        if way == "again":  # how far the plain loop is from itself: what no other way can be held to
            found = [plain_losses(specs[0], self._splits())]
        else:
            found = losses_side_by_side(specs, self._splits(), compiled=way == "compiled")
        first, all_steps = (largest_difference(expected, found, count) for count in (FIRST, None))
        self._session.keep(plain=expected, found=found, first=first, all=all_steps)
        self._session.table(
            f"{specs[0].model} {specs[0].precision}, {way}: largest relative difference of the loss to the plain loop",
            ["runs", f"first {FIRST} steps", f"all {len(found[0])}", "last loss", "plain"],
            [[len(specs), f"{first:.1e}", f"{all_steps:.1e}", f"{found[0][-1]:.5f}", f"{expected[0][-1]:.5f}"]],
        )


def plain_losses(spec: RunSpec, splits: Splits) -> list[float]:
    """The loss of each batch in the plain loop, which is made to tell of every one."""
    losses: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, BatchSeen) and event.batch_loss is not None:
            losses.append(event.batch_loss)

    with patch.object(loop, "LOOK_EVERY", 1):
        loop.train(spec, splits, emit=emit)
    return losses


def losses_side_by_side(specs: list[RunSpec], splits: Splits, *, compiled: bool) -> Losses:
    """The loss of each batch of captured steps, of all runs at once on a stream each; read when all are through."""
    networks = [made([spec], splits, lane) for lane, spec in enumerate(specs)]
    kept: list[list[Tensor]] = [[] for _ in specs]

    def steps(each: Networks, losses: list[Tensor]) -> Iterator[None]:
        for _ in each.train_epoch([1]):
            losses.append(each._last_loss.clone())  # on the device: `last` would make the streams wait for the host
            yield

    try:
        for each, spec in zip(networks, specs, strict=True):
            if compiled:
                each.compile(spec)
        side_by_side([steps(each, losses) for each, losses in zip(networks, kept, strict=True)], splits.device)
        return [(torch.cat(losses) / specs[0].batch_size).tolist() for losses in kept]
    finally:
        for each in networks:
            each.close()


def largest_difference(expected: Losses, found: Losses, steps: int | None) -> float:
    """The largest relative difference of a loss, over all runs and the first ``steps`` steps."""
    pairs = (
        pair for one, other in zip(expected, found, strict=True) for pair in list(zip(one, other, strict=True))[:steps]
    )
    return max(abs(b - a) / abs(a) for a, b in pairs)
