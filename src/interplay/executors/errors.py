"""What an error of a run says of the device, and where it happened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from interplay.executors.outcomes import End
from interplay.train.environment import environment

MEMORY = ("out of memory", "ALLOC_FAILED", "CUBLAS_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED")
"""How libraries say that memory did not suffice; a handle that cannot be made is the same."""

BROKEN = (
    "CUDA error",
    "CUDA driver error",
    "CUDNN_STATUS_EXECUTION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
    "Triton Error [CUDA]",
    "NCCL error",
)
"""How they say that a kernel, and with it the context of the process, is broken."""


def device_trouble(error: BaseException) -> End | None:
    """What an error, or one that it came from, says of the GPU: no memory, a failed capture, broken, or nothing."""
    errors = list(chain(error))
    texts = [str(each) for each in errors if isinstance(each, RuntimeError)]
    if any(isinstance(each, torch.cuda.OutOfMemoryError) for each in errors):
        return End.OUT_OF_MEMORY
    if any(words in text for text in texts for words in MEMORY):
        return End.OUT_OF_MEMORY
    if any("captur" in text.lower() and "cuda" in text.lower() for text in texts):
        return End.CAPTURE
    return End.DEVICE if any(words in text for text in texts for words in BROKEN) else None


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or in the handling of."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def where(device: torch.device, path: str) -> dict[str, Any]:
    """The environment of an attempt that failed."""
    try:
        return environment(device, path)
    except Exception:  # a GPU that cannot even be asked its name must not hide why the run failed
        return {"device": str(device)}
