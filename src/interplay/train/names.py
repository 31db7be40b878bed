"""Words that the command line offers, kept apart so that it need not import torch."""

from __future__ import annotations

from typing import Literal

InstrumentName = Literal["weight_norm", "gradient_norm", "angle", "hessian", "kernel_norm"]

StackPath = Literal["fused", "compiled", "streams", "compiled_streams"]
"""How several runs of a kind train in one process."""

SIDE_BY_SIDE = ("streams", "compiled_streams")
"""Paths on which each of them has steps of its own; on a GPU they share all of it."""

COMPILED = ("compiled", "compiled_streams")
"""Paths with the forward and backward pass through Inductor."""

PathName = Literal["auto", "single", "fused", "compiled", "streams", "compiled_streams"]

Autotune = Literal["none", "cudnn", "inductor", "both"]
"""Which library searches longer for fast kernels than it does by default: cuDNN among all its algorithms of a
convolution, Inductor in its mode ``max-autotune-no-cudagraphs``.
"""

AutotuneName = Literal["auto", "none", "cudnn", "inductor", "both"]


def possible(autotune: Autotune, path: Literal["single"] | StackPath, device: str) -> Autotune:
    """As much of ``autotune`` as there is to do: cuDNN is for GPUs, Inductor for the paths that compile."""
    cudnn = autotune in ("cudnn", "both") and device != "cpu"
    inductor = autotune in ("inductor", "both") and path in COMPILED
    if cudnn and inductor:
        return "both"
    return "cudnn" if cudnn else "inductor" if inductor else "none"
