"""Steps that are captured do what steps do that are not: by an emulator of CUDA graphs, with the ways of a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cuda_graphs import Capture, ForbiddenError, Graphs, census
from torch import Tensor

from interplay.data import batches
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack.captured import Step, as_it_stands
from interplay.stack.optimizer import StackedAdam, StackedSGD
from interplay.stack.step import Networks


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen by the kind of device is chosen as on a GPU."""

    @torch.no_grad()
    def step(self: StackedSGD | StackedAdam, closure: None = None) -> None:
        for group in self.param_groups:
            self.update_together(group) if group["lr"].numel() == 1 else each(self, group)

    def each(self: StackedSGD | StackedAdam, group: dict[str, Any]) -> None:
        for w in group["params"]:
            self._update(w, w.grad, group)

    for optimizer in (StackedSGD, StackedAdam):
        monkeypatch.setattr(optimizer, "step", step)
    monkeypatch.setattr(batches, "mirror_counted", batches.mirror)


def spec_of(model: str, **knobs: Any) -> RunSpec:
    return RunSpec(
        dataset="cifar100", model=model, batch_size=8, lr=0.05, precision="fp32", epochs=2, weight_decay=0.01
    ).replace(**knobs)


def trained(specs: list[RunSpec], recorder: Any) -> tuple[Any, ...]:
    """Sums and weights after two epochs of two batches of 8 and one of 4."""
    splits = random_splits(specs[0], 20, 12, "cpu")
    networks = Networks(specs, [splits] * len(specs), recorder)
    sums = []
    for epoch in (1, 2):
        for _ in networks.train_epoch([epoch] * len(specs)):
            pass
        sums += [networks.sums(), networks.evaluate([splits.test] * len(specs))]
    weights = [networks.stack.weights_of(place) for place in range(len(specs))]
    return sums, weights


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "knobs",
    [
        {"model": "cnn"},
        {"model": "cnn", "optimizer": "sgdw"},
        {"model": "cnn", "optimizer": "sgds", "nesterov": True},
        {"model": "cnn", "momentum": 0.0, "decay_on": "weights"},
        {"model": "mlp", "optimizer": "adam"},
        {"model": "cnn", "optimizer": "adamw", "precision": "bf16"},
        {"model": "resnet8_s2", "nesterov": True},
        {"model": "resnet8_s2", "precision": "bf16", "augment": "none", "schedule_every": "step"},
    ],
    ids=lambda knobs: " ".join(map(str, knobs.values())),
)
@pytest.mark.usefixtures("as_on_a_gpu")
def test_replays_train_to_the_last_bit_as_the_step_that_was_captured(knobs: dict[str, Any], count: int) -> None:
    specs = [spec_of(**knobs, seed=seed) for seed in range(count)]
    graphs = Graphs()
    sums, weights = trained(specs, graphs)
    plain_sums, plain_weights = trained(specs, as_it_stands)
    assert sums == plain_sums
    for ours, theirs in zip(weights, plain_weights, strict=True):
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    # A graph for 8 images, one for the last 4, and one for the test images; all other steps are replays.
    assert len(graphs.captures) == 3
    assert graphs.replays == 2 * 3 + 2


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_emulator_sees_what_a_gpu_would_refuse() -> None:
    state = torch.zeros(3)

    def waits(values: Tensor) -> None:
        state.add_(values.sum().item())

    def draws(values: Tensor) -> None:
        state.add_(torch.rand(3))

    for body in (waits, draws):
        with pytest.raises(ForbiddenError):
            Step(body, [state], Graphs())(torch.ones(3))


def test_the_emulator_sees_what_the_host_alone_has_written() -> None:
    """No replay writes it again, and by then another graph may have used the memory."""
    state = torch.zeros(3)

    def body(values: Tensor) -> None:
        between = torch.empty(3)
        between.numpy()[:] = 1
        state.add_(between)

    step = Step(body, [state], Graphs())
    step(torch.ones(3))
    assert state.isnan().all()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_a_step_of_a_residual_network_does_besides_its_layers() -> None:
    """Counted for one network, whose numbers of kernels decide the time of a small step."""
    spec = spec_of("resnet8_s2")
    networks = Networks([spec], [random_splits(spec, 16, 8, "cpu")], as_it_stands)
    list(networks.train_epoch([1]))
    choice = next(networks.batches.epoch([2]))
    counted = census(lambda: networks._train(choice.index, choice.offsets, choice.flips, networks._rates[0]))
    layers = sum("running_mean" in name for name in networks.stack.state_dict())
    assert counted["native_batch_norm"] + counted["cudnn_batch_norm"] + counted["_native_batch_norm_legit"] == layers
    assert counted["_foreach_add_"] == 1  # the counters of all batch norms
    assert counted["_fused_sgd_"] == 1
    assert not any("foreach" in name for name in counted if name != "_foreach_add_")
    assert counted["_to_copy"] <= 4  # the images, the losses and no weight


def test_a_capture_knows_its_own_memory() -> None:
    outside = torch.ones(3)
    with Capture() as capture:
        inside = outside * 2
        outside.add_(inside)
    assert len(capture.own) == 1
