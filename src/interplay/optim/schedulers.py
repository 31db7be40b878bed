"""Where torch's own scheduler stands after so many epochs of a run: what checkpoints say of the schedule.

Training takes its rates from `schedules`, which computes each by itself. torch computes each from the one before, and
the last bits differ. Somebody who goes on with torch's scheduler must find torch's bits, so it is followed here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from interplay.spec import RunSpec


def torchs_scheduler(spec: RunSpec, optimizer: Optimizer, steps: int) -> LRScheduler:
    """The scheduler of torch for the schedule of ``spec``, with the rate of its start in ``optimizer``.

    Args:
        spec: says whether it is stepped once an epoch or at every step.
        optimizer: its groups begin at ``spec.lr``.
        steps: batches of an epoch.
    """
    unit = steps if spec.schedule_every == "step" else 1
    warmup = spec.warmup_epochs * unit
    length = spec.epochs * unit - warmup
    rising = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup) if warmup else None
    main: LRScheduler
    match spec.schedule:
        case "cosine":
            main = lr_scheduler.CosineAnnealingLR(optimizer, T_max=length)
        case "linear":
            main = lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=length)
        case "step":
            milestones = [round(f * length) for f in spec.milestones]
            main = lr_scheduler.MultiStepLR(optimizer, milestones, spec.gamma)
        case "constant":
            main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    return main if rising is None else lr_scheduler.SequentialLR(optimizer, [rising, main], [warmup])


class _Follower:
    """A scheduler of torch that goes along with a run, on an optimiser of its own."""

    def __init__(self, spec: RunSpec, steps: int) -> None:
        self.optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], spec.lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's SequentialLR warns of what it does itself
            self.scheduler = torchs_scheduler(spec, self.optimizer, steps)
        self.optimizer.step()  # torch warns where a scheduler is stepped before its optimiser
        self.stepped = 0

    def to(self, count: int) -> None:
        """Step until ``count`` steps have been made in all."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(count - self.stepped):
                self.scheduler.step()
        self.stepped = count


@lru_cache(maxsize=256)
def _followers(spec: RunSpec, steps: int) -> list[_Follower]:
    return [_Follower(spec, steps)]


def scheduler_after(spec: RunSpec, epoch: int, steps: int, groups: int = 1) -> tuple[str, dict[str, Any], float]:
    """Name and state of torch's scheduler after ``epoch`` epochs of ``steps`` batches, and the rate that comes next.

    Args:
        spec: whose schedule.
        epoch: epochs that have ended.
        steps: batches of an epoch.
        groups: parameter groups of the optimiser, all with one rate.
    """
    count = epoch * (steps if spec.schedule_every == "step" else 1)
    kept = _followers(spec, steps)
    if kept[0].stepped > count:
        kept[0] = _Follower(spec, steps)
    follower = kept[0]
    follower.to(count)
    state = _for_groups(follower.scheduler.state_dict(), groups)
    return type(follower.scheduler).__name__, state, float(follower.optimizer.param_groups[0]["lr"])


def _for_groups(state: Mapping[str, Any], groups: int) -> dict[str, Any]:
    made = dict(state)
    for name in ("base_lrs", "_last_lr"):
        if name in made:
            made[name] = [float(made[name][0])] * groups
    if "milestones" in made:
        made["milestones"] = made["milestones"].copy()
    if "_schedulers" in made:
        made["_schedulers"] = [_for_groups(part, groups) for part in made["_schedulers"]]
    return made


def with_next_rate(state: dict[str, Any], spec: RunSpec, rate: float) -> dict[str, Any]:
    """``state`` of an optimiser as torch leaves it after a step of its scheduler: ``rate`` comes next."""
    for group in state["param_groups"]:
        group["lr"] = torch.full_like(group["lr"], rate) if isinstance(group["lr"], Tensor) else rate
        group["initial_lr"] = spec.lr
    return state
