from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from interplay.data.batches import TrainingBatches
from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.optim import sgd
from interplay.optim.schedules import epoch_rates
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.stack.captured import REHEARSALS, Body, CudaGraphs, Step, as_it_stands, recorder_for, side_by_side
from interplay.stack.step import Networks
from interplay.stack.train import train_stack
from interplay.train.loop import train


class Tape:
    """A recorder with the habits of a CUDA graph: it rehearses, and replays what it was given at fixed addresses."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, body: Body) -> Body:
        self.recorded += 1
        for _ in range(3):
            body()

        def replay() -> None:
            self.replayed += 1
            body()

        return replay


def plain_epochs(spec: RunSpec, digits: Splits, epochs: int) -> tuple[dict[str, Tensor], list[float]]:
    """The textbook loop with torch.optim.SGD: its weights, and the mean loss of each epoch."""
    model = build(spec, digits.shape, digits.classes)
    optimizer = sgd.build(spec, model)
    batches = TrainingBatches(spec, digits)
    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for step, (images, labels) in enumerate(batches.epoch(epoch)):
            sgd.set_lr(optimizer, epoch_rates(spec, epoch, batches.steps)[step])
            loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(digits.train))
    return model.state_dict(), losses


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_recorded_step_equals_the_plain_loop(digits_spec: RunSpec, digits: Splits, model: str) -> None:
    """One network, two epochs with a rate of its own at every step, and a short last batch (900 = 14 x 64 + 4)."""
    spec = digits_spec.replace(
        model=model, schedule_every="step", warmup_epochs=1, augment="crop_flip", weight_decay=0.01
    )
    weights, losses = plain_epochs(spec, digits, 2)
    tape = Tape()
    networks = Networks([spec], [digits], tape)
    for epoch in (1, 2):
        assert list(networks.train_epoch([epoch])) == list(range(1, 16))
        assert networks.sums().of(0)[0] == pytest.approx(losses[epoch - 1], rel=1e-4)
    assert (tape.recorded, tape.replayed) == (2, 30)  # one graph for the batch size and one for the last batch
    for name, value in networks.stack.weights_of(0).items():
        torch.testing.assert_close(value, weights[name], rtol=1e-3, atol=2e-5)


def test_recording_leaves_no_trace(digits_spec: RunSpec, digits: Splits) -> None:
    """Rehearsals take steps; weights, statistics, momentum and sums must not show them."""
    specs = [digits_spec.replace(model="cnn", optimizer=name) for name in ("adamw",) * 2]
    ways = []
    for recorder in (as_it_stands, Tape()):
        networks = Networks(specs, [digits] * 2, recorder)
        for _ in networks.train_epoch([1, 1]):
            pass
        ways.append((networks.sums(), networks.evaluate([digits.test] * 2), networks.stack.weights_of(1)))
    (sums, test, weights), (taped, taped_test, taped_weights) = ways
    assert (sums, test) == (taped, taped_test)
    assert all(torch.equal(value, taped_weights[name]) for name, value in weights.items())


def test_inputs_lie_where_they_lay_and_each_size_is_recorded_once() -> None:
    total = torch.zeros(())
    seen: list[tuple[int, int]] = []

    def body(values: Tensor) -> None:
        total.add_(values.sum())
        seen.append((values.data_ptr(), len(values)))

    step = Step(body, [total], as_it_stands)
    for values in (torch.ones(3), torch.full((3,), 2.0), torch.ones(2)):
        step(values)
    assert total == 3 + 6 + 2
    assert step.graphs == 2
    assert seen[0] == seen[1] != seen[2]


def test_networks_that_are_closed_are_gone_at_once(digits_spec: RunSpec, digits: Splits) -> None:
    """Without a collection of garbage: on a GPU their graphs hold memory that the next networks need."""
    networks = Networks([digits_spec], [digits])
    for _ in networks.train_epoch([1]):
        pass
    networks.evaluate([digits.test])
    gone = weakref.ref(networks.stack)
    gc.disable()
    try:
        networks.close()
        del networks
        assert gone() is None
    finally:
        gc.enable()


def test_a_closed_step_says_so() -> None:
    step = Step(lambda values: None, [torch.zeros(())], as_it_stands)
    step.close()
    with pytest.raises(RuntimeError, match="closed"):
        step(torch.ones(1))


def test_runs_side_by_side_take_turns_and_end_when_they_end() -> None:
    turns: list[str] = []

    def run(name: str, steps: int) -> Iterator[None]:
        for step in range(steps):
            turns.append(f"{name}{step}")
            yield

    side_by_side([run("a", 3), run("b", 1), run("c", 2)], torch.device("cpu"))
    assert turns == ["a0", "b0", "c0", "a1", "c1", "a2"]


def test_runs_side_by_side_compute_what_they_compute_one_after_the_other(digits_spec: RunSpec, digits: Splits) -> None:
    def epoch(networks: Networks) -> Iterator[None]:
        for _ in networks.train_epoch([1]):
            yield

    specs = [digits_spec.replace(seed=seed) for seed in (1, 2)]
    together, apart = ([Networks([spec], [digits]) for spec in specs] for _ in range(2))
    side_by_side([epoch(networks) for networks in together], torch.device("cpu"))
    for networks, alone in zip(together, apart, strict=True):
        side_by_side([epoch(alone)], torch.device("cpu"))
        assert networks.sums() == alone.sums()


def test_a_cpu_has_no_graphs() -> None:
    assert recorder_for(torch.device("cpu")) is as_it_stands


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device that there is: the CPU, and a GPU or a skip by name."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.mark.parametrize("images", [40, 64, 150])  # one short batch, two whole ones, four and a short one
def test_the_first_steps_of_a_residual_network_agree_with_the_plain_loop(device: torch.device, images: int) -> None:
    spec = RunSpec(dataset="cifar100", model="resnet8_s2", batch_size=32, epochs=2, lr=0.05, precision="fp32")
    splits = random_splits(spec, images, 50, str(device))
    plain, (stacked,) = train(spec, splits), train_stack([spec], [splits])
    assert stacked is not None
    for one, other in zip(plain.history, stacked.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-3)
        assert one.test_loss == pytest.approx(other.test_loss, rel=5e-3)


def test_two_runs_side_by_side_leave_what_each_leaves_alone(device: torch.device) -> None:
    """On a GPU each has a stream, a graph and a workspace of its own, and what is read afterwards is complete."""
    spec = RunSpec(dataset="cifar100", model="resnet8_s2", batch_size=32, lr=0.05, precision="fp32")
    splits = random_splits(spec, 100, 50, str(device))

    def epoch(networks: Networks) -> Iterator[None]:
        for _ in networks.train_epoch([1]):
            yield

    specs = [spec.replace(seed=seed) for seed in (1, 2)]
    together, apart = (
        [Networks([each], [splits], recorder_for(device, lane)) for lane, each in enumerate(specs)] for _ in range(2)
    )
    side_by_side([epoch(networks) for networks in together], device)
    for networks, alone in zip(together, apart, strict=True):
        side_by_side([epoch(alone)], device)
        assert networks.sums().losses == pytest.approx(alone.sums().losses, rel=1e-4)


@pytest.mark.cuda
def test_a_lane_of_a_gpu_is_captured_on_one_stream_for_as_long_as_the_process_lives(cuda: torch.device) -> None:
    number = torch.zeros(1, device=cuda)
    used: list[torch.cuda.Stream] = []

    def body() -> None:
        used.append(torch.cuda.current_stream())
        number.add_(1)

    for lane in (0, 0, 1):
        CudaGraphs(cuda, lane)(body)
    here, again, beside = (set(used[first : first + REHEARSALS + 1]) for first in range(0, len(used), REHEARSALS + 1))
    assert here == again
    assert not here & beside


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # torch says so each time that it is switched on
def test_no_step_of_an_epoch_makes_the_host_wait(cuda: torch.device) -> None:
    spec = RunSpec(dataset="cifar100", model="resnet8_s2", batch_size=32, precision="bf16")
    networks = Networks([spec], [random_splits(spec, 150, 50, str(cuda))])
    for _ in networks.train_epoch([1]):  # records
        pass
    steps = networks.train_epoch([2])
    next(steps)  # the draws of the epoch have gone to the device
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in steps:
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
def test_a_cuda_graph_trains_as_the_step_that_it_captured(digits_spec: RunSpec, cuda: torch.device) -> None:
    spec = digits_spec.replace(model="cnn", augment="crop_flip")
    on_gpu = random_splits(spec, 900, 50, str(cuda))  # a bare GPU machine has no scikit-learn and so no digits
    graphs, plain = Networks([spec], [on_gpu]), Networks([spec], [on_gpu], as_it_stands)
    for networks in (graphs, plain):
        for epoch in (1, 2):
            for _ in networks.train_epoch([epoch]):
                pass
    assert graphs.sums().losses == pytest.approx(plain.sums().losses, rel=1e-3)


@pytest.mark.cuda
def test_a_silenced_network_stays_silent_in_a_captured_step(digits_spec: RunSpec, cuda: torch.device) -> None:
    specs = [digits_spec.replace(seed=seed) for seed in (1, 2)]
    splits = [random_splits(spec, 900, 50, str(cuda)) for spec in specs]
    networks = Networks(specs, splits)
    for batch in networks.train_epoch([1, 1]):
        if batch == 3:
            networks.silence(0)
    assert all((value == 0).all() for name, value in networks.stack.weights_of(0).items() if "running" not in name)
    assert networks.sums().of(1)[0] is not None
