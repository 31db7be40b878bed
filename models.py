"""The documented import: ``from models import resnet18``."""

from interplay.models.hypernet import hypernetize
from interplay.models.resnet import cifar_resnet, resnet18, wide_resnet
from interplay.models.small import MLP, SmallCNN

__all__ = ["MLP", "SmallCNN", "cifar_resnet", "hypernetize", "resnet18", "wide_resnet"]
