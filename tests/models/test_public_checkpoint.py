from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interplay.models.public_checkpoint import PublicCheckpointError, read_public_checkpoint


def trained(reference: Any, widening: int = 1, blocks: int = 1) -> Any:
    """The slow reference with statistics, biases and scales as training leaves them."""
    torch.manual_seed(3)
    net = reference.PublicNetwork(widening, blocks)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if "bn" in name and tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    net(torch.randn(16, 3, 16, 16))
    return net


@pytest.mark.parametrize(("widening", "blocks"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize("training", [False, True])
def test_a_public_checkpoint_gives_the_same_outputs(reference: Any, widening: int, blocks: int, training: bool) -> None:
    theirs = trained(reference, widening, blocks)
    ours = read_public_checkpoint(theirs.state_dict())
    assert not ours.training
    for slot, kernel in zip(ours.slots, theirs.kernels(), strict=True):
        torch.testing.assert_close(ours.kernels()[slot.name], kernel, rtol=1e-4, atol=1e-3)
    # The kernels are some 360 times too large, so in fp32 two orders of summation may differ in the third digit; the
    # sums that reading rounds to fp32 (biases that batch norm takes in) are left.
    x = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    expected = theirs.double().train(training)(x)
    bound = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(ours.double().train(training)(x), expected, rtol=0, atol=bound)


def test_prefix_and_wrapper_are_understood(reference: Any) -> None:
    theirs = trained(reference)
    plain = read_public_checkpoint(theirs.state_dict()).state_dict()
    wrapped = {"net": {f"module.{name}": value for name, value in theirs.state_dict().items()}, "acc": 91.0}
    for name, value in read_public_checkpoint(wrapped).state_dict().items():
        assert torch.equal(value, plain[name])


def test_the_full_network_has_the_size_of_the_public_one_less_its_biases(reference: Any) -> None:
    theirs = reference.PublicNetwork()
    ours = read_public_checkpoint(theirs.state_dict())
    biases = 16 + 32 + 64
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters()) + biases


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("hope.w1"), "no 'hope.w1'"),
        (lambda state: state.pop("zs.3.z_list.1"), "no 'zs.3.z_list.1'"),
        (lambda state: state.update({"hope.w1": torch.zeros(64, 9)}), "not of the public hypernetwork"),
        (lambda state: state.clear(), "not of the public hypernetwork"),
    ],
)
def test_other_checkpoints_are_refused_with_what_is_wrong(reference: Any, change: Any, message: str) -> None:
    state: dict[str, Tensor] = dict(trained(reference).state_dict())
    change(state)
    with pytest.raises(PublicCheckpointError, match=message):
        read_public_checkpoint(state)


@pytest.mark.parametrize("content", [[1, 2], None, {"net": None}, {"net": torch.zeros(2)}, {1: 2}])
def test_what_holds_no_weights_is_refused(content: Any) -> None:
    with pytest.raises(PublicCheckpointError, match="not of the public hypernetwork"):
        read_public_checkpoint(content)


def test_the_two_layouts_differ_by_what_a_row_stands_for(reference: Any) -> None:
    """Of the first row's 144 numbers the public code makes one filter, the paper one input channel of all filters."""
    theirs = trained(reference)
    generator = theirs.hope
    z = theirs.zs[0].z_list[0]
    numbers = (generator.w1, generator.b1, generator.w2, generator.b2)
    paper, public = reference.paper_block(z, *numbers, 16, 3), generator(z)
    torch.testing.assert_close(paper[:, 0].reshape(-1), public[0].reshape(-1), rtol=1e-3, atol=1e-2)
    assert not torch.allclose(paper, public)
