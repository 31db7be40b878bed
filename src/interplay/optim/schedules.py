"""Learning rate schedules as plain functions of time; each equals a scheduler of ``torch.optim.lr_scheduler``.

With t counted in units (epochs by default, or steps) from 0, U units in all, W of them warm-up, and s = t - W:

    warm-up  η (t+1)/(W+1)                       t < W   LinearLR(start_factor=1/(W+1), total_iters=W)
    cosine   η (1 + cos(π s/(U-W)))/2                    CosineAnnealingLR(T_max=U-W)
    linear   η (1 - s/(U-W))                             LinearLR(1, 0, total_iters=U-W)
    step     η γ^(number of milestones <= s)             MultiStepLR(round(f (U-W)) for f in milestones)
    constant η

The first unit trains at the peak (or at the start of the warm-up), the last one at the value before the end: stepped
once an epoch, cosine over E epochs never trains at zero, and S = Σ_t η_t = η M (E+1)/2.
"""

from __future__ import annotations

import math

from interplay.spec import RunSpec


def learning_rate(spec: RunSpec, unit: int, units: int, warmup: int) -> float:
    """η at ``unit`` of ``units``, the first ``warmup`` of which are warm-up."""
    if unit < warmup:
        return spec.lr * (unit + 1) / (warmup + 1)
    since, length = unit - warmup, units - warmup
    match spec.schedule:
        case "cosine":
            return spec.lr * (1 + math.cos(math.pi * since / length)) / 2
        case "linear":
            return spec.lr * (1 - since / length)
        case "step":
            return spec.lr * spec.gamma ** sum(since >= round(f * length) for f in spec.milestones)
        case "constant":
            return spec.lr


def epoch_rates(spec: RunSpec, epoch: int, steps_per_epoch: int) -> list[float]:
    """η at each step of ``epoch`` (counted from 1)."""
    if spec.schedule_every == "epoch":
        return [learning_rate(spec, epoch - 1, spec.epochs, spec.warmup_epochs)] * steps_per_epoch
    first, units = (epoch - 1) * steps_per_epoch, spec.epochs * steps_per_epoch
    warmup = spec.warmup_epochs * steps_per_epoch
    return [learning_rate(spec, first + step, units, warmup) for step in range(steps_per_epoch)]


def all_rates(spec: RunSpec, steps_per_epoch: int) -> list[float]:
    """η at each of the T = epochs x steps_per_epoch steps of the run."""
    return [rate for epoch in range(1, spec.epochs + 1) for rate in epoch_rates(spec, epoch, steps_per_epoch)]
