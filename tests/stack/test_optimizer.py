from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interplay.models.build import build
from interplay.optim import sgd
from interplay.spec import RunSpec
from interplay.stack.networks import Stack
from interplay.stack.optimizer import StackedAdam, StackedSGD, build_stack

SETTINGS = [(0.1, 0.9, 1e-2), (0.01, 0.0, 0.0), (0.3, 0.5, 1e-1)]


def specs(knobs: dict[str, Any]) -> list[RunSpec]:
    base = RunSpec(dataset="digits", model="cnn", precision="fp32", **knobs)
    return [base.replace(lr=lr, momentum=mu, weight_decay=wd, seed=i) for i, (lr, mu, wd) in enumerate(SETTINGS)]


@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize(
    "knobs",
    [
        {"optimizer": "sgd"},
        {"optimizer": "sgdw"},
        {"optimizer": "sgds"},
        {"optimizer": "adam", "beta2": 0.9},
        {"optimizer": "adamw"},
    ],
    ids=lambda knobs: str(knobs["optimizer"]),
)
def test_each_network_takes_the_steps_that_its_own_optimiser_takes(knobs: dict[str, Any], decay_on: str) -> None:
    compare(specs({**knobs, "decay_on": decay_on}))


@pytest.mark.parametrize("optimizer", ["sgd", "sgdw", "sgds"])
def test_nesterov_too(optimizer: str) -> None:
    base = RunSpec(dataset="digits", model="cnn", precision="fp32", optimizer=optimizer, nesterov=True)
    compare([base.replace(lr=lr, momentum=mu or 0.3, weight_decay=wd) for lr, mu, wd in SETTINGS])


def compare(runs: list[RunSpec]) -> None:
    """Five steps with the same gradients and a falling rate."""
    alone = [build(spec, (1, 8, 8), 10) for spec in runs]
    stack = Stack(alone)
    single = [sgd.build(spec, network) for spec, network in zip(runs, alone, strict=True)]
    many = build_stack(runs, stack)
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        for stacked, *own in zip(stack.parameters(), *[network.parameters() for network in alone], strict=True):
            stacked.grad = torch.randn(stacked.shape, generator=generator)
            for place, parameter in enumerate(own):
                parameter.grad = stacked.grad[place].clone()
        rates = [spec.lr / (step + 1) for spec in runs]
        sgd.set_lr(many, torch.tensor(rates))
        many.step()
        for optimizer, rate in zip(single, rates, strict=True):
            sgd.set_lr(optimizer, rate)
            optimizer.step()
    for place, network in enumerate(alone):
        for one, stacked in zip(network.parameters(), stack.parameters(), strict=True):
            torch.testing.assert_close(stacked[place], one, rtol=2e-5, atol=2e-6)


def test_a_rate_of_zero_leaves_a_network_as_it_is() -> None:
    runs = specs({"optimizer": "sgdw"})
    stack = Stack([build(spec, (1, 8, 8), 10) for spec in runs])
    before = stack.weights_of(1)
    optimizer = build_stack(runs, stack)
    weights: list[Tensor] = [p for p in stack.parameters() if isinstance(p, nn.Parameter)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    sgd.set_lr(optimizer, torch.tensor([0.1, 0.0, 0.1]))
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in stack.weights_of(1).items())
    assert not torch.equal(stack.weights_of(0)["conv1.weight"], before["conv1.weight"])


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_on", ["all", "weights"])
@pytest.mark.parametrize("optimizer", ["sgd", "sgdw", "sgds", "adam", "adamw"])
def test_all_parameters_together_take_the_steps_that_each_takes(optimizer: str, decay_on: str, nesterov: bool) -> None:
    """The way of a single network on a GPU, computed here on the CPU."""
    if nesterov and "adam" in optimizer:
        return  # Adam has no such form
    spec = RunSpec(
        dataset="digits", model="cnn", optimizer=optimizer, decay_on=decay_on, nesterov=nesterov, weight_decay=0.05
    )
    stacks = [Stack([build(spec, (1, 8, 8), 10)]) for _ in range(2)]
    each, together = (build_stack([spec], stack) for stack in stacks)
    assert isinstance(together, StackedSGD | StackedAdam)
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        for one, other in zip(*[stack.parameters() for stack in stacks], strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optim in (each, together):
            sgd.set_lr(optim, torch.tensor([0.1 / (step + 1)]))
        each.step()
        for group in together.param_groups:
            together.update_together(group)
    for one, other in zip(*[stack.parameters() for stack in stacks], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
