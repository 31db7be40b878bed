from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from interplay.data.splits import Splits
from interplay.errors import SpecError
from interplay.models.build import build
from interplay.optim.sgd import SGD
from interplay.spec import RunSpec
from interplay.train.instruments import angle, norm, top_hessian_eigenvalue
from interplay.train.loop import train

ALL = ("weight_norm", "gradient_norm", "angle", "hessian")


def test_instruments_change_no_number_of_the_run(digits_spec: RunSpec, digits: Splits) -> None:
    spec = digits_spec.replace(model="cnn", epochs=2)
    plain, measured = train(spec, digits), train(spec, digits, instruments=ALL)
    assert [m.test_loss for m in plain.history] == [m.test_loss for m in measured.history]
    assert plain.history[0].instruments == {}
    assert set(measured.history[0].instruments) == {
        "weight_norm/conv",
        "weight_norm/linear",
        "weight_norm/other",
        "gradient_norm",
        "angle/conv",
        "angle/linear",
        "hessian",
    }
    assert all(value is not None and value > 0 for value in measured.history[1].instruments.values())


def test_weight_norm_is_that_of_the_network(digits_spec: RunSpec, digits: Splits) -> None:
    tiny = digits_spec.replace(epochs=1, lr=1e-9, weight_decay=0)
    measured = train(tiny, digits, instruments=("weight_norm",)).history[0].instruments
    model = build(tiny, digits.shape, digits.classes)
    weights = torch.cat([p.flatten() for p in model.parameters() if p.dim() == 2])
    assert measured["weight_norm/linear"] == pytest.approx(weights.norm().item(), rel=1e-4)
    assert set(measured) == {"weight_norm/linear", "weight_norm/other"}


def test_unknown_instruments_are_refused(digits_spec: RunSpec, digits: Splits) -> None:
    with pytest.raises(SpecError, match="unknown instrument 'angles'; did you mean 'angle'"):
        train(digits_spec, digits, instruments=("angles",))


@pytest.mark.parametrize("true", [1e-6, 1e-3, 0.5, math.pi / 2, 3.0])
def test_angles_keep_their_digits_when_they_are_small(true: float) -> None:
    a = torch.tensor([3.0, 0.0])
    b = torch.tensor([math.cos(true), math.sin(true)]) * 7
    assert angle(a, b).item() == pytest.approx(true, rel=1e-3)


def test_sphere_equilibrium_has_the_known_angle_and_norm() -> None:
    """Gradient orthogonal to w with norm G/|w|: cos(angle) = 1 - ηλ and |w|⁴ = ηG²/(λ(2-ηλ)) at equilibrium."""
    lr, lam, size = 0.1, 0.05, 2.0
    w = nn.Parameter(torch.randn(200, generator=torch.Generator().manual_seed(0)))
    optimizer = SGD([w], lr, weight_decay=lam)
    generator = torch.Generator().manual_seed(1)
    before = w.detach().clone()
    for _ in range(3000):
        direction = torch.randn(200, generator=generator)
        direction -= w.detach() * (direction @ w.detach()) / (w.detach() @ w.detach())
        w.grad = direction / direction.norm() * size / w.detach().norm()
        before = w.detach().clone()
        optimizer.step()
    assert math.cos(angle(before, w.detach()).item()) == pytest.approx(1 - lr * lam, abs=1e-6)
    assert norm([w.detach()]).item() ** 4 == pytest.approx(lr * size**2 / (lam * (2 - lr * lam)), rel=1e-3)


def test_power_iteration_finds_the_eigenvalue_of_a_known_hessian() -> None:
    """Softmax regression with two classes: the Hessian is known in closed form and small enough to diagonalise."""
    torch.manual_seed(0)  # of the model, whose eigenvalues might otherwise lie too close for the iteration
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(50, 1, 2, 3, generator=generator)
    labels = torch.randint(0, 3, (50,), generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3))
    x = torch.cat([images.flatten(1), torch.ones(50, 1)], dim=1).double()
    p = torch.softmax(model(images), dim=1).detach().double()
    hessian = torch.zeros(21, 21, dtype=torch.float64)
    for xi, pi in zip(x, p, strict=True):
        hessian += torch.kron(torch.diag(pi) - torch.outer(pi, pi), torch.outer(xi, xi)) / 50
    expected = torch.linalg.eigvalsh(hessian).max().item()
    assert top_hessian_eigenvalue(model, images, labels, seed=0) == pytest.approx(expected, rel=0.02)
    assert all(parameter.grad is None for parameter in model.parameters())
