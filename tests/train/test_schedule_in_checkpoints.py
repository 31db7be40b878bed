"""Who loads a checkpoint into torch's own optimiser and scheduler goes on with torch's own rates, to the last bit."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from following import on_epoch
from torch.optim import SGD, Optimizer, lr_scheduler

from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.optim import sgd
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.stack.train import train_stack
from interplay.train import checkpoint
from interplay.train.checkpoint import CheckpointError, Checkpoints, load_checkpoint, snapshot
from interplay.train.loop import Interrupted, train

EPOCHS, STEPS = 12, 7


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # SequentialLR passes epoch numbers to its parts, which torch itself then warns about.
        warnings.simplefilter("ignore", UserWarning)
        yield


def fresh(lr: float) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(3))], lr, momentum=0.9)


def torchs(spec: RunSpec, optimizer: Optimizer) -> Any:
    """As somebody writes it who knows torch and the specification."""
    unit = STEPS if spec.schedule_every == "step" else 1
    warmup = spec.warmup_epochs * unit
    length = spec.epochs * unit - warmup
    rising = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup) if warmup else None
    main: Any = {
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, length),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, 0.0, length),
        "step": lambda: lr_scheduler.MultiStepLR(optimizer, [round(f * length) for f in spec.milestones], spec.gamma),
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
    }[spec.schedule]()
    return lr_scheduler.SequentialLR(optimizer, [rising, main], [warmup]) if rising else main


def rates(optimizer: Optimizer, scheduler: Any, count: int) -> list[float]:
    """The rate now and after each of ``count`` steps."""
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(count):
        optimizer.step()
        scheduler.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


def left(spec: RunSpec, epoch: int, path: Path) -> None:
    """What a run of ``spec`` leaves after ``epoch``."""
    optimizer = fresh(spec.lr)
    sgd.set_lr(optimizer, 0.123)  # whatever trained last
    metrics = EpochMetrics(epoch, 0.1, 1.0, 50.0, 1.0, 50.0)
    state = snapshot(
        spec,
        [metrics],
        model_state={},
        optimizer=optimizer,
        steps=STEPS,
        first_loss=2.3,
        seconds=1.0,
        environment={},
    )
    checkpoint.save(path, state)


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("every", ["epoch", "step"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "step", "constant"])
def test_every_schedule_goes_on_as_torchs(tmp_path: Path, schedule: str, every: str, warmup: int) -> None:
    spec = RunSpec(
        lr=0.3, epochs=EPOCHS, schedule=schedule, schedule_every=every, warmup_epochs=warmup, milestones=(0.3, 0.77)
    )  # type: ignore[arg-type]
    unit = STEPS if every == "step" else 1
    whole = fresh(0.3)
    expected = rates(whole, torchs(spec, whole), EPOCHS * unit)
    for epoch in (5, 1, 2, 3, 4, 11, EPOCHS):  # backwards, too: best checkpoints of several runs come in any order
        left(spec, epoch, tmp_path / "x.pt")
        optimizer = fresh(0.3)
        scheduler = torchs(spec, optimizer)
        load_checkpoint(tmp_path / "x.pt", None, optimizer, scheduler)
        assert scheduler.get_last_lr() == [expected[epoch * unit]]
        assert rates(optimizer, scheduler, (EPOCHS - epoch) * unit) == expected[epoch * unit :]


def test_two_groups_and_a_scheduler_alone(tmp_path: Path) -> None:
    spec = RunSpec(lr=0.2, epochs=EPOCHS)
    left(spec, 4, tmp_path / "x.pt")
    whole = fresh(0.2)
    expected = rates(whole, torchs(spec, whole), EPOCHS)
    optimizer = fresh(0.2)
    scheduler = torchs(spec, optimizer)
    load_checkpoint(tmp_path / "x.pt", scheduler=scheduler)
    assert rates(optimizer, scheduler, EPOCHS - 4) == expected[4:]
    two = SGD([{"params": [torch.nn.Parameter(torch.zeros(1))]} for _ in range(2)], 0.2)
    with pytest.raises(CheckpointError, match="the scheduler has 2 groups of parameters; that of the checkpoint has 1"):
        load_checkpoint(tmp_path / "x.pt", scheduler=torchs(spec, two))


def test_a_function_of_the_epoch_can_follow_any_schedule(tmp_path: Path) -> None:
    left(RunSpec(lr=0.2, epochs=EPOCHS), 4, tmp_path / "x.pt")
    optimizer = fresh(0.2)
    scheduler = lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    load_checkpoint(tmp_path / "x.pt", None, optimizer, scheduler)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.2 / 6


def test_a_checkpoint_of_an_earlier_version_stands_where_torch_would(tmp_path: Path) -> None:
    spec = RunSpec(lr=0.3, epochs=EPOCHS)
    left(spec, 4, tmp_path / "x.pt")
    state = checkpoint.read(tmp_path / "x.pt")
    del state["scheduler"]
    state["scheduler_state_dict"] = {"T_max": EPOCHS, "last_epoch": 4, "base_lrs": [0.3], "_last_lr": [0.25]}
    state["optimizer_state_dict"]["param_groups"][0]["lr"] = 0.25
    torch.save(state, tmp_path / "x.pt")
    whole, optimizer = fresh(0.3), fresh(0.3)
    scheduler = torchs(spec, optimizer)
    load_checkpoint(tmp_path / "x.pt", None, optimizer, scheduler)
    assert rates(optimizer, scheduler, EPOCHS - 4) == rates(whole, torchs(spec, whole), EPOCHS)[4:]


@pytest.mark.parametrize("stacked", [False, True], ids=["single", "stack"])
def test_best_and_last_checkpoints_of_a_resumed_run_stand_where_torch_would(
    digits_spec: RunSpec, digits: Splits, tmp_path: Path, stacked: bool
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=True)
    stop = dataclasses.replace(digits_spec).epochs - 2
    if stacked:
        run = lambda end: train_stack(  # noqa: E731
            [digits_spec], [digits], checkpoints=[checkpoints], **on_epoch(lambda m: m.epoch == end)
        )
    else:
        run = lambda end: train(  # type: ignore[assignment, return-value]  # noqa: E731
            digits_spec, digits, checkpoints=checkpoints, **on_epoch(lambda m: m.epoch == end)
        )
    for end in (2, stop):
        with pytest.raises(Interrupted):
            run(end)
        for path in (checkpoints.last, checkpoints.best):
            model, epochs = build(digits_spec, digits.shape, digits.classes), digits_spec.epochs
            ways = [SGD(model.parameters(), digits_spec.lr, momentum=0.9, weight_decay=5e-4) for _ in range(2)]
            schedulers = [lr_scheduler.CosineAnnealingLR(way, epochs) for way in ways]
            state = load_checkpoint(path, model, ways[0], schedulers[0])
            done = state["epoch"]
            assert rates(ways[0], schedulers[0], epochs - done) == rates(ways[1], schedulers[1], epochs)[done:]
