from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from interplay.models.build import build, parameter_count
from interplay.models.hypernet import HyperNetwork, Slot, frozen_kernels, hypernetize
from interplay.models.resnet import cifar_resnet, is_block_kernel, wide_resnet
from interplay.spec import RunSpec

SHAPE = (3, 32, 32)


def hyper(**knobs: Any) -> HyperNetwork:
    knobs = {"dataset": "cifar10", "model": "hyper_resnet", "blocks_per_stage": 1} | knobs
    model = build(RunSpec(**knobs), SHAPE, 10)
    assert isinstance(model, HyperNetwork)
    return model


def reference_kernel(reference: Any, slot: Slot, model: HyperNetwork) -> Tensor:
    """One weight, block by block, joined and cropped."""
    g = model.generator
    numbers = (g.w1, g.b1, g.w2, g.b2, g.block, g.kernel)
    z = model.embeddings[slot.first : slot.first + slot.blocks]
    rows = [
        torch.cat([reference.paper_block(z[i * slot.columns + j], *numbers) for j in range(slot.columns)], dim=1)
        for i in range(slot.rows)
    ]
    whole = torch.cat(rows)[: slot.shape[0], : slot.shape[1]]
    height, width = slot.shape[2:] or (1, 1)
    top, left = (whole.shape[2] - height) // 2, (whole.shape[3] - width) // 2
    return whole[:, :, top : top + height, left : left + width].reshape(slot.shape)


def with_biases(model: HyperNetwork) -> HyperNetwork:
    """He-scaled ones start with none, which would hide mistakes."""
    with torch.no_grad():
        for bias in (model.generator.b1, model.generator.b2):
            bias.normal_(0, 0.1)
    return model


# -- sizes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widening", "embeddings", "parameters", "direct", "published", "published_direct"),
    [(1, 242, 97_770, 563_930, 97e3, 563e3), (2, 966, 155_626, 2_243_546, 148e3, 2_236e3)],
)
def test_sizes_are_those_of_the_paper(
    widening: int, embeddings: int, parameters: int, direct: int, published: float, published_direct: float
) -> None:
    model = hyper(widening=widening, blocks_per_stage=6)
    assert model.embeddings.shape == (embeddings, 64)
    assert {n: tuple(p.shape) for n, p in model.generator.named_parameters()} == {
        "w1": (64, 144),
        "b1": (144,),
        "w2": (64, 1024),
        "b2": (1024,),
    }
    assert parameter_count(model.generator) == 75_920
    assert len(model.slots) == 36
    assert all(slot.shape[2:] == (3, 3) for slot in model.slots)
    assert parameter_count(model) == parameters
    assert parameter_count(wide_resnet(widening=widening)) == direct
    # The paper rounds, and says nothing of biases and shortcuts: its figures are met to 1 % and, at widening 2, to 6 %.
    assert parameters == pytest.approx(published, rel=0.06)
    assert direct == pytest.approx(published_direct, rel=0.006)


def test_report_counts_what_is_stored_and_what_is_made() -> None:
    model = hyper(blocks_per_stage=6)
    report = model.report()
    assert report.generated == sum(k.numel() for k in model.kernels().values()) == 242 * 2304
    assert (report.embeddings, report.generator) == (242 * 64, 75_920)
    assert report.stored == parameter_count(model)
    assert report.plain == parameter_count(wide_resnet())
    assert str(report).splitlines() == [
        "generated 557,568 weights from 91,408 numbers (15,488 of embeddings, 75,920 of the generator), 6.1 to 1",
        "stored    97,770 parameters in place of 563,930, 5.8 to 1",
    ]


