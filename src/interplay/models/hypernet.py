"""Static hypernetworks: a small network generates the weights of another from one embedding per block of weights.

Source: Ha, Dai, Le, "HyperNetworks", arXiv 1609.09106, section 3.1. With an embedding z of d numbers for each block of
16 inputs, 16 outputs and f x f taps, equation 2 reads

    a_i = z W_i + B_i                  i = 1 ... 16, one for each *input* channel of the block
    K_i = a_i W_out + B_out            the 16 f f numbers (output, row, column) that belong to input channel i

A weight of more than 16 channels is a grid of such blocks; one whose sides are no multiples of 16 is cropped from the
next larger grid, and a smaller kernel is the centre of an f x f one. The generator is shared by all blocks.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from interplay.models.resnet import build_wide_resnet, is_block_kernel
from interplay.spec import RunSpec

Layout = Literal["paper", "rows_are_outputs"]
Initialisation = Literal["he", "original"]
Select = Callable[[str, Tensor], bool]


@dataclass(frozen=True)
class Slot:
    """Where one generated weight comes from."""

    name: str
    """Of the parameter in the plain network."""
    shape: tuple[int, ...]
    """(out, in, height, width) of a convolution, (out, in) of a linear layer."""
    rows: int
    """Blocks along the outputs."""
    columns: int
    """Blocks along the inputs."""
    first: int
    """Its first embedding; the others follow row by row."""

    @property
    def blocks(self) -> int:
        """Number of blocks, each with an embedding."""
        return self.rows * self.columns

    @property
    def he(self) -> float:
        """Standard deviation sqrt(2/fan_in) that keeps the signal's size through a ReLU (arXiv 1502.01852)."""
        return math.sqrt(2 / math.prod(self.shape[1:]))


