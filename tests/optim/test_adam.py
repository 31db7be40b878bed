from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from interplay.models.build import build as build_model
from interplay.optim.adam import Adam
from interplay.optim.sgd import build, set_lr
from interplay.spec import RunSpec

STEPS = 50
VARIANTS = [
    {},
    {"weight_decay": 0.1},
    {"beta1": 0.0, "weight_decay": 0.1},
    {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.01},
]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 4), (7,))]


def trajectory(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter]) -> list[Tensor]:
    """Weights after each of 50 steps on a noisy quadratic with the same noise for every optimiser."""
    generator = torch.Generator().manual_seed(1)
    path = []
    for step in range(STEPS):
        set_lr(optimizer, 0.05 * (1 - step / STEPS))
        for w in weights:
            w.grad = 3 * w.detach() + torch.randn(w.shape, generator=generator)
        optimizer.step()
        path.append(torch.cat([w.detach().flatten() for w in weights]).clone())
    return path


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("decay", "torchs"), [("coupled", torch.optim.Adam), ("decoupled", torch.optim.AdamW)])
def test_both_decays_are_torchs_over_fifty_steps(
    decay: str, torchs: type[torch.optim.Adam], variant: dict[str, float]
) -> None:
    ours, theirs = parameters(), parameters()
    found = trajectory(Adam(ours, 0.05, **variant, decay=decay), ours)  # type: ignore[arg-type]
    betas = (variant.get("beta1", 0.9), variant.get("beta2", 0.999))
    reference = torchs(theirs, 0.05, betas, variant.get("eps", 1e-8), weight_decay=variant.get("weight_decay", 0.0))
    for a, b in zip(found, trajectory(reference, theirs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)


def test_the_two_decays_differ() -> None:
    paths = []
    for decay in ("coupled", "decoupled"):
        weights = parameters()
        paths.append(trajectory(Adam(weights, 0.05, weight_decay=0.1, decay=decay), weights)[-1])  # type: ignore[arg-type]
    assert not torch.allclose(*paths, rtol=1e-3)


def test_decoupled_decay_has_the_stated_rate() -> None:
    w = [nn.Parameter(torch.ones(1))]
    optimizer = Adam(w, 0.01, weight_decay=0.1, decay="decoupled")
    for _ in range(1000):
        w[0].grad = torch.zeros(1)
        optimizer.step()
    assert float(w[0].detach()) == pytest.approx(2.71828 ** (-0.01 * 0.1 * 1000), rel=1e-3)  # m = 1


def test_a_stack_of_networks_has_hyperparameters_of_its_own_each() -> None:
    words = {
        "lr": torch.tensor([0.05, 0.1]),
        "beta1": torch.tensor([0.9, 0.5]),
        "beta2": torch.tensor([0.999, 0.9]),
        "eps": torch.tensor([1e-8, 1e-2]),
        "weight_decay": torch.tensor([0.0, 0.1]),
    }
    start = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    stacked = nn.Parameter(start.clone())
    optimizer = Adam([stacked], **words)
    singles = [nn.Parameter(row.clone()) for row in start]
    alone = [Adam([w], **{name: float(v[row]) for name, v in words.items()}) for row, w in enumerate(singles)]
    for step in range(10):
        gradient = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(step))
        stacked.grad = gradient
        optimizer.step()
        for row, (w, single) in enumerate(zip(singles, alone, strict=True)):
            w.grad = gradient[row]
            single.step()
    for row, w in enumerate(singles):
        torch.testing.assert_close(stacked[row], w)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_reference_is_torch_itself_with_momentum_as_beta1(name: str, kind: type) -> None:
    spec = RunSpec(model="mlp", optimizer=name, lr=0.002, momentum=0.8, beta2=0.99, eps=1e-6, decay_on="weights")  # type: ignore[arg-type]
    optimizer = build(spec, build_model(spec, (1, 8, 8), 10))
    assert type(optimizer) is kind
    group, spared = optimizer.param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.002, (0.8, 0.99), 1e-6, 5e-4)
    assert spared["weight_decay"] == 0
    # A spec that says nothing of them has the defaults of torch.
    plain = build(RunSpec(model="mlp", optimizer=name), build_model(spec, (1, 8, 8), 10)).param_groups[0]  # type: ignore[arg-type]
    assert (plain["betas"], plain["eps"]) == ((0.9, 0.999), 1e-8)


def test_unknown_decays_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown decay 'stable'"):
        Adam(parameters(), 0.1, decay="stable")  # type: ignore[arg-type]
