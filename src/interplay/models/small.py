"""Networks small enough for a study in minutes on a CPU. Initialisation is PyTorch's default for each layer."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from interplay.spec import RunSpec


class SmallCNN(nn.Module):
    """Three 3x3 convolutions (16, 32, 64 channels; stride 1, 2, 2) with batch norm and ReLU, average pool, linear.

    Every convolution is followed by batch norm, so its weights are scale-invariant: weight decay acts on it only
    through the effective learning rate, as in the networks of the full programme.
    """

    def __init__(self, classes: int, channels: int = 3) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 16, 3, 1, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, 2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 64, 3, 2, padding=1, bias=False), nn.BatchNorm2d(64)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, channels, H, W] to logits [b, classes]."""
        out = functional.relu(self.bn1(self.conv1(x)))
        out = functional.relu(self.bn2(self.conv2(out)))
        out = functional.relu(self.bn3(self.conv3(out)))
        return self.linear(out.mean(dim=(2, 3)))  # type: ignore[no-any-return]


class MLP(nn.Module):
    """Two hidden layers of 128 ReLU units, without normalisation: here weight decay shrinks the function itself."""

    def __init__(self, classes: int, inputs: int, hidden: int = 128) -> None:
        super().__init__()
        self.layer1 = nn.Linear(inputs, hidden)
        self.layer2 = nn.Linear(hidden, hidden)
        self.linear = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [b, ...] of ``inputs`` numbers in all to logits [b, classes]."""
        out = functional.relu(self.layer1(x.flatten(1)))
        out = functional.relu(self.layer2(out))
        return self.linear(out)  # type: ignore[no-any-return]


def build_cnn(spec: RunSpec, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """``cnn`` for images of ``shape`` (C, H, W)."""
    return SmallCNN(classes, shape[0])


def build_mlp(spec: RunSpec, classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """``mlp`` for images of ``shape`` (C, H, W)."""
    return MLP(classes, math.prod(shape))
