from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from interplay.models.build import build
from interplay.spec import RunSpec
from interplay.stack.networks import Stack

NETWORKS: list[tuple[dict[str, Any], tuple[int, int, int]]] = [
    ({"model": "mlp"}, (1, 8, 8)),
    ({"model": "cnn"}, (3, 16, 16)),
    ({"model": "resnet8"}, (3, 16, 16)),
    ({"model": "resnet8_s2"}, (3, 16, 16)),
    ({"model": "resnet18"}, (3, 8, 8)),
    ({"model": "wide_resnet", "blocks_per_stage": 1}, (3, 8, 8)),
]


def networks(knobs: dict[str, Any], shape: tuple[int, int, int]) -> list[nn.Module]:
    count = 2 if knobs["model"] == "resnet18" else 3  # of eleven million parameters each
    return [build(RunSpec(**knobs, seed=seed), shape, 10).double() for seed in range(count)]


@pytest.mark.parametrize(("knobs", "shape"), NETWORKS, ids=[str(k["model"]) for k, _ in NETWORKS])
def test_each_network_of_a_stack_computes_what_it_computes_alone(
    knobs: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    """In double precision, so that only an error of the transformation can show: logits, gradients, statistics."""
    alone = networks(knobs, shape)
    stack = Stack(alone)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(6, len(alone), *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 10, (len(alone), 6), generator=generator)
    for training in (True, False):
        stack.train(training)
        logits = stack(stack.arranged(images.flatten(0, 1)))
        own = torch.stack([network.train(training)(images[:, i]) for i, network in enumerate(alone)])
        torch.testing.assert_close(logits, own)
    stack.train()
    loss = functional.cross_entropy(stack(stack.arranged(images.flatten(0, 1))).flatten(0, 1), labels.flatten())
    (len(alone) * loss).backward()
    for place, network in enumerate(alone):
        functional.cross_entropy(network.train()(images[:, place]), labels[place]).backward()
        for one, many in zip(network.parameters(), stack.parameters(), strict=True):
            torch.testing.assert_close(many.grad[place], one.grad, rtol=1e-6, atol=1e-12)
        state = network.state_dict()
        assert stack.weights_of(place).keys() == state.keys()
        for name, value in stack.weights_of(place).items():
            torch.testing.assert_close(value, state[name])


def test_a_network_that_is_not_finite_leaves_the_others_alone() -> None:
    for knobs, shape in NETWORKS[:3]:
        alone = networks(knobs, shape)
        images = torch.randn(18, *shape, dtype=torch.float64)
        logits, gradients = [], []
        for broken in (False, True):
            stack = Stack(alone)
            if broken:
                with torch.no_grad():
                    for parameter in stack.parameters():
                        parameter[1] = torch.nan
            out = stack(stack.arranged(images))
            out.square().sum().backward()
            logits.append(out.detach())
            gradients.append([p.grad for p in stack.parameters() if p.grad is not None])
        assert logits[1][1].isnan().all()
        assert torch.equal(logits[0][[0, 2]], logits[1][[0, 2]])
        assert all(torch.equal(a[[0, 2]], b[[0, 2]]) for a, b in zip(*gradients, strict=True))
        stack.silence(1)
        assert stack(stack.arranged(images)).isfinite().all()


def test_one_network_can_be_set_and_read() -> None:
    knobs, shape = NETWORKS[1]
    alone = networks(knobs, shape)
    stack, other = Stack(alone), build(RunSpec(**knobs, seed=9), shape, 10).double()
    stack.set_weights(1, other.state_dict())
    for place, network in enumerate([alone[0], other, alone[2]]):
        state = network.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in stack.weights_of(place).items())
    with pytest.raises(ValueError, match="other layers"):
        stack.set_weights(1, build(RunSpec(model="mlp"), (1, 8, 8), 10).state_dict())


def test_what_cannot_be_stacked_is_refused() -> None:
    hyper = [build(RunSpec(model="hyper_resnet", blocks_per_stage=1, seed=s), (3, 8, 8), 10) for s in (0, 1)]
    with pytest.raises(ValueError, match="no stacked form"):
        Stack(hyper)
    with pytest.raises(ValueError, match="one architecture"):
        Stack([build(RunSpec(model=model), (3, 8, 8), 10) for model in ("mlp", "cnn")])
    with pytest.raises(ValueError, match="Dropout has no stacked form"):
        Stack([nn.Sequential(nn.Dropout())] * 2)
