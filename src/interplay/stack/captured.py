"""One whole training step as one CUDA graph: gather, crop, flip, forward, backward and update without the host.

A graph repeats the same kernels on the same addresses. So all that differs from step to step - which images, which
crops, the learning rate - is read from tensors in fixed places, which are overwritten before each replay. Steps of
different sizes need a graph each: one for the batch size, one for the short last batch.

Where there is no CUDA device the very same step runs as it stands, with its inputs in the same fixed places. Only
`CudaGraphs` itself needs a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

Body = Callable[[], None]
"""Work without arguments and results: it reads and writes tensors in fixed places."""

Recorder = Callable[[Body], Body]
"""Turns a body into one that does the same, faster. It may run the body while it records."""

REHEARSALS = 3
"""Runs of a body before it is captured: libraries choose their kernels and take their workspace in the first ones."""


class Step:
    """Work that is repeated with other numbers in the same places.

    Args:
        body: the work; its arguments are tensors whose values it must not keep.
        state: all tensors that the work changes. Recording may run the work, which must leave no trace in them.
        recorder: by default `recorder_for` the device of the state.
    """

    def __init__(self, body: Callable[..., None], state: Sequence[Tensor], recorder: Recorder | None = None) -> None:
        self._body, self._state = body, list(state)
        self._recorder = recorder or recorder_for(self._state[0].device)
        self._ready: dict[tuple[torch.Size, ...], tuple[list[Tensor], Body]] = {}

    @property
    def graphs(self) -> int:
        """How many sizes have been recorded."""
        return len(self._ready)

    def close(self) -> None:
        """Let go of the work, of what was recorded and of all tensors; the step can be used no more.

        The work is as a rule a method of whoever owns the step: a circle, which would keep the memory of a graph until
        some later collection of garbage, in the middle of another capture for all one knows.
        """
        self._ready.clear()
        self._state.clear()
        self._body = _closed

    def __call__(self, *inputs: Tensor) -> None:
        """Do the work on ``inputs``, with a graph for their sizes, recorded when those are first seen."""
        sizes = tuple(value.shape for value in inputs)
        if sizes not in self._ready:
            places = [value.clone() for value in inputs]
            self._ready[sizes] = places, self._record(places)
        places, work = self._ready[sizes]
        for place, value in zip(places, inputs, strict=True):
            place.copy_(value)
        work()

    @torch.no_grad()
    def _record(self, places: Sequence[Tensor]) -> Body:
        before = [value.clone() for value in self._state]

        def body() -> None:
            with torch.enable_grad():
                self._body(*places)

        work = self._recorder(body)
        for value, old in zip(self._state, before, strict=True):
            value.copy_(old)
        return work


def _closed(*inputs: Tensor) -> None:
    raise RuntimeError("this step has been closed")


def as_it_stands(body: Body) -> Body:
    """The recorder of a device without graphs."""
    return body


class CudaGraphs:
    """Records CUDA graphs; those of one step share their memory, since only one of them runs at a time.

    Args:
        device: the GPU.
        lane: graphs that are replayed side by side have a lane each. Rehearsals and captures of a lane have one stream
            in a process: libraries keep a workspace for every stream that they have seen, of 32 MiB on an H100, and
            never give it back; and two graphs that run at once must not share one.
    """

    def __init__(self, device: torch.device, lane: int = 0) -> None:
        self._device, self._lane = device, lane
        self._pool: Any = None

    def __call__(self, body: Body) -> Body:
        """Rehearse ``body`` on the stream of its own, capture it there, and return its replay."""
        with torch.cuda.device(self._device):  # the streams below are those of the current device
            here = torch.cuda.current_stream()
            aside = _aside(torch.cuda.current_device(), self._lane)
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                for _ in range(REHEARSALS):
                    body()
            here.wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, stream=aside):
                body()
            self._pool = self._pool or graph.pool()
        return graph.replay


@cache
def _aside(device: int, lane: int) -> torch.cuda.Stream:
    """The stream on which a lane of a GPU is captured."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def recorder_for(device: torch.device, lane: int = 0) -> Recorder:
    """CUDA graphs on a GPU, the work as it stands elsewhere."""
    return CudaGraphs(device, lane) if device.type == "cuda" else as_it_stands


def side_by_side(runs: Sequence[Iterable[None]], device: torch.device) -> None:
    """Drive several runs at once, a step of each in turn, on a GPU each on a stream of its own.

    Replays return before they are done, so one host thread keeps k streams busy.

    Args:
        runs: each does one step whenever it is asked for its next item.
        device: where they run.
    """
    streams: list[torch.cuda.Stream | None] = [None] * len(runs)
    if device.type == "cuda":
        streams = [torch.cuda.Stream(device) for _ in runs]  # type: ignore[no-untyped-call]
    for stream in streams:
        if stream is not None:  # weights and data were made on the stream that is current here
            stream.wait_stream(torch.cuda.current_stream(device))
    left: list[tuple[Iterator[None], torch.cuda.Stream | None]] = [
        (iter(run), stream) for run, stream in zip(runs, streams, strict=True)
    ]
    while left:
        left = [(run, stream) for run, stream in left if _one_step(run, stream)]
    for stream in streams:
        if stream is not None:  # what is read after this call has been computed
            torch.cuda.current_stream(device).wait_stream(stream)


def _one_step(run: Iterator[None], stream: torch.cuda.Stream | None) -> bool:
    with torch.cuda.stream(stream):  # of None: nothing changes
        return next(run, _END) is not _END


_END = object()
