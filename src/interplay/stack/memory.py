"""How many networks of a stack fit into memory, and what is given back between kinds of runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from interplay.models.build import build
from interplay.spec import RunSpec

_last: list[str] = []
"""What the runs had in common that this process trained last."""


def make_room(kind: str, device: str) -> None:
    """Give back what torch keeps on a GPU for the shapes of runs of another ``kind``, which fit none of this one."""
    if _last not in ([], [kind]) and device.startswith("cuda"):
        torch.cuda.empty_cache()
    _last[:] = [kind]


@torch.no_grad()
def bytes_per_network(spec: RunSpec, shape: tuple[int, int, int], classes: int) -> int:
    """Memory that one more network of a stack takes while it trains, without what libraries take besides.

    Weights, gradient and two optimiser states in float32, and of every activation the output of each layer, once
    forward, once as gradient and once for what is between layers (ReLU, sums), in float32.
    """
    network = build(spec, shape, classes).eval()
    weights = sum(parameter.numel() for parameter in network.parameters())
    outputs = 0

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        nonlocal outputs
        outputs += output.numel()

    for module in network.modules():
        if next(module.children(), None) is None:
            module.register_forward_hook(count)
    network(torch.zeros(1, *shape))
    return 4 * (4 * weights + 3 * outputs * spec.batch_size)


def fitting(spec: RunSpec, shape: tuple[int, int, int], classes: int, free: int) -> int:
    """How many networks of a stack fit into half of ``free`` bytes, at least one."""
    return max(1, free // 2 // bytes_per_network(spec, shape, classes))
