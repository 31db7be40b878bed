"""Residual networks for 32x32 images: ResNet-18 with a CIFAR stem, the 6n+2 family of the original paper, wide ones.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", arXiv 1512.03385 (section 4.2 for the CIFAR
family). Initialisation is PyTorch's default for each layer, except where a function says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from interplay.spec import RunSpec


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class PadShortcut(nn.Module):
    """The paper's parameter-free shortcut (option A): every ``stride``-th pixel, new channels filled with zeros."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, H, W] to [b, outputs, H/stride, W/stride]."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, projection: bool, shortcut_norm: bool = True) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _conv(outputs, outputs), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            if projection:
                self.shortcut = _conv(inputs, outputs, stride, kernel=1)
                if shortcut_norm:
                    self.shortcut = nn.Sequential(self.shortcut, nn.BatchNorm2d(outputs))
            else:
                self.shortcut = PadShortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[b, inputs, H, W] to [b, outputs, H/stride, W/stride]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return functional.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """3x3 stem without max-pooling, stages of basic blocks, average pool, linear.

    Args:
        classes: outputs of the linear layer.
        widths: channels of each stage.
        blocks: basic blocks of each stage. Every stage after the first begins with stride 2.
        channels: channels of the images.
        projection: 1x1 convolutions where a block changes its shape, else zero padding.
        shortcut_norm: batch norm behind those convolutions (ResNet-18).
        stem: channels of the stem; by default those of the first stage.
        stem_stride: of the stem; 2 gives every layer behind it a quarter of the pixels.
    """

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        channels: int = 3,
        *,
        projection: bool,
        shortcut_norm: bool = True,
        stem: int | None = None,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        inputs = widths[0] if stem is None else stem
        self.conv1, self.bn1 = _conv(channels, inputs, stem_stride), nn.BatchNorm2d(inputs)
        stages: list[nn.Module] = []
        for stage, (width, depth) in enumerate(zip(widths, blocks, strict=True)):
            layers: list[nn.Module] = []
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(BasicBlock(inputs, width, stride, projection=projection, shortcut_norm=shortcut_norm))
                inputs = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, channels, H, W] to logits [b, classes]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = self.stages(out)
        return self.linear(out.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def resnet18(num_classes: int = 100, channels: int = 3) -> ResNet:
    """ResNet-18 for 32x32 images: 11,220,132 parameters at 100 classes."""
    return ResNet(num_classes, (64, 128, 256, 512), (2, 2, 2, 2), channels, projection=True)


def cifar_resnet(depth: int, num_classes: int = 10, channels: int = 3, stem_stride: int = 1) -> ResNet:
    """ResNet of depth 6n+2 with 16, 32 and 64 channels; 269,722 parameters at depth 20 and 10 classes.

    A stem of stride 2 is not the paper's: a quarter of the work, for studies that must fit a CPU.

    Raises:
        ValueError: the depth is not 6n+2.
    """
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"a CIFAR ResNet has depth 6n+2 (8, 14, 20, ...), not {depth}")
    return ResNet(num_classes, (16, 32, 64), (n, n, n), channels, projection=False, stem_stride=stem_stride)


def wide_resnet(num_classes: int = 10, channels: int = 3, widening: int = 1, blocks_per_stage: int = 6) -> ResNet:
    """The primary network of the hypernetworks, with weights of its own: 563,930 parameters at widening 1, 10 classes.

    A stem of 16 channels, three stages of 16, 32 and 64 channels times ``widening``, 1x1 convolutions without batch
    norm where a block changes its shape: depth 6 ``blocks_per_stage`` + 4 if those count, 40 by default. Sizes of
    Zagoruyko, Komodakis, arXiv 1605.07146, with batch norm behind the convolutions.

    The 3x3 kernels of the blocks start normal with standard deviation sqrt(2/fan_in) (He et al., arXiv 1502.01852), as
    the generated ones do; everything else has PyTorch's default.
    """
    widths = tuple(widening * width for width in (16, 32, 64))
    model = ResNet(
        num_classes, widths, (blocks_per_stage,) * 3, channels, projection=True, shortcut_norm=False, stem=16
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if is_block_kernel(name, weight):
                weight.normal_(0.0, math.sqrt(2 / weight[0].numel()))
    return model


def is_block_kernel(name: str, weight: Tensor) -> bool:
    """Whether a parameter of a `ResNet` is a 3x3 kernel of one of its blocks."""
    return name.startswith("stages.") and weight.dim() == 4 and weight.shape[-1] == 3


# -- by the names of specs --------------------------------------------------------------------------------------------

Shape = tuple[int, int, int]


def build_resnet18(spec: RunSpec, classes: int, shape: Shape) -> nn.Module:
    """``resnet18`` for images of ``shape`` (C, H, W), as all below."""
    return resnet18(classes, shape[0])


def build_resnet8(spec: RunSpec, classes: int, shape: Shape) -> nn.Module:
    """``resnet8``."""
    return cifar_resnet(8, classes, shape[0])


def build_resnet8_s2(spec: RunSpec, classes: int, shape: Shape) -> nn.Module:
    """``resnet8_s2``: the first convolution takes every second pixel."""
    return cifar_resnet(8, classes, shape[0], stem_stride=2)


def build_resnet20(spec: RunSpec, classes: int, shape: Shape) -> nn.Module:
    """``resnet20``."""
    return cifar_resnet(20, classes, shape[0])


def build_wide_resnet(spec: RunSpec, classes: int, shape: Shape) -> ResNet:
    """``wide_resnet``."""
    return wide_resnet(classes, shape[0], spec.widening, spec.blocks_per_stage)
