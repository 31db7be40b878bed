"""The forward pass of a stack through Inductor, which joins small operations into larger kernels."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor, nn

MAX_AUTOTUNE = "max-autotune-no-cudagraphs"
"""The mode in which Inductor times several kernels for each operation: without graphs of its own, since the whole step
is captured.
"""

_kinds: list[Hashable] = []
"""What has been compiled since torch was last told to forget."""


def compiled_form(stack: nn.Module, kind: Hashable, mode: str | None = None) -> Callable[[Tensor], Tensor]:
    """``stack``, compiled when it is first called; an error where it cannot be, never the slow form in its place.

    torch keeps a limited number of forms of one piece of code (8 by default), and beyond them goes on uncompiled
    without a word. So what was compiled for another kind is forgotten; the results on disk stay, and so does what is
    kept for the same kind.

    Args:
        stack: the networks.
        kind: what decides the shapes that it will see, but for a short last batch.
        mode: of `torch.compile`.
    """
    if (kind, mode) not in _kinds:
        torch.compiler.reset()
        _kinds[:] = [(kind, mode)]
    return torch.compile(stack, dynamic=False, fullgraph=True, mode=mode)
