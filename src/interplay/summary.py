"""Runs in words: their settings in a line."""

from __future__ import annotations

from interplay.trial import Spec, Trial


def describe(spec: Spec) -> str:
    """The knobs that studies vary, in one line."""
    if isinstance(spec, Trial):
        return f"{spec.trainer.name}: {spec.words}"
    return (
        f"{spec.model} on {spec.dataset}, {spec.method}, lr {spec.lr:g}, weight decay {spec.weight_decay:g}, "
        f"momentum {spec.momentum:g}, batch {spec.batch_size}, {spec.epochs} epochs, {spec.schedule}, seed {spec.seed}"
    )


def setting(spec: Spec) -> str:
    """The same, shorter, for a line among many of one study."""
    if isinstance(spec, Trial):
        return spec.words
    return (
        f"{spec.method} lr {spec.lr:g} wd {spec.weight_decay:g} mom {spec.momentum:g} bs {spec.batch_size} "
        f"epochs {spec.epochs} seed {spec.seed}"
    )