class Generator(nn.Module):
    """The two layers that all blocks share: w2 [d, block d], b2, w1 [d, block f f], b1; 75,920 numbers by default.

    Args:
        embedding: d, length of an embedding and of the hidden layer.
        block: channels of a block, in and out.
        kernel: f, side of a block's kernels.
        layout: which channel of the block a row a_i stands for: the input, as the paper has it, or the output, as the
            widely used public code has it (it reshapes rows to outputs).
    """

    def __init__(self, embedding: int = 64, block: int = 16, kernel: int = 3, layout: Layout = "paper") -> None:
        super().__init__()
        self.embedding, self.block, self.kernel, self.layout = embedding, block, kernel, layout
        self.w1 = nn.Parameter(torch.empty(embedding, block * kernel * kernel))
        self.b1 = nn.Parameter(torch.zeros(block * kernel * kernel))
        self.w2 = nn.Parameter(torch.empty(embedding, block * embedding))
        self.b2 = nn.Parameter(torch.zeros(block * embedding))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Embeddings [n, d] to blocks [n, output, row, column, input].

        Both layers are linear, so K = z (W W_out) + (B W_out + B_out): the product of the layers is formed once, which
        for many blocks is less work than to take every block through the hidden layer. The inputs come last because
        convolutions are fastest on images with channels last.
        """
        d, block, f = self.embedding, self.block, self.kernel
        hidden = torch.cat([self.w2, self.b2[None]]).view((d + 1) * block, d)
        if self.layout == "paper":
            both = (self.w1.t() @ hidden.t()).view(block * f * f, d + 1, block).transpose(0, 1)
            bias = (both[d] + self.b1[:, None]).reshape(-1)
        else:
            both = (hidden @ self.w1).view(d + 1, block, block, f * f).transpose(2, 3)
            bias = (both[d] + self.b1.view(1, block, f * f).transpose(1, 2)).reshape(-1)
        return torch.addmm(bias, embeddings, both[:d].reshape(d, -1)).view(-1, block, f, f, block)


class _Decay(torch.autograd.Function):
    """The identity, whose backward pass adds the gradient of decay/2 ‖kernels‖²."""

    @staticmethod
    def forward(ctx: Any, kernels: Tensor, decay: float) -> Tensor:
        ctx.save_for_backward(kernels)
        ctx.decay = decay
        return kernels.view_as(kernels)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kernels,) = ctx.saved_tensors
        return gradient + ctx.decay * kernels, None


class HyperNetwork(nn.Module):
    """A network some of whose weights are generated; made by `hypernetize`, which describes the arguments.

    Attributes:
        net: the plain network, without the generated weights.
        generator: shared by all blocks.
        embeddings: [n, d], one row a block, in the order of ``slots``.
        slots: the generated weights, in the order of the plain network's parameters.
    """

    _lengths: Tensor | None

    def __init__(
        self,
        net: nn.Module,
        select: Select,
        *,
        embedding: int = 64,
        block: int = 16,
        init: Initialisation = "he",
        layout: Layout = "paper",
        kernel_decay: float = 0.0,
        normalize_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self._order = tuple(net.state_dict())
        self.slots = _take_out(net, select, block)
        self.net = net
        kernel = max(max(slot.shape[2:], default=1) for slot in self.slots)
        self.generator = Generator(embedding, block, kernel, layout)
        self.embeddings = nn.Parameter(torch.empty(sum(slot.blocks for slot in self.slots), embedding))
        self.kernel_decay = kernel_decay
        lengths = _initialise(self, init)
        self.register_buffer("_lengths", lengths if normalize_embeddings else None, persistent=False)
        self._frozen: dict[str, Tensor] | None = None

    def forward(self, *inputs: Any) -> Any:
        """What the plain network gives for ``inputs`` with the generated weights."""
        frozen = None if torch.is_grad_enabled() else self._frozen
        weights = self.kernels() if frozen is None else frozen
        return functional_call(self.net, weights, inputs, tie_weights=False)

    def kernels(self) -> dict[str, Tensor]:
        """The generated weights by their name in the plain network, in its shapes; gradients reach the generator.

        Always in float32: under autocast they are rounded once, by the layer that uses them, as stored weights are.
        """
        with torch.autocast(self.embeddings.device.type, enabled=False):
            blocks = self.generator(self._inputs())
            found: dict[str, Tensor] = {}
            for shape, members in groupby(self.slots, key=lambda slot: slot.shape):
                group = list(members)
                weights = self._joined(blocks, group, shape)
                if self.kernel_decay and self.training and torch.is_grad_enabled():
                    weights = _Decay.apply(weights, self.kernel_decay)  # type: ignore[no-untyped-call]
                found |= zip((slot.name for slot in group), weights.unbind(), strict=True)
        return found

    @contextlib.contextmanager
    def frozen_kernels(self) -> Iterator[None]:
        """Within it, passes without gradients share weights generated at its start: for evaluation, never for training.

        The parameters must not change meanwhile. Passes with gradients generate their own as always.
        """
        with torch.no_grad():
            self._frozen = self.kernels()
        try:
            yield
        finally:
            self._frozen = None

    @torch.no_grad()
    def export(self) -> dict[str, Tensor]:
        """The state of the plain network, generated weights included: it loads there and gives the same outputs."""
        state = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        state |= {name: kernel.contiguous() for name, kernel in self.kernels().items()}
        return {name: state[name] for name in self._order}

    def report(self) -> CompressionReport:
        """How many numbers are stored and how many weights they make."""
        return CompressionReport(
            generated=sum(math.prod(slot.shape) for slot in self.slots),
            embeddings=self.embeddings.numel(),
            generator=sum(p.numel() for p in self.generator.parameters()),
            direct=sum(p.numel() for p in self.net.parameters()),
        )

    def _inputs(self) -> Tensor:
        if self._lengths is None:
            return self.embeddings
        return nn.functional.normalize(self.embeddings) * self._lengths

    def _joined(self, blocks: Tensor, group: list[Slot], shape: tuple[int, ...]) -> Tensor:
        """Weights [members, *shape] of neighbouring slots of the same shape: their blocks side by side, cropped."""
        block, f = self.generator.block, self.generator.kernel
        rows, columns, first = group[0].rows, group[0].columns, group[0].first
        own = blocks[first : first + len(group) * rows * columns]
        taps = own.view(len(group), rows, columns, block * f * f, block).transpose(2, 3)
        weights = taps.reshape(len(group), rows * block, f, f, columns * block).permute(0, 1, 4, 2, 3)
        height, width = shape[2:] or (1, 1)
        top, left = (f - height) // 2, (f - width) // 2
        weights = weights[:, : shape[0], : shape[1], top : top + height, left : left + width]
        return weights if len(shape) == 4 else weights[..., 0, 0]


def hypernetize(
    net: nn.Module,
    select: Select | None = None,
    *,
    embedding: int = 64,
    block: int = 16,
    init: Initialisation = "he",
    layout: Layout = "paper",
    kernel_decay: float = 0.0,
    normalize_embeddings: bool = False,
) -> HyperNetwork:
    """Make chosen weights of ``net`` generated; ``net`` loses them and is part of the result.

    Args:
        net: any module whose chosen weights have the shape of a 2-d convolution or of a linear layer.
        select: given name and value of a parameter, whether to generate it; by default every one of at least two axes.
        embedding: length d of the embedding of a block.
        block: channels of a block, in and out.
        init: ``he`` starts each weight normal with standard deviation sqrt(2/fan_in): the generator keeps the size of
            its input, and embeddings are drawn on the sphere of radius sqrt(d) sqrt(2/fan_in). ``original`` draws every
            number of embeddings and generator normal, folded into (-2, 2), as the public code does.
        layout: see `Generator`.
        kernel_decay: λ_K of a penalty λ_K/2 ‖K‖² on the generated weights. Its gradient λ_K K is added where that of
            the loss with respect to K is formed, as coupled decay does with a stored K, and goes on to embeddings and
            generator; the loss that is reported stays the cross-entropy. It acts in training mode, on each pass with
            gradients, and comes on top of the optimiser's own decay, which sees stored numbers only.
        normalize_embeddings: rescale every embedding to the length it is drawn with, so that only its direction counts.

    Raises:
        ValueError: nothing is selected, a selected parameter is shared or has another number of axes.
    """
    return HyperNetwork(
        net,
        select or (lambda name, weight: weight.dim() >= 2),
        embedding=embedding,
        block=block,
        init=init,
        layout=layout,
        kernel_decay=kernel_decay,
        normalize_embeddings=normalize_embeddings,
    )


def build_hyper_resnet(spec: RunSpec, classes: int, shape: tuple[int, int, int]) -> HyperNetwork:
    """``hyper_resnet``: the wide network of the same spec with all 3x3 kernels of its blocks generated."""
    return hypernetize(
        build_wide_resnet(spec, classes, shape),
        is_block_kernel,
        init=spec.hyper_init,
        kernel_decay=spec.kernel_decay,
        normalize_embeddings=spec.normalize_embeddings,
    )


@contextlib.contextmanager
def frozen_kernels(model: nn.Module) -> Iterator[None]:
    """`HyperNetwork.frozen_kernels` of every hypernetwork in ``model``; nothing where there is none."""
    with contextlib.ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, HyperNetwork):
                stack.enter_context(module.frozen_kernels())
        yield


@dataclass(frozen=True)
class CompressionReport:
    """Numbers stored by a hypernetwork beside those that its weights have."""

    generated: int
    """Weights that are generated."""
    embeddings: int
    generator: int
    direct: int
    """Parameters of the plain network that are stored as they are."""

    @property
    def stored(self) -> int:
        """Trainable parameters."""
        return self.embeddings + self.generator + self.direct

    @property
    def plain(self) -> int:
        """Trainable parameters of the plain network."""
        return self.generated + self.direct

    def __str__(self) -> str:
        source = self.embeddings + self.generator
        return (
            f"generated {self.generated:,} weights from {source:,} numbers ({self.embeddings:,} of embeddings, "
            f"{self.generator:,} of the generator), {self.generated / source:.1f} to 1\n"
            f"stored    {self.stored:,} parameters in place of {self.plain:,}, {self.plain / self.stored:.1f} to 1"
        )


def _take_out(net: nn.Module, select: Select, block: int) -> tuple[Slot, ...]:
    """Remove the selected parameters from ``net``, and say how each is to be generated."""
    uses: dict[Tensor, int] = {}
    for _, parameter in net.named_parameters(remove_duplicate=False):
        uses[parameter] = uses.get(parameter, 0) + 1
    slots: list[Slot] = []
    for name, weight in list(net.named_parameters()):
        if not select(name, weight):
            continue
        if weight.dim() not in (2, 4):
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)}: only 2-d convolutions and linear layers are made"
            )
        if uses[weight] > 1:
            raise ValueError(f"{name} is shared by several layers; a generated weight belongs to one")
        rows, columns = math.ceil(weight.shape[0] / block), math.ceil(weight.shape[1] / block)
        first = slots[-1].first + slots[-1].blocks if slots else 0
        slots.append(Slot(name, tuple(weight.shape), rows, columns, first))
    if not slots:
        raise ValueError("no weight is selected")
    for slot in slots:
        path, _, attribute = slot.name.rpartition(".")
        net.get_submodule(path).register_parameter(attribute, None)
    return tuple(slots)


@torch.no_grad()
def _initialise(model: HyperNetwork, init: Initialisation) -> Tensor:
    """Draw embeddings and generator; returns the lengths [n, 1] of the embeddings."""
    embeddings, generator = model.embeddings, model.generator
    root = math.sqrt(generator.embedding)
    if init == "original":
        for parameter in (embeddings, *generator.parameters()):
            parameter.normal_().fmod_(2)
        return torch.full((len(embeddings), 1), root)
    generator.w1.normal_(0.0, 1 / root)
    generator.w2.normal_(0.0, 1 / root)
    lengths = torch.cat([torch.full((slot.blocks, 1), root * slot.he) for slot in model.slots])
    # On the sphere rather than normal: a chance length would scale a whole block, by 9 % one way or the other.
    embeddings.copy_(nn.functional.normalize(torch.randn_like(embeddings)) * lengths)
    return lengths
