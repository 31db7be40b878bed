"""Stochastic gradient descent with momentum and weight decay: coupled, decoupled or stable."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.optim.hyperparameters import Hyperparameter, TensorOptimizer, shaped
from interplay.spec import RunSpec

Decay = Literal["coupled", "decoupled", "stable"]


class SGD(TensorOptimizer):
    """SGD whose hyperparameters are tensors, with the choice of how weight decay enters.

    With gradient g, weights w, buffer v (v = g at the first step), d = dampening:

        coupled     g ← g + λ w                        (torch.optim.SGD; Krogh & Hertz 1991)
        decoupled   w ← (1 - η λ) w                    (SGDW: Loshchilov & Hutter, arXiv 1711.05101)
        stable      w ← (1 - η λ (1-d)/(1-μ)) w        (SGDS: Xie, Sato, Sugiyama, arXiv 2011.11152)
        v ← μ v + (1-d) g
        w ← w - η v                  or, with Nesterov, w ← w - η (g + μ v)

    In all three η is the *scheduled* rate. Decoupled decay here multiplies η, so at equal λ its rate of decay is
    1-μ times that of coupled decay; stable decay restores the equality by dividing by the sum of the momentum's
    memory, 1/(1-μ), without letting decay pass through the buffer. The shrinkage and the step are subtracted at once,
    rounded once: multiplying float32 weights by 1 - ηλ would round to no decay at all below ηλ = 3e-8.

    Args:
        params: parameters or groups, as for any optimiser.
        lr, momentum, dampening, weight_decay: numbers, or tensors: 0-dimensional for one network, or of shape [K]
            for a stack of K networks whose parameters have K as their first axis.
        nesterov: look-ahead momentum; needs dampening 0.
        decay: which of the three equations.

    Raises:
        ValueError: nesterov with dampening, or an unknown kind of decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: Hyperparameter,
        momentum: Hyperparameter = 0.0,
        dampening: Hyperparameter = 0.0,
        weight_decay: Hyperparameter = 0.0,
        *,
        nesterov: bool = False,
        decay: Decay = "coupled",
    ) -> None:
        if decay not in ("coupled", "decoupled", "stable"):
            raise ValueError(f"unknown decay {decay!r}; allowed: coupled, decoupled, stable")
        if nesterov and bool(torch.as_tensor(dampening).any()):
            raise ValueError("nesterov needs dampening = 0")
        numbers = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay}
        super().__init__(params, numbers, nesterov=nesterov, decay=decay)

    def _update(self, w: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        lr, mu, damp, decay = (shaped(group[name], w) for name in ("lr", "momentum", "dampening", "weight_decay"))
        if group["decay"] == "coupled":
            g = g + decay * w
        state = self.state[w]
        if "momentum_buffer" not in state:
            v = state["momentum_buffer"] = g.clone()
        else:
            v = state["momentum_buffer"]
            v.mul_(mu).add_((1 - damp) * g)
        direction = g + mu * v if group["nesterov"] else v
        if group["decay"] == "decoupled":
            direction = direction + decay * w
        elif group["decay"] == "stable":
            direction = direction + decay * (1 - damp) / (1 - mu) * w
        w.sub_(lr * direction)


DECAYS: dict[str, Decay] = {"sgd": "coupled", "sgdw": "decoupled", "sgds": "stable"}


def build(spec: RunSpec, model: nn.Module) -> Optimizer:
    """The reference optimiser of ``spec``: torch's own SGD, Adam and AdamW, the lab's where torch has none."""
    groups = decay_groups(spec, model)
    if spec.optimizer in ("adam", "adamw"):
        kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
        return kind(groups, spec.lr, (spec.momentum, spec.beta2), spec.eps, spec.weight_decay)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, spec.lr, spec.momentum, spec.dampening, spec.weight_decay, spec.nesterov)
    return SGD(
        groups,
        spec.lr,
        spec.momentum,
        spec.dampening,
        spec.weight_decay,
        nesterov=spec.nesterov,
        decay=DECAYS[spec.optimizer],
    )


def decay_groups(spec: RunSpec, model: nn.Module, *, stacked: bool = False) -> list[dict[str, Any]]:
    """Parameter groups: one with everything, or biases and normalisation (fewer than two axes) apart, without decay.

    In a ``stacked`` network the axis of the networks does not count.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if spec.decay_on == "all":
        return [{"params": parameters}]
    matrix = 3 if stacked else 2
    spared = [p for p in parameters if p.dim() < matrix]
    decayed = [p for p in parameters if p.dim() >= matrix]
    return [{"params": decayed}, *([{"params": spared, "weight_decay": 0.0}] if spared else [])]


def set_lr(optimizer: Optimizer, lr: float | Tensor) -> None:
    """Write the learning rate of every group; in place where it is a tensor, so that a captured step sees it.

    ``lr`` is a number, or a tensor of shape [K] for an optimiser of a stack.
    """
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(lr) if isinstance(lr, Tensor) else group["lr"].fill_(lr)
        else:
            group["lr"] = lr
