"""The residual networks of pytorchcv for CIFAR, for images of any size. Needs ``pip install pytorchcv``."""

from pytorchcv.models.resnet_cifar import get_resnet_cifar
from torch import nn


def resnet(num_classes, in_channels, blocks=20):
    """That of ``blocks`` layers: 8, 14, 20, 26 ..."""
    network = get_resnet_cifar(num_classes, blocks, bottleneck=False, in_channels=in_channels)
    network.features.final_pool = nn.AdaptiveAvgPool2d(1)  # theirs is made for the 32x32 pixels of CIFAR
    return network
