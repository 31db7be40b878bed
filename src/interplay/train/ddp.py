"""One run on several devices: each process takes a share of every batch, and all see the same network.

The numbers are those of one process with the whole batch, up to rounding: gradients are weighted by the images behind
them (the last batch may not divide evenly), and batch normalisation uses the statistics of the whole batch.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from interplay.data.splits import Split
from interplay.errors import InterplayError, SpecError


@dataclass(frozen=True)
class Group:
    """The processes that train one run together; this one is ``rank`` of ``world``."""

    rank: int = 0
    world: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """The part of ``count`` images that this process takes: every ``world``-th."""
        return slice(self.rank, count, self.world)

    def split(self, whole: Split) -> Split:
        """This process's share of a split."""
        part = self.share(len(whole))
        return whole if self.world == 1 else Split(whole.images[part], whole.labels[part])

    def check(self, images: int, batch_size: int) -> None:
        """Raise `SpecError` where a batch has no image for some process."""
        smallest = images % batch_size or batch_size
        if smallest < self.world:
            raise SpecError(
                f"the last batch of an epoch has {smallest} images for {self.world} processes: "
                "choose another batch_size, or fewer processes"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """``model`` for training: its gradients become the mean over the processes."""
        if self.world == 1:
            return model
        device = next(model.parameters()).device
        ids = [device.index] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids)

    def weighted(self, loss: Tensor, own: int, whole: int) -> Tensor:
        """The mean loss of ``own`` images as this process's part of the mean over ``whole``, for `wrap` to average."""
        return loss if self.world == 1 else loss * (own * self.world / whole)

    def total(self, *values: Tensor) -> list[float]:
        """Sums over the processes, on the host."""
        stacked = torch.stack([value.double() for value in values])
        if self.world > 1:
            dist.all_reduce(stacked)
        return [float(value) for value in stacked.tolist()]

    def same(self, value: Any) -> Any:
        """The first process's ``value``, in all of them."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says so: all must act alike."""
        if self.world == 1:
            return flag
        said = torch.tensor(float(flag), device=device)
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said.item())

    @contextmanager
    def together(self, device: torch.device) -> Iterator[None]:
        """Let what one process raises in this context end the run in all of them: none is left waiting for it.

        Raises:
            OthersFailedError: in the processes in which nothing was raised.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as raised:
            error = raised
        others = self.any(error is not None, device)
        if error is not None:
            raise error
        if others:
            raise OthersFailedError("another process of this run has stopped; its message says why")


class OthersFailedError(InterplayError):
    """A process that trains the same run has raised an error."""


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """The group that ``torchrun`` has started this process in, or this process alone."""
    if "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    # Before the group exists: its functions take the group of the moment as a default argument and keep it alive, and
    # with it the threads of gloo. Those were seen to abort a process that was already ending (torch 2.13: "terminate
    # called without an active exception"), which takes the whole run with it. DistributedDataParallel imports this.
    importlib.import_module("torch.distributed.nn.functional")
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Group(dist.get_rank(), dist.get_world_size())
        # Together: nobody takes connections down while another process still writes.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def share_statistics(model: nn.Module, group: Group) -> nn.Module:
    """``model`` with batch normalisation over the batches of all processes; names of parameters stay as they are.

    On GPUs this is torch's `SyncBatchNorm`, which exists for them only; elsewhere `SharedBatchNorm`.
    """
    if group.world == 1:
        return model
    if next(model.parameters()).device.type == "cuda":
        synchronised: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return synchronised
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                setattr(module, name, SharedBatchNorm.of(child))
    return model


class _Sum(torch.autograd.Function):
    """The sum over all processes; each process's gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation [n, C, ...] with the mean and variance of the batches of all processes together."""

    @classmethod
    def of(cls, plain: _BatchNorm) -> SharedBatchNorm:
        """The same layer with its weights and running statistics; raises `SpecError` for one that lacks either."""
        if plain.momentum is None or not (plain.affine and plain.track_running_stats):
            raise SpecError(
                "several processes share the statistics of a batch norm with weights, and with running statistics that "
                "have a momentum"
            )
        made = cls(plain.num_features, plain.eps, plain.momentum)
        made.weight, made.bias = plain.weight, plain.bias
        made.running_mean, made.running_var = plain.running_mean, plain.running_var
        made.num_batches_tracked = plain.num_batches_tracked
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalised images; running statistics move as those of one process would."""
        if not self.training:
            return super().forward(input)
        size = torch.full((1,), input.numel() / input.shape[1], device=input.device)
        others = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        sums = _Sum.apply(torch.cat([input.sum(others), size]))  # type: ignore[no-untyped-call]
        count = float(sums[-1].item())
        mean = sums[:-1] / count
        centred = input - mean.view(shape)
        variance = _Sum.apply((centred**2).sum(others)) / count  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            rate = self.momentum or 0.0
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(variance * count / (count - 1), rate)
            self.num_batches_tracked += 1
        scaled = centred * torch.rsqrt(variance + self.eps).view(shape)
        shifted: Tensor = scaled * self.weight.view(shape) + self.bias.view(shape)
        return shifted
