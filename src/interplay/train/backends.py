"""Switches of a GPU's libraries that hold for a whole process: set while a run trains, and set back after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from interplay.train.names import Autotune

_TF32 = ((torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32"))


@contextlib.contextmanager
def set_for(device: torch.device, autotune: Autotune = "none") -> Iterator[None]:
    """On a GPU cuDNN tries its algorithms, and fp32 means fp32; elsewhere nothing is touched.

    TF32 keeps 10 bits of the mantissa, no more than the half precision that it would stand in for. Of its algorithms
    cuDNN tries ten for each shape, or all with ``autotune``. What it has found for a shape a process keeps, whatever
    the limit is later: two limits can be compared in two processes only.
    """
    if device.type != "cuda":
        yield
        return
    new: list[tuple[Any, str, object]] = [(torch.backends.cudnn, "benchmark", True), *_tf32()]
    if autotune in ("cudnn", "both"):
        new.append((torch.backends.cudnn, "benchmark_limit", 0))
    old = [(where, name, getattr(where, name)) for where, name, _ in new]
    try:
        for where, name, value in new:
            setattr(where, name, value)
        yield
    finally:
        for where, name, value in old:
            setattr(where, name, value)


def _tf32() -> list[tuple[Any, str, object]]:
    """What keeps TF32 out. From torch 2.9 on there are two kinds of switches, and an error where both are used."""
    try:
        for where, name in _TF32:
            getattr(where, name)
    except RuntimeError:  # somebody has used the newer ones
        kinds: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)  # type: ignore[attr-defined]
        return [(where, "fp32_precision", "ieee") for where in kinds]
    return [(where, name, False) for where, name in _TF32]
