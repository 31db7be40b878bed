"""Several runs side by side in one process, each with steps of its own: on a GPU a captured graph and a stream each.

A graph returns to the host before it is done, so one host thread keeps K streams busy, and small steps fill a GPU
together that one of them leaves half empty. No kernel is shared, as it is in a stack: each run computes what it
computes alone, bit for bit.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.data.splits import Split, Splits
from interplay.spec import RunSpec
from interplay.stack.captured import Recorder, recorder_for
from interplay.stack.step import Networks, Sums


class Lanes:
    """K runs with the interface of `step.Networks`, in which each is a network of its own."""

    def __init__(
        self,
        specs: Sequence[RunSpec],
        splits: Sequence[Splits],
        recorder: Recorder | None = None,
        instruments: Sequence[str] = (),
    ) -> None:
        self.device = splits[0].device
        self._each = [
            Networks([spec], [own], recorder or recorder_for(self.device, lane), instruments)
            for lane, (spec, own) in enumerate(zip(specs, splits, strict=True))
        ]
        on_gpu = self.device.type == "cuda"
        self._streams: list[torch.cuda.Stream | None] = [
            torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]
            for _ in specs
        ]

    @property
    def on(self) -> list[bool]:
        """Whether each run still trains."""
        return [each.on[0] for each in self._each]

    @property
    def outline(self) -> nn.Module:
        """Of one network; its weights mean nothing."""
        return self._each[0].outline

    @property
    def steps(self) -> int:
        """Steps per epoch, the same for all."""
        return self._each[0].steps

    def compile(self, kind: Hashable, *, autotune: bool = False) -> None:
        """See `Networks.compile`: compiled once for all."""
        for each in self._each:
            each.compile(kind, autotune=autotune)

    def close(self) -> None:
        """See `Networks.close`."""
        self._join()
        for each in self._each:
            each.close()

    def train_epoch(self, epochs: Sequence[int]) -> Iterator[int]:
        """See `Networks.train_epoch`: a step of each run in turn."""
        self._fork()
        left = [iter(each.train_epoch([epoch])) for each, epoch in zip(self._each, epochs, strict=True)]
        for _ in range(self.steps):
            number = 0
            for run, stream in zip(left, self._streams, strict=True):
                with torch.cuda.stream(stream):  # of None: nothing changes
                    number = next(run)
            yield number

    def _fork(self) -> None:
        """What comes on the streams waits for what was done on the current one: weights, data, a network silenced."""
        for stream in self._streams:
            if stream is not None:
                stream.wait_stream(torch.cuda.current_stream(self.device))

    def _join(self) -> None:
        """What comes on the current stream waits for those of the runs."""
        for stream in self._streams:
            if stream is not None:
                torch.cuda.current_stream(self.device).wait_stream(stream)

    def sums(self) -> Sums:
        """See `Networks.sums`."""
        self._join()
        return _beside([each.sums() for each in self._each])

    def last(self) -> Sums:
        """See `Networks.last`."""
        self._join()
        return _beside([each.last() for each in self._each])

    def measured(self, place: int) -> dict[str, float]:
        """See `Networks.measured`."""
        self._join()
        return self._each[place].measured(0)

    def rate(self, place: int, step: int) -> float:
        """See `Networks.rate`."""
        return self._each[place].rate(0, step)

    def silence(self, place: int) -> None:
        """See `Networks.silence`."""
        self._join()
        self._each[place].silence(0)
        self._fork()

    def evaluate(self, splits: Sequence[Split]) -> Sums:
        """See `Networks.evaluate`."""
        self._fork()
        for each, split, stream in zip(self._each, splits, self._streams, strict=True):
            with torch.cuda.stream(stream):
                each.look([split])
        return self.sums()

    def alone(self, place: int) -> tuple[dict[str, Tensor], Optimizer]:
        """See `Networks.alone`."""
        self._join()
        return self._each[place].alone(0)

    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """See `Networks.restore`."""
        self._each[place].restore(0, state)


def _beside(sums: Sequence[Sums]) -> Sums:
    """Sums of single networks as those of several."""
    return Sums([each.losses[0] for each in sums], [each.correct[0] for each in sums], sums[0].seen)
