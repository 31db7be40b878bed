"""Optional measurements inside a run. They never touch weights, statistics or random numbers of the training.

weight_norm    ‖w‖ of all convolutions, of all linear weights, of the rest (biases and normalisation), at the end
               of each epoch
gradient_norm  mean over the epoch's steps of ‖∇L‖, the gradient of the loss without the decay term
angle          mean over the epoch's steps and over weight tensors of the angle (radians) between w before and
               after the step; at equilibrium √(2ηλ/(1+μ)) for scale-invariant weights (Kosson et al. 2305.17212)
hessian        eigenvalue of the loss' Hessian that is largest in magnitude, by power iteration on one fixed batch
               in evaluation mode, at the end of each epoch
kernel_norm    ‖K‖ of every convolution of the plain network, generated or stored, by the name of its layer, at the end
               of each epoch

In a network with generated weights the first three are about what is stored: embeddings and generator count as linear
weights, and the gradient holds the decay of generated kernels where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from interplay.data.batches import normalise
from interplay.data.splits import Splits
from interplay.errors import SpecError, nearest
from interplay.models.hypernet import HyperNetwork
from interplay.spec import RunSpec
from interplay.train.names import InstrumentName

HESSIAN_IMAGES = 256
HESSIAN_ITERATIONS = 30
HESSIAN_TOLERANCE = 1e-3


def group_of(parameter: Tensor) -> str:
    """``conv``, ``linear`` or ``other``, by the number of axes."""
    return {4: "conv", 2: "linear"}.get(parameter.dim(), "other")


def norm(tensors: Iterable[Tensor]) -> Tensor:
    """Euclidean norm of all entries of all tensors, float32 0-dimensional."""
    return torch.stack([t.float().square().sum() for t in tensors]).sum().sqrt()


class Instruments:
    """The measurements that were asked for, of one run."""

    def __init__(self, names: Sequence[str], model: nn.Module, spec: RunSpec, splits: Splits) -> None:
        allowed = get_args(InstrumentName)
        for name in names:
            if name not in allowed:
                raise SpecError(f"unknown instrument {name!r}; {nearest(name, allowed)}")
        self.names = frozenset(names)
        self.model, self.spec, self.splits = model, spec, splits
        self._weights = [p for p in model.parameters() if p.dim() >= 2]
        self._before: list[Tensor] = []
        self._reset()

    def _reset(self) -> None:
        device = self.splits.device
        self._steps = 0
        self._gradient_sum = torch.zeros((), device=device)
        self._angle_sum = {group: torch.zeros((), device=device) for group in ("conv", "linear")}

    def before_step(self) -> None:
        """Call between the backward pass and the optimiser's step."""
        if "gradient_norm" in self.names:
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            self._gradient_sum += norm(gradients)
        if "angle" in self.names:
            self._before = [w.detach().clone() for w in self._weights]

    def after_step(self) -> None:
        """Call after the optimiser's step."""
        self._steps += 1
        if "angle" in self.names:
            for group, total in self._angle_sum.items():
                pairs = [(b, w) for b, w in zip(self._before, self._weights, strict=True) if group_of(w) == group]
                if pairs:
                    total += torch.stack([angle(b, w.detach()) for b, w in pairs]).mean()

    def add_up(self, steps: int, gradient_sum: Tensor, angle_sum: dict[str, Tensor]) -> None:
        """Take what was summed elsewhere over the steps of this epoch, in place of what was summed here."""
        self._steps, self._gradient_sum, self._angle_sum = steps, gradient_sum, angle_sum

    def end_epoch(self) -> dict[str, float]:
        """The values of the epoch that ends, by name; counters start anew."""
        found: dict[str, float] = {}
        if "weight_norm" in self.names:
            for group in ("conv", "linear", "other"):
                members = [p.detach() for p in self.model.parameters() if group_of(p) == group]
                if members:
                    found[f"weight_norm/{group}"] = norm(members).item()
        if self._steps:
            if "gradient_norm" in self.names:
                found["gradient_norm"] = self._gradient_sum.item() / self._steps
            if "angle" in self.names:
                for group, total in self._angle_sum.items():
                    if any(group_of(w) == group for w in self._weights):
                        found[f"angle/{group}"] = total.item() / self._steps
        if "kernel_norm" in self.names:
            found |= kernel_norms(self.model)
        if "hessian" in self.names:
            found["hessian"] = self._hessian()
        self._reset()
        return found

    def _hessian(self) -> float:
        count = min(HESSIAN_IMAGES, len(self.splits.train))
        images = normalise(self.splits.train.images[:count], self.splits.mean, self.splits.std)
        labels = self.splits.train.labels[:count]
        training = self.model.training
        self.model.eval()
        seed = self.spec.stream("hessian")
        value = top_hessian_eigenvalue(self.model, images, labels, seed)
        self.model.train(training)
        return value


@torch.no_grad()
def kernel_norms(model: nn.Module) -> dict[str, float]:
    """``kernel_norm/LAYER`` of each convolution, generated or stored; names are those of the plain network."""
    kernels: dict[str, Tensor] = {}
    plain = model.net if isinstance(model, HyperNetwork) else model
    if isinstance(model, HyperNetwork):
        kernels |= model.kernels()
    kernels |= dict(plain.named_parameters())
    return {
        f"kernel_norm/{name.removesuffix('.weight')}": norm([kernel]).item()
        for name, kernel in sorted(kernels.items())
        if kernel.dim() == 4
    }


def angle(before: Tensor, after: Tensor) -> Tensor:
    """Angle in radians between two tensors read as vectors, see `angles`."""
    return angles(before[None], after[None])[0]


def angles(before: Tensor, after: Tensor) -> Tensor:
    """Angles [K] in radians between the K vectors that one tensor [K, ...] holds and those of another.

    They are 2·atan2(‖a-b‖, ‖a+b‖) of the unit vectors a and b. arccos of the cosine would lose all digits at the small
    angles of one step (Kahan, "How futile are mindless assessments of roundoff", section 12).
    """
    a, b = before.flatten(1).float(), after.flatten(1).float()
    a, b = (x / x.norm(dim=1, keepdim=True).clamp_min(1e-30) for x in (a, b))
    return 2 * torch.atan2((a - b).norm(dim=1), (a + b).norm(dim=1))


def top_hessian_eigenvalue(model: nn.Module, images: Tensor, labels: Tensor, seed: int) -> float:
    """Eigenvalue of largest magnitude of the Hessian of the mean cross-entropy, by power iteration.

    Stops when the Rayleigh quotient moves by less than a thousandth, after 30 products at most. The gradients that
    training accumulates in ``.grad`` are not touched.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    with torch.enable_grad():
        loss = functional.cross_entropy(model(images).float(), labels)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    generator = torch.Generator().manual_seed(seed)
    vector = [torch.randn(p.shape, generator=generator).to(p.device) for p in parameters]
    value = math.nan
    for _ in range(HESSIAN_ITERATIONS):
        length = norm(vector).item()
        if length == 0 or not math.isfinite(length):
            return 0.0 if length == 0 else math.nan
        vector = [v / length for v in vector]
        product = torch.autograd.grad(gradients, parameters, vector, retain_graph=True)
        previous, value = value, sum((v * h).sum().item() for v, h in zip(vector, product, strict=True))
        if abs(value - previous) <= HESSIAN_TOLERANCE * abs(value):
            break
        vector = list(product)
    return value
