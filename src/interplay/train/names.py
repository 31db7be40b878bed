"""Words that the command line offers, kept apart so that it need not import torch."""

from __future__ import annotations

from typing import Literal

InstrumentName = Literal["weight_norm", "gradient_norm", "angle", "hessian", "kernel_norm"]

StackPath = Literal["fused", "compiled", "streams", "compiled_streams"]
"""How several runs of a kind train in one process."""

SIDE_BY_SIDE = ("streams", "compiled_streams")
"""Paths on which each of them has steps of its own; on a GPU they share all of it."""

PathName = Literal["auto", "single", "fused", "compiled", "streams", "compiled_streams"]
