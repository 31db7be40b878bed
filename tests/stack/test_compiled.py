"""Compiled stacks compile, whatever was trained before them. The compiler is spared: what it is given is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit

from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack import compiled
from interplay.stack.train import train_stack
from interplay.train.names import StackPath

SIZES = (16, 24, 32, 40, 48, 56, 64, 72, 96, 104)
"""Of batches: more kinds of runs than torch keeps compiled forms of one piece of code."""


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of inputs of each graph that would have been compiled."""
    found: list[int] = []
    compile = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        found.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda model, **words: compile(model, backend=backend, **words))
    torch.compiler.reset()
    compiled._kinds.clear()
    yield found
    torch.compiler.reset()
    compiled._kinds.clear()


def run(batch: int, **knobs: Any) -> RunSpec:
    return RunSpec(
        dataset="cifar100", model="cnn", batch_size=batch, lr=0.01, precision="fp32", epochs=1, train_limit=2 * batch
    ).replace(**knobs)


def trained(specs: list[RunSpec], path: StackPath = "compiled") -> list[RunRecord | None]:
    splits = random_splits(specs[0], 2 * specs[0].batch_size, 8, "cpu")
    return train_stack(specs, [splits] * len(specs), path=path)


def test_the_tenth_kind_of_run_is_compiled_as_the_first(graphs: list[int]) -> None:
    for number, size in enumerate(SIZES, start=1):
        trained([run(size)])
        assert len(graphs) == number


def test_the_same_kind_is_compiled_once(graphs: list[int]) -> None:
    trained([run(16)])
    trained([run(16, lr=0.02, seed=7)])
    assert len(graphs) == 1
    trained([run(16), run(16, seed=3)])  # two in one
    assert len(graphs) == 2


def test_runs_on_streams_share_what_was_compiled_once_and_each_computes_what_it_computes_alone(
    graphs: list[int],
) -> None:
    specs = [run(16, lr=lr, seed=seed) for lr, seed in ((0.01, 1), (0.02, 2), (0.03, 3))]
    together = trained(specs, "compiled_streams")
    assert len(graphs) == 1
    for spec, record in zip(specs, together, strict=True):
        (alone,) = trained([spec])
        assert record is not None
        assert alone is not None
        assert record.environment["path"] == "compiled_streams"
        assert [m.train_loss for m in record.history] == [m.train_loss for m in alone.history]
    assert len(graphs) == 1


def test_what_cannot_be_compiled_is_an_error_and_not_slow_in_silence(
    graphs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    for size in SIZES[:8]:
        trained([run(size)])
    with pytest.raises(FailOnRecompileLimitHit):
        trained([run(SIZES[8])])
    assert len(graphs) == 8


def test_inductor_searches_longer_for_the_runs_that_ask_for_it_and_for_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    modes: list[str | None] = []
    forgotten: list[int] = []

    def compile(model: torch.nn.Module, *, mode: str | None, **words: Any) -> torch.nn.Module:
        modes.append(mode)
        return model

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "reset", lambda: forgotten.append(1))
    monkeypatch.setattr(compiled, "_kinds", [])
    splits = random_splits(run(16), 32, 8, "cpu")
    noted = []
    for path, autotune in (("compiled", "none"), ("compiled_streams", "both"), ("compiled", "none"), ("fused", "both")):
        (record,) = train_stack([run(16)], [splits], path=path, autotune=autotune)  # type: ignore[arg-type]
        assert record is not None
        noted.append((record.environment["path"], record.environment.get("autotune")))
    # cuDNN has no part on a CPU, nor Inductor where nothing is compiled.
    assert noted == [("compiled", None), ("compiled_streams", "inductor"), ("compiled", None), ("fused", None)]
    assert modes == [None, "max-autotune-no-cudagraphs", None]
    assert len(forgotten) == 3  # what was compiled in the other mode serves neither
