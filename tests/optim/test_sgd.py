from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from interplay.models.build import build as build_model
from interplay.optim.sgd import SGD, build, decay_groups, set_lr
from interplay.spec import RunSpec

STEPS = 50


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


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 4), (7,))]


VARIANTS = [
    {"momentum": 0.0},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.1},
    {"momentum": 0.0, "weight_decay": 0.1},
    {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    {"momentum": 0.9, "weight_decay": 0.1, "dampening": 0.5},
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_coupled_decay_is_torch_sgd_over_fifty_steps(variant: dict[str, float]) -> None:
    ours, theirs = parameters(), parameters()
    found = trajectory(SGD(ours, 0.05, **variant), ours)  # type: ignore[arg-type]
    expected = trajectory(torch.optim.SGD(theirs, 0.05, **variant), theirs)  # type: ignore[arg-type]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("decay", ["decoupled", "stable"])
def test_decoupled_and_stable_decay_are_torch_sgd_around_an_explicit_shrinkage(
    decay: str, variant: dict[str, float]
) -> None:
    ours, theirs = parameters(), parameters()
    found = trajectory(SGD(ours, 0.05, **variant, decay=decay), ours)  # type: ignore[arg-type]

    plain = {k: v for k, v in variant.items() if k != "weight_decay"}
    lam, mu, damp = (variant.get(k, 0.0) for k in ("weight_decay", "momentum", "dampening"))
    gain = (1 - damp) / (1 - mu) if decay == "stable" else 1.0

    class Shrinking(torch.optim.SGD):
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            for w in theirs:
                w.data *= 1 - self.param_groups[0]["lr"] * lam * gain
            super().step()

    expected = trajectory(Shrinking(theirs, 0.05, **plain), theirs)  # type: ignore[arg-type]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_three_decays_differ_with_momentum_and_agree_in_rate_as_stated() -> None:
    def after(decay: str, lam: float) -> float:
        w = [nn.Parameter(torch.ones(1))]
        optimizer = SGD(w, 0.01, momentum=0.9, weight_decay=lam, decay=decay)  # type: ignore[arg-type]
        for _ in range(3000):
            w[0].grad = torch.zeros(1)
            optimizer.step()
        return float(w[0].detach())

    # Without a gradient the weights shrink by exp(-ηλT/m): m = 0.1 for coupled and stable decay, 1 for decoupled.
    assert after("stable", 0.01) == pytest.approx(2.718 ** (-0.01 * 0.01 * 3000 / 0.1), rel=0.01)
    assert after("coupled", 0.01) == pytest.approx(after("stable", 0.01), rel=0.02)
    assert after("decoupled", 0.1) == pytest.approx(after("stable", 0.01), rel=0.01)


def test_a_stack_of_networks_has_hyperparameters_of_its_own_each() -> None:
    lrs, lams, mus = torch.tensor([0.05, 0.1]), torch.tensor([0.0, 0.1]), torch.tensor([0.9, 0.5])
    start = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    stacked = nn.Parameter(start.clone())
    optimizer = SGD([stacked], lrs, mus, weight_decay=lams)
    singles = [nn.Parameter(row.clone()) for row in start]
    alone = [
        SGD([w], float(lr), float(mu), weight_decay=float(lam))
        for w, lr, mu, lam in zip(singles, lrs, mus, lams, strict=True)
    ]
    for step in range(10):
        gradient = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(step))
        stacked.grad = gradient
        optimizer.step()
        for row, (w, single) in enumerate(zip(singles, alone, strict=True)):
            w.grad = gradient[row]
            single.step()
    for row, w in enumerate(singles):
        torch.testing.assert_close(stacked[row], w)


def test_decay_on_weights_spares_biases_and_normalisation() -> None:
    model = build_model(RunSpec(model="cnn"), (1, 8, 8), 10)
    decayed, spared = decay_groups(RunSpec(decay_on="weights"), model)
    assert all(p.dim() >= 2 for p in decayed["params"])
    assert {p.dim() for p in spared["params"]} == {1}
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))
    optimizer = build(RunSpec(decay_on="weights"), model)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [5e-4, 0.0]
    ours = build(RunSpec(decay_on="weights", optimizer="sgdw"), model)
    assert [float(group["weight_decay"]) for group in ours.param_groups] == [pytest.approx(5e-4), 0.0]


def test_the_reference_for_coupled_decay_is_torch_itself() -> None:
    model = build_model(RunSpec(model="mlp"), (1, 8, 8), 10)
    optimizer = build(RunSpec(lr=0.3, momentum=0.5, weight_decay=0.01, dampening=0.1), model)
    assert type(optimizer) is torch.optim.SGD
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["dampening"], group["weight_decay"]) == (0.3, 0.5, 0.1, 0.01)
    assert len(group["params"]) == len(list(model.parameters()))


def test_rates_are_written_in_place_and_groups_do_not_share_them() -> None:
    one, two = parameters()
    optimizer = SGD([{"params": [one]}, {"params": [two]}], 0.1)
    tensors = [group["lr"] for group in optimizer.param_groups]
    set_lr(optimizer, 0.7)
    assert [float(t) for t in tensors] == [pytest.approx(0.7)] * 2
    assert tensors[0] is not tensors[1]
    assert optimizer.param_groups[0]["lr"] is tensors[0]


@pytest.mark.parametrize(("words", "message"), [({"decay": "l1"}, "unknown decay"), ({"dampening": 0.1}, "dampening")])
def test_impossible_optimisers_are_refused(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SGD(parameters(), 0.1, 0.9, nesterov=True, **words)  # type: ignore[arg-type]
