"""The documented import: ``from utils import load_checkpoint``."""

from interplay.train.checkpoint import load_checkpoint

__all__ = ["load_checkpoint"]
