"""CUDA graphs on a CPU: what a capture sees, what it forbids, and what a replay does.

A graph is the list of kernels that ran while it was captured, with the addresses that they had. So the emulator notes
every operation of a body with its tensors, and repeats exactly those on exactly those; Python does not run again.
Memory that was allocated while capturing belongs to the graph, and another graph may use it between two replays: it is
filled with NaN before each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from interplay.stack.captured import REHEARSALS, Body

WAITS = {"_local_scalar_dense", "nonzero", "item", "is_nonzero", "equal", "masked_select", "_unique2", "unique_dim"}
"""Operations whose result the host needs: a capture ends with an error."""

DRAWS = {"bernoulli", "bernoulli_", "rand", "randn", "randint", "randperm", "normal_", "uniform_", "native_dropout"}
"""Operations that draw: every replay would draw the same."""


class ForbiddenError(Exception):
    """Something that may not happen while a GPU captures."""


def name_of(operation: Any) -> str:
    """``add_`` of ``aten::add_``."""
    return str(operation._schema.name).partition("::")[2]


def tensors(values: object) -> list[Tensor]:
    """All tensors in nested arguments."""
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def place(tensor: Tensor) -> int:
    """Where the memory of a tensor is."""
    return tensor.untyped_storage().data_ptr()


class Capture(TorchDispatchMode):
    """Notes operations while it is entered, and refuses what a capture refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Sequence[Any], Mapping[str, Any], list[Tensor]]] = []
        self.own: dict[int, Tensor] = {}
        """Memory that was allocated meanwhile, by its place, as bytes."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each operation."""
        kwargs = kwargs or {}
        if name_of(func) in WAITS | DRAWS:
            raise ForbiddenError(f"{func} within a captured step")
        before = {place(each) for each in tensors((args, kwargs))}
        found = func(*args, **kwargs)
        for each in tensors(found):
            if place(each) not in before | self.own.keys():
                storage = each.untyped_storage()
                self.own[place(each)] = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.operations.append((func, args, kwargs, tensors(found)))
        return found


class Graphs:
    """A recorder, as `captured.CudaGraphs`."""

    def __init__(self) -> None:
        self.captures: list[Capture] = []
        self.replays = 0

    def __call__(self, body: Body) -> Body:
        """Rehearse and capture ``body``; returns its replay."""
        for _ in range(REHEARSALS):
            body()
        capture = Capture()
        with capture:
            body()
        self.captures.append(capture)
        return lambda: self._replay(capture)

    @torch.no_grad()
    def _replay(self, capture: Capture) -> None:
        self.replays += 1
        for memory in capture.own.values():
            memory.fill_(0xFF)  # NaN in every kind of float, -1 in integers
        for func, args, kwargs, results in capture.operations:
            if "empty" in name_of(func):  # no kernel
                continue
            again = tensors(func(*args, **kwargs))
            for old, new in zip(results, again, strict=True):
                if place(old) != place(new):
                    old.copy_(new)


def census(work: Callable[[], object]) -> Counter[str]:
    """How often each operation occurs in ``work``."""
    with Capture() as capture:
        work()
    return Counter(name_of(func) for func, *_ in capture.operations)
