"""What an error of a run says of the device, and where it happened."""

from __future__ import annotations

from typing import Any

import torch

from interplay.executors.outcomes import End
from interplay.train.environment import environment


def device_trouble(error: Exception) -> End | None:
    """What an error says of the GPU: out of memory, broken, or nothing. Libraries report both in several ways."""
    text = str(error)
    if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text:
        return End.OUT_OF_MEMORY
    return End.DEVICE if isinstance(error, RuntimeError) and "CUDA error" in text else None


def where(device: torch.device, path: str) -> dict[str, Any]:
    """The environment of an attempt that failed."""
    try:
        return environment(device, path)
    except Exception:  # a GPU that cannot even be asked its name must not hide why the run failed
        return {"device": str(device)}
