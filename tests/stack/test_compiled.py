"""Compiled stacks compile, whatever was trained before them. The compiler is spared: what it is given is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.exc import FailOnRecompileLimitHit

from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack import compiled
from interplay.stack.train import train_stack

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


def trained(specs: list[RunSpec]) -> None:
    splits = random_splits(specs[0], 2 * specs[0].batch_size, 8, "cpu")
    train_stack(specs, [splits] * len(specs), path="compiled")


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


def test_what_cannot_be_compiled_is_an_error_and_not_slow_in_silence(
    graphs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    for size in SIZES[:8]:
        trained([run(size)])
    with pytest.raises(FailOnRecompileLimitHit):
        trained([run(SIZES[8])])
    assert len(graphs) == 8
