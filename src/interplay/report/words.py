"""Numbers, cells and claims in words, as the page prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping

QUESTIONS = {
    "ordering.sgd>sgd_wd": "Is the best learning rate of SGD higher than that of SGD with weight decay?",
    "ordering.sgd_wd>sgdm_wd": "With weight decay, is the best learning rate of SGD higher than with momentum?",
    "inverse.direction": "Do equally good settings lie along ηλ = const? (k of η·λᵏ, claimed 1)",
    "inverse.profile": "Is the best weight decay inversely proportional to the learning rate? (exponent claimed −1)",
    "inverse.sufficiency": "Does the product ηλ alone tell how good a setting is? (share of the variance it misses)",
    "batch.linear_rule": "Is the best weight decay proportional to the batch size when η ∝ B? (exponent claimed +1)",
    "batch.fixed_lr": "The same at a fixed learning rate? (exponent claimed +1)",
    "batch.step_matched": "The same when the number of steps is kept? (exponent claimed +1)",
    "schedule.sum_of_rates": "Is λ* inversely proportional to the sum of the learning rates? (exponent claimed −1)",
    "duration.horizon": "Is λ* inversely proportional to the length of training? (exponent claimed −1)",
}
"""What each claim asks, by its identifier."""

_SYMBOLS = {"lr": "η", "weight_decay": "λ", "momentum": "μ", "batch_size": "B"}


def number(value: float | None, form: str = ".3g") -> str:
    """A number, or a dash for one that is missing."""
    if value is None:
        return "–"
    return format(value, form) if math.isfinite(value) else "∞"


def interval(ends: tuple[float | None, float | None], form: str = ".3g") -> str:
    """Both ends; three dots at an open one, a dash where nothing is known."""
    low, high = ends
    if low is None and high is None:
        return "–"
    return f"{'…' if low is None else format(low, form)} to {'…' if high is None else format(high, form)}"


def cell(values: Mapping[str, object]) -> str:
    """The knobs of a cell, such as ``η 0.1, λ 0.0005``."""
    return ", ".join(
        f"{_SYMBOLS.get(name, name)} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in values.items()
        if name != "of"
    )


def metric_value(metric: str, value: float) -> str:
    """A value of the metric with as many digits as it deserves, and its unit."""
    return f"{value:.2f} %" if "acc" in metric else f"{value:.4f} nats"


def count(number: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
