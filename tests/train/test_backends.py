"""Switches of a GPU's libraries. They can be set without one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from interplay.data.splits import Splits
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack import train as stacked
from interplay.stack.train import train_stack
from interplay.train import backends, loop
from interplay.train.backends import set_for
from interplay.train.loop import train
from interplay.train.names import Autotune, possible

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


# -- longer searches ---------------------------------------------------------------------------------------------------


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of algorithms that cuDNN tries where nobody says otherwise; a build without CUDA has none."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark_limit", 10)
    return 10


@pytest.mark.parametrize("autotune", ["cudnn", "both"])
def test_cudnn_tries_all_its_algorithms_for_as_long_as_a_run_trains(limit: int, autotune: Autotune) -> None:
    def fails() -> None:
        assert torch.backends.cudnn.benchmark_limit == 0
        raise KeyError

    with pytest.raises(KeyError), set_for(GPU, autotune):
        fails()
    assert torch.backends.cudnn.benchmark_limit == limit
    for other in ("none", "inductor"):
        with set_for(GPU, other):
            assert torch.backends.cudnn.benchmark_limit == limit
    with set_for(torch.device("cpu"), autotune):
        assert torch.backends.cudnn.benchmark_limit == limit


def test_as_much_is_searched_as_there_is_to_search() -> None:
    assert [possible("both", path, "cuda") for path in ("single", "streams", "compiled")] == ["cudnn", "cudnn", "both"]
    assert [possible("both", path, "cpu") for path in ("fused", "compiled_streams")] == ["none", "inductor"]
    assert possible("inductor", "fused", "cuda") == possible("none", "compiled", "cuda") == "none"


SPEC = RunSpec(dataset="digits", model="cnn", batch_size=16, lr=0.01, precision="fp32", epochs=2, train_limit=32)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Splits:
    """Some, on a device that passes for a GPU as far as the switches go."""
    set_for = backends.set_for
    monkeypatch.setattr(backends, "set_for", lambda device, *words: set_for(GPU, *words))
    for module in (loop, stacked):
        monkeypatch.setattr(module, "possible", lambda autotune, path, device: possible(autotune, path, "cuda"))
    return random_splits(SPEC, 32, 8, "cpu")


@pytest.mark.parametrize("path", ["single", "fused", "streams"])
def test_a_worker_sets_the_limit_for_one_kind_of_run_and_has_its_own_for_the_next(
    limit: int, data: Splits, path: str
) -> None:
    seen: list[int] = []

    def look(event: object) -> None:
        seen.append(torch.backends.cudnn.benchmark_limit)

    def trained(autotune: Autotune, emit: Any = look) -> dict[str, Any]:
        seen.clear()
        if path == "single":
            return train(SPEC, data, emit=emit, autotune=autotune).environment
        (record,) = train_stack([SPEC], [data], emit=emit, path=path, autotune=autotune)  # type: ignore[arg-type]
        assert record is not None
        return record.environment

    def fails(event: object) -> None:
        look(event)
        raise RuntimeError("CUDA out of memory")

    assert trained("both")["autotune"] == "cudnn"  # nothing is compiled on these paths
    assert set(seen) == {0}
    assert "autotune" not in trained("none")
    assert set(seen) == {limit}
    with pytest.raises(RuntimeError, match="out of memory"):
        trained("cudnn", fails)
    assert set(seen) == {0}
    assert torch.backends.cudnn.benchmark_limit == limit
