from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from interplay.optim.schedules import all_rates, epoch_rates
from interplay.spec import RunSpec

EPOCHS, STEPS = 20, 7


def torchs_rates(spec: RunSpec, units: int, warmup: int) -> list[float]:
    """What the schedulers of torch give, unit by unit."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], spec.lr)
    length = units - warmup
    main: Any = {
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, T_max=length),
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1, 1e-30, total_iters=length),
        "step": lambda: lr_scheduler.MultiStepLR(optimizer, [round(f * length) for f in spec.milestones], spec.gamma),
    }[spec.schedule]()
    scheduler = main
    if warmup:
        rising = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        scheduler = lr_scheduler.SequentialLR(optimizer, [rising, main], [warmup])
    rates = []
    with warnings.catch_warnings():
        # SequentialLR passes epoch numbers to its parts, which torch itself then warns about.
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(units):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return rates


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "linear", "step"])
@pytest.mark.parametrize("every", ["epoch", "step"])
def test_every_schedule_is_torchs(schedule: str, every: str, warmup: int) -> None:
    spec = RunSpec(
        lr=0.3,
        epochs=EPOCHS,
        schedule=schedule,
        schedule_every=every,
        warmup_epochs=warmup,
        milestones=(0.3, 0.77),  # type: ignore[arg-type]
    )
    if every == "epoch":
        expected = [rate for rate in torchs_rates(spec, EPOCHS, warmup) for _ in range(STEPS)]
    else:
        expected = torchs_rates(spec, EPOCHS * STEPS, warmup * STEPS)
    assert all_rates(spec, STEPS) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cosine_per_epoch_has_the_stated_sum() -> None:
    spec = RunSpec(lr=0.1, epochs=100)
    rates = all_rates(spec, 391)
    assert len(rates) == 39_100
    assert rates[0] == 0.1
    assert rates[-1] > 0
    assert sum(rates) == pytest.approx(0.1 * 391 * 101 / 2)


def test_epochs_join_to_the_whole() -> None:
    spec = RunSpec(epochs=5, schedule_every="step", schedule="linear")
    assert [r for e in range(1, 6) for r in epoch_rates(spec, e, STEPS)] == all_rates(spec, STEPS)