# -- the weights --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("widening", [1, 2])
def test_all_kernels_at_once_are_equation_2_block_by_block(reference: Any, widening: int) -> None:
    model = with_biases(hyper(widening=widening))
    found = model.kernels()
    assert list(found) == [slot.name for slot in model.slots]
    for slot in model.slots:
        assert found[slot.name].shape == slot.shape
        torch.testing.assert_close(found[slot.name], reference_kernel(reference, slot, model), rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_block_by_block_version(reference: Any) -> None:
    model = with_biases(hyper())
    direction = {slot.name: torch.randn(slot.shape) for slot in model.slots}
    wanted = [model.embeddings, *model.generator.parameters()]
    fast = torch.autograd.grad(sum((k * direction[n]).sum() for n, k in model.kernels().items()), wanted)  # type: ignore[arg-type]
    slow = torch.autograd.grad(
        sum((reference_kernel(reference, slot, model) * direction[slot.name]).sum() for slot in model.slots),  # type: ignore[arg-type]
        wanted,
    )
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_kernels_take_a_few_operations_whatever_their_number() -> None:
    """One block after the other, 242 blocks took some 1,500; public versions do that in every forward pass."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):
        seen: list[str]

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen.append(func.name())
            return func(*args, **(kwargs or {}))

    counts = []
    for blocks in (2, 6):
        counter = Counter()
        counter.seen = []
        model = hyper(blocks_per_stage=blocks)
        with counter:
            model.kernels()
        assert sum(name in ("aten::mm", "aten::addmm") for name in counter.seen) == 2
        counts.append(len(counter.seen))
    assert counts[0] == counts[1] < 100


@pytest.mark.parametrize("normalize", [False, True])
def test_he_scaled_kernels_start_at_their_standard_deviation(normalize: bool) -> None:
    """Public versions start some 360 times above it, which `original` keeps for those who want it."""
    model = hyper(blocks_per_stage=6, normalize_embeddings=normalize)
    for slot in model.slots:
        kernel = model.kernels()[slot.name]
        assert slot.he == math.sqrt(2 / (9 * slot.shape[1]))
        assert kernel.std().item() == pytest.approx(slot.he, rel=0.08)
        assert abs(kernel.mean().item()) < 0.1 * slot.he
    original = hyper(hyper_init="original", blocks_per_stage=6, normalize_embeddings=normalize)
    narrow = [original.kernels()[slot.name].std().item() / slot.he for slot in original.slots if slot.shape[1] == 16]
    assert 250 < sorted(narrow)[len(narrow) // 2] < 470
    assert all(p.abs().max() < 2 for p in [original.embeddings, *original.generator.parameters()])


def test_twin_shares_every_stored_number_and_the_scale_of_the_rest() -> None:
    model, twin = hyper(), build(RunSpec(dataset="cifar10", model="wide_resnet", blocks_per_stage=1), SHAPE, 10)
    stored = dict(model.net.named_parameters())
    scales = {slot.name: slot.he for slot in model.slots}
    assert {*stored, *scales} == {name for name, _ in twin.named_parameters()}
    for name, weight in twin.named_parameters():
        if name in stored:
            assert torch.equal(weight, stored[name])
        else:
            assert weight.std().item() == pytest.approx(scales[name], rel=0.08)


def test_normalised_embeddings_count_by_their_direction_alone() -> None:
    plain, normalised = hyper(), hyper(normalize_embeddings=True)
    with torch.no_grad():
        before = [model.kernels() for model in (plain, normalised)]
        for model in (plain, normalised):
            model.embeddings.mul_(3)
        after = [model.kernels() for model in (plain, normalised)]
    name = plain.slots[3].name
    torch.testing.assert_close(before[0][name], before[1][name])
    torch.testing.assert_close(after[0][name], 3 * before[0][name])
    torch.testing.assert_close(after[1][name], before[1][name])
    # Decay and gradient steps change the length, which the gradient does not see: z is orthogonal to it.
    normalised.kernels()[name].square().sum().backward()
    gradient = normalised.embeddings.grad
    assert gradient is not None
    assert (gradient * normalised.embeddings).sum(1).abs().max() < 1e-3 * gradient.norm(dim=1).max()


# -- decay of the kernels -------------------------------------------------------------------------------------------


def test_kernel_decay_is_the_gradient_of_half_the_squared_norm() -> None:
    decay = 0.3
    x, y = torch.randn(8, 3, 8, 8), torch.randint(0, 10, (8,))
    plain, decayed = hyper(), hyper(kernel_decay=decay)
    loss = functional.cross_entropy(plain(x), y)
    penalty = decay / 2 * sum(k.square().sum() for k in plain.kernels().values())
    (loss + penalty).backward()
    without_penalty = functional.cross_entropy(decayed(x), y)
    assert without_penalty.item() == loss.item()  # what is reported stays the cross-entropy
    without_penalty.backward()
    for (name, a), b in zip(decayed.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4, msg=name)
    assert decayed.embeddings.grad is not None
    # In evaluation mode gradients are those of the loss alone.
    decayed.eval()
    kernels = decayed.kernels()
    (gradient,) = torch.autograd.grad(kernels[decayed.slots[0].name].sum(), decayed.generator.b1)
    expected = torch.full((16, 9), 16.0).view(-1)  # each tap of an output is used by 16 inputs
    torch.testing.assert_close(gradient, expected)


def test_kernel_decay_alone_shrinks_the_kernels_as_stated() -> None:
    """Plain gradient steps on the kernels' own coordinates: with one linear layer's bias free, K falls by 1 - ηλ."""
    model = hypernetize(nn.Sequential(nn.Linear(16, 16)), kernel_decay=0.5)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.generator.b1.requires_grad_()
    with torch.no_grad():
        model.generator.w1.zero_()
        model.generator.b1.fill_(1.0)
    (0 * model.kernels()["0.weight"].sum()).backward()
    torch.testing.assert_close(model.generator.b1.grad, torch.full((16,), 0.5 * 16.0))  # λ K, summed over its 16 uses


# -- any network ------------------------------------------------------------------------------------------------------


class Ragged(nn.Module):
    """Layers whose sides are no multiples of 16: convolutions of 5x3, 3x3 and 1x1, grouped, and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 20, (5, 3), padding=(2, 1))
        self.point = nn.Conv2d(20, 34, 1, bias=False)
        self.same = nn.Conv2d(34, 34, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(34)
        self.linear = nn.Linear(34, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.same(functional.relu(self.point(functional.relu(self.wide(x))))))
        return self.linear(x.mean(dim=(2, 3)))  # type: ignore[no-any-return]


def test_ragged_shapes_are_cropped_from_whole_blocks(reference: Any) -> None:
    model = with_biases(hypernetize(Ragged()))
    shapes = {slot.name: (slot.shape, slot.rows, slot.columns) for slot in model.slots}
    assert shapes == {
        "wide.weight": ((20, 3, 5, 3), 2, 1),
        "point.weight": ((34, 20, 1, 1), 3, 2),
        "same.weight": ((34, 17, 3, 3), 3, 2),
        "linear.weight": ((7, 34), 1, 3),
    }
    assert model.generator.kernel == 5
    found = model.kernels()
    for slot in model.slots:
        torch.testing.assert_close(found[slot.name], reference_kernel(reference, slot, model), rtol=1e-4, atol=1e-5)
    assert {name for name, _ in model.net.named_parameters()} == {
        "wide.bias",
        "same.bias",
        "norm.weight",
        "norm.bias",
        "linear.bias",
    }
    logits = model(torch.randn(4, 3, 8, 8))
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize(
    "net",
    [
        Ragged,
        lambda: cifar_resnet(8),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 30), nn.ReLU(), nn.Linear(30, 5)),
    ],
)
def test_export_is_the_plain_network_with_identical_outputs(net: Any) -> None:
    torch.manual_seed(0)
    model, plain = with_biases(hypernetize(net())), net()
    x = torch.randn(16, 3, 8, 8)
    model(x)  # running statistics that are not those of a new network
    state = model.export()
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)
    assert all(torch.equal(state[name], kernel) for name, kernel in model.kernels().items())
    for mode in (False, True):
        # Generated kernels lie in memory with channels last, for which convolutions sum in another order.
        torch.testing.assert_close(plain.train(mode)(x), model.train(mode)(x), rtol=1e-4, atol=1e-4)
    assert all(not value.requires_grad and value.is_contiguous() for value in state.values())


