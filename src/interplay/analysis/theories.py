"""What theories say of the optimal weight decay: exponents of the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from interplay.analysis.cells import Cell

AXES: dict[str, Callable[[Cell], float]] = {
    "lr": lambda s: s.lr,
    "batch_size": lambda s: s.batch_size,
    "epochs": lambda s: s.epochs,
    "1-momentum": lambda s: 1 - s.momentum,
}
"""What λ* may be a power of."""

SYMBOLS = {"lr": "η", "batch_size": "B", "epochs": "E", "1-momentum": "1-μ", "weight_decay": "λ", "sum_of_rates": "S"}


@dataclass(frozen=True)
class Theory:
    """Exponents of λ* in η, B, E and 1-μ; ``None`` where the theory is silent."""

    name: str
    exponents: Mapping[str, float | None]


def _theory(name: str, lr: float, batch: float, epochs: float, momentum: float | None) -> Theory:
    return Theory(name, dict(zip(AXES, (lr, batch, epochs, momentum), strict=True)))


THEORIES = (
    _theory("EMA timescale in epochs", -1, 1, 0, 1),
    _theory("horizon C/S", -1, 1, -1, 0),
    _theory("horizon C·m/S", -1, 1, -1, 1),
    _theory("constant rotation", -1, 0, 0, None),
    _theory("Loshchilov-Hutter", -1, 0.5, -0.5, 0),
    _theory("converged ridge", 0, 0, 0, 0),
    _theory("noisy quadratic", 1, -1, 0, -1),
)
"""For coupled decay, at a constant shape of the schedule. Sources: the table of theories in docs/method.md."""


def theories(coupled: bool) -> tuple[Theory, ...]:
    """The theories for coupled decay, or for decoupled.

    Those of the horizon and of the memory say what the decay of one step is, η_t λ/m, and m = 1 for decoupled decay: no
    exponent of 1-μ. Those of a minimum (ridge, quadratic) balance decay against the gradient, which momentum makes
    1/(1-μ) as large and decoupled decay does not follow: λ = λ_coupled/(1-μ), so their exponent is one less.
    """
    if coupled:
        return THEORIES
    decoupled = []
    for each in THEORIES:
        momentum = each.exponents["1-momentum"]
        if each.name in _OF_A_MINIMUM:
            momentum = (momentum or 0.0) - 1
        elif momentum is not None:
            momentum = 0.0
        decoupled.append(Theory(each.name, {**each.exponents, "1-momentum": momentum}))
    return tuple(t for t in decoupled if t.name != "horizon C·m/S")


_OF_A_MINIMUM = ("converged ridge", "noisy quadratic")


def along(direction: Mapping[str, float], coupled: bool = True) -> dict[str, float]:
    """The exponent that each theory predicts where axes change together.

    Args:
        direction: exponents of the axes, such as lr 1 and batch_size 1 under the linear rule. Theories that are silent
            on one of them are left out.
        coupled: the convention of the decay.
    """
    found = {}
    for theory in theories(coupled):
        parts = [(theory.exponents[name], power) for name, power in direction.items()]
        if all(exponent is not None for exponent, _ in parts):
            found[theory.name] = sum((exponent or 0.0) * power for exponent, power in parts)
    return found
