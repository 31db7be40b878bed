"""Switches of a GPU's libraries. They can be set without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from interplay.train.backends import set_for

GPU = torch.device("cuda", 0)


def precisions() -> tuple[Any, ...]:
    """Of matrix products, convolutions and recurrent layers, as the newer switches tell it; the older say less."""
    return tuple(
        each.fp32_precision  # type: ignore[attr-defined]
        for each in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    )


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Each test leaves what it found."""
    old = torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    (torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) = old


@pytest.mark.parametrize("tf32", [True, False])
def test_fp32_means_fp32_for_as_long_as_a_run_trains(tf32: bool) -> None:
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32

    def fails() -> None:
        assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        raise KeyError

    with pytest.raises(KeyError), set_for(GPU):
        fails()
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch has the older switches alone")
def test_who_used_the_newer_switches_finds_them_as_they_were() -> None:
    old = precisions()
    try:
        for each in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
            each.fp32_precision = "tf32"  # type: ignore[attr-defined]
        with set_for(GPU):
            assert precisions() == ("ieee", "ieee", "ieee")
        assert precisions() == ("tf32", "tf32", "tf32")
    finally:
        for each, value in zip(
            (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn), old, strict=True
        ):
            each.fp32_precision = value  # type: ignore[attr-defined]


def test_a_cpu_has_no_switches() -> None:
    torch.backends.cudnn.benchmark = False
    with set_for(torch.device("cpu")):
        assert not torch.backends.cudnn.benchmark