def test_selection_is_by_name_and_value() -> None:
    model = hypernetize(cifar_resnet(8), lambda name, weight: name.endswith("conv2.weight") and len(weight) == 32)
    assert [slot.name for slot in model.slots] == ["stages.1.0.conv2.weight"]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


@pytest.mark.parametrize(
    ("net", "select", "message"),
    [
        (nn.Linear(4, 4), lambda name, weight: False, "no weight is selected"),
        (nn.Linear(4, 4), lambda name, weight: True, "bias has shape .4,.: only 2-d"),
        (Tied(), None, "a.weight is shared"),
    ],
)
def test_weights_that_cannot_be_generated_are_refused(net: nn.Module, select: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hypernetize(net, select)


# -- evaluation -------------------------------------------------------------------------------------------------------


def test_frozen_kernels_are_generated_once_and_only_for_passes_without_gradients() -> None:
    model = hyper()
    model.eval()
    calls: list[int] = []
    model.generator.register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
        assert len(calls) == 1
        with frozen_kernels(nn.Sequential(model)):  # as when a wrapper is around it
            assert all(torch.equal(model(x), expected) for _ in range(3))
            assert len(calls) == 2
        with model.frozen_kernels():
            with torch.enable_grad():
                assert model(x).requires_grad
            assert len(calls) == 4
            model.embeddings.add_(1)
        assert not torch.allclose(model(x), expected)  # nothing stays behind
    with frozen_kernels(nn.Linear(2, 2)):
        pass


def test_under_autocast_kernels_are_rounded_once() -> None:
    model = hyper()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kernels = model.kernels()
        assert model(torch.randn(2, 3, 8, 8)).dtype == torch.bfloat16
    assert all(torch.equal(kernels[name], kernel) for name, kernel in model.kernels().items())


def test_state_round_trips_and_memory_format_does_not_matter() -> None:
    first, second = hyper(), hyper(seed=1)
    second.load_state_dict(first.state_dict())
    second = second.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert {"embeddings", "generator.w1", "net.conv1.weight"} <= set(first.state_dict())
    assert not any(is_block_kernel(name.removeprefix("net."), p) for name, p in first.named_parameters())
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(first(x), second(x), rtol=1e-4, atol=1e-4)
