"""K small networks of one architecture as one network K times wider, each with weights of its own.

Activations of all networks lie side by side in the channels, network after network: [b, K C, H, W]. Convolutions take
groups=K, batch norm runs over K C channels, linear layers are one batched product. No operation mixes two networks, so
each computes what it computes alone, up to the rounding of another kernel.

Every parameter and buffer of the stack has K as its first axis and the name that it has in one network.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from interplay.models.resnet import PadShortcut


class StackedConv2d(nn.Module):
    """K convolutions side by side. ``weight`` is [K, outputs, inputs, h, w]."""

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        first = layers[0]
        if isinstance(first.padding, str) or first.padding_mode != "zeros":
            raise ValueError("a stacked convolution pads with a number of zeros")
        self.stride, self.padding, self.dilation = first.stride, first.padding, first.dilation
        self.groups = first.groups * len(layers)
        together = _together([layer.weight for layer in layers])
        # In memory with the inputs last, as the images that they meet: no step has to turn them round.
        self.weight = nn.Parameter(together.detach().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3))
        self.bias = _optional([layer.bias for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        """[b, K inputs, H, W] to [b, K outputs, H', W']."""
        weight = _beside(self.weight)
        bias = None if self.bias is None else _beside(self.bias)
        return functional.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class StackedBatchNorm2d(nn.Module):
    """K batch norms side by side; statistics are per channel, so the networks stay apart.

    The `Stack` counts the batches that they have seen, those of all layers at once.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm2d]) -> None:
        super().__init__()
        first = layers[0]
        if first.momentum is None or not (first.affine and first.track_running_stats):
            raise ValueError("a stacked batch norm has weights, and running statistics with a momentum")
        self.momentum, self.eps = first.momentum, first.eps
        self.weight = _together([layer.weight for layer in layers])
        self.bias = _together([layer.bias for layer in layers])
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([getattr(layer, name) for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """[b, K C, H, W] to the same."""
        mean, var = self.running_mean.view(-1), self.running_var.view(-1)
        return functional.batch_norm(
            x, mean, var, _beside(self.weight), _beside(self.bias), self.training, self.momentum, self.eps
        )


class StackedLinear(nn.Module):
    """K linear layers as one batched product. ``weight`` is [K, outputs, inputs]."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = _together([layer.weight for layer in layers])
        self.bias = _optional([layer.bias for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        """[b, K inputs] as convolutions leave it, or [K, inputs, b] as this layer does, to [K, outputs, b].

        With the images last the gradient of the weights comes out in their own order, and needs no copy.
        """
        if x.dim() == 2:
            x = x.view(len(x), len(self.weight), -1).permute(1, 2, 0)
        return torch.bmm(self.weight, x) if self.bias is None else torch.baddbmm(self.bias[:, :, None], self.weight, x)


class StackedPadShortcut(nn.Module):
    """K parameter-free shortcuts: zero channels are added around those of each network."""

    def __init__(self, layers: Sequence[PadShortcut]) -> None:
        super().__init__()
        self.count, self.shortcut = len(layers), layers[0]

    def forward(self, x: Tensor) -> Tensor:
        """[b, K inputs, H, W] to [b, K outputs, H/stride, W/stride]."""
        b, channels, height, width = x.shape
        each = self.shortcut(x.reshape(b * self.count, channels // self.count, height, width))
        return each.reshape(b, -1, *each.shape[2:])  # type: ignore[no-any-return]


class Stack(nn.Module):
    """K networks of one architecture, trained at once.

    Args:
        models: the networks, each with its own initial weights, which are copied.

    Raises:
        ValueError: they differ in architecture, or have a layer that cannot be stacked.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        shapes = [[(name, value.shape) for name, value in model.state_dict().items()] for model in models]
        if any(other != shapes[0] for other in shapes):
            raise ValueError("networks of a stack have one architecture")
        self.count = len(models)
        self.net = _stacked(models)
        self.convolutional = any(isinstance(module, StackedConv2d) for module in self.net.modules())
        self._normed = [module for module in self.net.modules() if isinstance(module, StackedBatchNorm2d)]

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, K C, H, W] to logits [K, b, classes]."""
        if self.training and self._normed:  # a kernel for all layers
            torch._foreach_add_([module.num_batches_tracked for module in self._normed], 1)
        out: Tensor = self.net(x)
        return out.transpose(1, 2)

    def arranged(self, images: Tensor) -> Tensor:
        """Images [b K, C, H, W], the K networks' next to each other, as ``forward`` takes them.

        In the memory layout that is fastest: with the channels last for convolutions, plain for linear layers.
        """
        side_by_side = images.view(-1, self.count * images.shape[1], *images.shape[2:])
        return side_by_side.contiguous(memory_format=torch.channels_last) if self.convolutional else side_by_side

    def weights_of(self, index: int) -> dict[str, Tensor]:
        """A copy of the state of one network, under the names that it has alone."""
        return {name: value[index].clone() for name, value in self.net.state_dict().items()}

    @torch.no_grad()
    def set_weights(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Give one network the state that it had alone; raises `ValueError` if that is of another architecture."""
        own = self.net.state_dict()
        if own.keys() != state.keys():
            raise ValueError("the weights are those of a network with other layers")
        for name, value in own.items():
            value[index].copy_(state[name])

    @torch.no_grad()
    def silence(self, index: int) -> None:
        """Set everything of one network to zero, so that nothing it computes from now on is not finite."""
        for value in self.net.state_dict().values():
            value[index].zero_()


_BY_COPY = (nn.Sequential, nn.Identity)
"""Modules without numbers of their own that work on a stack as they are."""


def _stacked(models: Sequence[nn.Module]) -> nn.Module:
    first = models[0]
    if isinstance(first, nn.Conv2d):
        return StackedConv2d([model for model in models if isinstance(model, nn.Conv2d)])
    if isinstance(first, nn.BatchNorm2d):
        return StackedBatchNorm2d([model for model in models if isinstance(model, nn.BatchNorm2d)])
    if isinstance(first, nn.Linear):
        return StackedLinear([model for model in models if isinstance(model, nn.Linear)])
    if isinstance(first, PadShortcut):
        return StackedPadShortcut([model for model in models if isinstance(model, PadShortcut)])
    if next(first.parameters(recurse=False), None) is not None:
        raise ValueError(f"{type(first).__name__} has weights of its own and no stacked form")
    if next(first.children(), None) is None and not isinstance(first, _BY_COPY):
        raise ValueError(f"{type(first).__name__} has no stacked form")
    # The forward pass of a block or of a network only joins its layers: it is the same on K times the channels.
    whole = copy.copy(first)
    whole._modules = {
        name: _stacked([model.get_submodule(name) for model in models]) for name, _ in first.named_children()
    }
    return whole


def _together(values: Sequence[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([value.detach() for value in values]))


def _optional(values: Sequence[Tensor | None]) -> nn.Parameter | None:
    there = [value for value in values if value is not None]
    return _together(there) if there else None


def _beside(value: Tensor) -> Tensor:
    return value.flatten(0, 1)
