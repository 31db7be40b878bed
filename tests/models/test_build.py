from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from interplay.errors import SpecError
from interplay.models.build import build, parameter_count
from interplay.models.resnet import cifar_resnet, resnet18
from interplay.spec import RunSpec, choices


def test_resnet18_has_the_documented_size() -> None:
    assert parameter_count(resnet18(100)) == 11_220_132
    # The well-known CIFAR variant with ten classes (kuangliu/pytorch-cifar) has 11,173,962.
    assert parameter_count(resnet18(10)) == 11_173_962


def test_resnet18_stem_and_shapes() -> None:
    model = resnet18(100)
    assert model.conv1.weight.shape == (64, 3, 3, 3)
    assert model.conv1.stride == (1, 1)
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in model.modules())
    sizes: list[tuple[int, ...]] = []
    for stage in model.stages:
        stage.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert sizes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]


@pytest.mark.parametrize(("depth", "parameters"), [(8, 75_290), (20, 269_722)])
def test_cifar_family_with_parameter_free_shortcuts(depth: int, parameters: int) -> None:
    # 269,722 is the published size of ResNet-20 with option A (akamaster/pytorch_resnet_cifar10: 0.27 M).
    model = cifar_resnet(depth, 10)
    assert parameter_count(model) == parameters
    assert sum(isinstance(layer, nn.Conv2d) for layer in model.modules()) == depth - 1


def test_depths_outside_the_family_are_refused() -> None:
    with pytest.raises(ValueError, match="6n\\+2"):
        cifar_resnet(18)


def test_a_stem_of_stride_two_halves_every_image_and_changes_no_weight() -> None:
    small, plain = (build(RunSpec(model=model), (3, 32, 32), 10) for model in ("resnet8_s2", "resnet8"))
    assert all(torch.equal(a, b) for a, b in zip(small.state_dict().values(), plain.state_dict().values(), strict=True))
    features: list[tuple[int, ...]] = []
    small.get_submodule("stages").register_forward_hook(lambda _m, _i, out: features.append(tuple(out.shape)))
    small(torch.zeros(2, 3, 32, 32))
    assert features == [(2, 64, 4, 4)]


MODELS = ["resnet18", "resnet8", "resnet8_s2", "resnet20", "wide_resnet", "hyper_resnet", "cnn", "mlp"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_every_model_takes_any_image_and_learns_in_every_parameter(model: str, shape: tuple[int, int, int]) -> None:
    net = build(RunSpec(model=model), shape, 7)  # type: ignore[arg-type]
    logits = net(torch.randn(4, *shape))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_initialisation_follows_the_seed_and_leaves_the_global_generator_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        return torch.cat([p.flatten() for p in build(RunSpec(model="cnn", seed=seed), (1, 8, 8), 10).parameters()])

    state = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), state)


def test_initialisation_is_pytorchs_default() -> None:
    # kaiming_uniform with a = sqrt(5): uniform within 1/sqrt(fan_in), for convolutions and linear layers alike.
    for layer in build(RunSpec(model="resnet18"), (3, 32, 32), 100).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            assert layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert (layer.bias == 0).all()


@pytest.mark.parametrize("model", sorted(choices()["model"]))
@pytest.mark.parametrize("size", [(3, 4), (4, 5), (8, 8), (9, 8), (1, 1)])
def test_one_image_is_refused_where_batch_norm_would_refuse_it(model: str, size: tuple[int, int]) -> None:
    spec = RunSpec(dataset="own.npz", model=model, batch_size=1)  # type: ignore[arg-type]
    network = build(spec, (1, *size), 3).train()
    try:
        network(torch.zeros(1, 1, *size))
    except ValueError:
        with pytest.raises(SpecError, match="map of 1x1"):
            spec.check_data(10, (1, *size))
    else:
        spec.check_data(10, (1, *size))
