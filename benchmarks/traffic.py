"""Bytes that one step of ResNet-18 moves, and the kernels it takes: ``python benchmarks/traffic.py``.

A model, not a measurement: every operation reads its inputs from memory and writes its outputs to it once; batch
normalisation reads its input twice, and the gradient of a convolution reads for weights and for inputs. Caches are left
out. Nothing is computed: the tensors have shapes and no content. What is chosen by the kind of device is chosen as on a
GPU. At 3.35 TB/s (an H100) a GB takes 0.3 ms.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import torch
from common import Report
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from interplay.data import batches
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack.captured import as_it_stands
from interplay.stack.optimizer import StackedAdam, StackedSGD
from interplay.stack.step import Networks

PARTS = {
    "convolution": "convolutions",
    "batch_norm": "batch norms",
    "threshold": "ReLU",
    "relu": "ReLU",
    "_fused": "update",
    "_foreach": "update",
    "_to_copy": "copies to another type",
}
"""Parts of a step, by what the names of their operations have in them; the rest is the rest."""


class Traffic(TorchDispatchMode):
    """Adds up bytes and kernels by part while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.moved: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch for each operation."""
        found = func(*args, **(kwargs or {}))
        ins, outs = tensors((args, kwargs)), tensors(found)
        name = str(func._schema.name).partition("::")[2]
        mutable = bool(func._schema.is_mutable)
        # Views, and what only allocates or asks, take no kernel; a query has no tensor among its results.
        if not mutable and (places(outs) <= places(ins) or "empty" in name):
            return found
        part = next((part for words, part in PARTS.items() if words in name), "the rest")
        self.moved[part] += moved(name, args, ins, outs, mutable=mutable)
        self.kernels[part] += 1
        return found


def tensors(values: object) -> list[Tensor]:
    """All tensors in nested arguments."""
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def places(values: Sequence[Tensor]) -> set[int]:
    """Where their memory is."""
    return {each.untyped_storage()._cdata for each in values}


def size(tensor: Tensor) -> int:
    """Bytes of a tensor in memory: an axis that is repeated is there once."""
    count = tensor.element_size()
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= length if stride else 1
    return count


def moved(name: str, args: Sequence[Any], ins: list[Tensor], outs: list[Tensor], *, mutable: bool) -> int:
    """Bytes that one operation reads and writes."""
    read, written = sum(map(size, ins)), sum(map(size, outs))
    if "batch_norm_backward" in name:
        return 2 * (size(ins[0]) + size(ins[1])) + size(outs[0])
    if "batch_norm" in name:
        return 2 * size(ins[0]) + size(outs[0])
    if "convolution_backward" in name:
        gradient, images, weights = ins[:3]
        for_images = size(gradient) + size(weights) + size(images) if args[-1][0] else 0
        return for_images + size(gradient) + size(images) + size(weights)
    if name == "index":  # of the pool only what is taken
        return 2 * written
    if mutable:
        changed = tensors((args[0], args[2:5])) if name.startswith("_fused") else tensors(args[0])
        return read + (0 if name in ("copy_", "zero_") else sum(map(size, changed)))
    return read + written


def step(batch: int, model: str = "resnet18", **knobs: Any) -> Traffic:
    """What one step of one network in bf16 moves, the second one, after whatever the first one makes."""

    @torch.no_grad()
    def together(self: Any, closure: None = None) -> None:
        for group in self.param_groups:
            self.update_together(group)

    def stay(module: nn.Module, *words: object, **more: object) -> nn.Module:
        return module  # tensors without content cannot be put anywhere

    def numbers(self: Any, group: dict[str, Any], *names: str) -> dict[str, float]:
        return dict.fromkeys(names, 0.5)  # nothing can be read from tensors without content

    spec = RunSpec(dataset="cifar100", model=model, batch_size=batch, precision="bf16").replace(**knobs)
    with ExitStack() as patches:
        for optimizer in (StackedSGD, StackedAdam):
            patches.enter_context(mock.patch.object(optimizer, "step", together))
            patches.enter_context(mock.patch.object(optimizer, "_numbers", numbers))
        patches.enter_context(mock.patch.object(batches, "mirror_counted", batches.mirror))
        patches.enter_context(mock.patch.object(nn.Module, "to", stay))
        patches.enter_context(FakeTensorMode())
        networks = Networks([spec], [random_splits(spec, batch, 4, "cpu")], as_it_stands)
        networks.stack.train()
        index, corners = torch.zeros(batch, dtype=torch.int64), torch.zeros(batch, 2, dtype=torch.int64)
        flips, rates = torch.zeros(batch, dtype=torch.bool), torch.zeros(1)
        networks._train(index, corners, flips, rates)
        with Traffic() as found:
            networks._train(index, corners, flips, rates)
    return found


def main() -> None:
    """Count, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 512], help="of batches")
    parser.add_argument("--no_keep", action="store_true", help="print only")
    args = parser.parse_args()
    report = Report("traffic")
    for batch in args.sizes:
        found = step(batch)
        rows = [
            [part, f"{found.moved[part] / 1e6:,.0f}", f"{found.kernels[part]:,}"]
            for part, _ in found.moved.most_common()
        ]
        rows.append(["whole", f"{sum(found.moved.values()) / 1e6:,.0f}", f"{sum(found.kernels.values()):,}"])
        report.table(f"a captured step of ResNet-18 in bf16, B = {batch}", ["", "MB", "operations"], rows)
    if not args.no_keep:
        report.save()


if __name__ == "__main__":
    main()
