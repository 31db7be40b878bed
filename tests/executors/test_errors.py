"""What errors of a GPU mean, as the libraries word them."""

from __future__ import annotations

import pytest
import torch

from interplay.executors.errors import device_trouble
from interplay.executors.outcomes import End


class AcceleratorError(RuntimeError):
    """As torch has it from 2.8 on."""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("CUDA error: operation failed due to a previous error during capture", End.CAPTURE),
        ("CUDA error: operation not permitted when stream is capturing", End.CAPTURE),
        ("CUDA error: an illegal memory access was encountered", End.DEVICE),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", End.DEVICE),
        ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR", End.DEVICE),
        ("CUDA driver error: device not ready", End.DEVICE),
        ("Triton Error [CUDA]: an illegal memory access was encountered", End.DEVICE),
        ("NCCL error in: ProcessGroupNCCL.cpp, unhandled cuda error", End.DEVICE),
        ("Triton Error [CUDA]: out of memory", End.OUT_OF_MEMORY),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", End.OUT_OF_MEMORY),
        ("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`", End.OUT_OF_MEMORY),
        ("GET was unable to find an engine to execute this computation", None),
        ("mat1 and mat2 shapes cannot be multiplied", None),
    ],
)
def test_each_library_is_understood(text: str, end: End | None) -> None:
    assert device_trouble(AcceleratorError(text)) is end
    assert device_trouble(ValueError(text)) is None


def test_what_an_error_came_from_counts_too() -> None:
    def wrapped(cause: Exception) -> Exception:
        try:
            try:
                raise cause
            except Exception:
                raise KeyError("while cleaning up")  # noqa: B904
        except KeyError as error:
            return error

    assert device_trouble(wrapped(torch.cuda.OutOfMemoryError("tried to allocate 2 GiB"))) is End.OUT_OF_MEMORY
    assert device_trouble(wrapped(RuntimeError("CUDA error: unspecified launch failure"))) is End.DEVICE
    assert device_trouble(wrapped(RuntimeError("CUDA out of memory"))) is End.OUT_OF_MEMORY
    looped = RuntimeError("shape")
    looped.__cause__ = looped
    assert device_trouble(looped) is None
