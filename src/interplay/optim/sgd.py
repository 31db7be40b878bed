"""Stochastic gradient descent with momentum and weight decay: coupled, decoupled or stable."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.spec import RunSpec

Decay = Literal["coupled", "decoupled", "stable"]
Hyperparameter = float | Tensor


class SGD(Optimizer):
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
        defaults = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in numbers.items()}
        super().__init__(params, {**defaults, "nesterov": nesterov, "decay": decay})
        for group in self.param_groups:
            # Groups must not share the tensors: a rate written in place for one would change the others.
            for name in numbers:
                group[name] = torch.as_tensor(
                    group[name], dtype=torch.float32, device=group["params"][0].device
                ).clone()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient; returns the loss of ``closure`` if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group)
        return loss

    def _update(self, w: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        lr, mu, damp, decay = (_shaped(group[name], w) for name in ("lr", "momentum", "dampening", "weight_decay"))
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


def _shaped(value: Tensor, like: Tensor) -> Tensor:
    """A hyperparameter of shape [] or [K] so that it broadcasts over a parameter of shape [...] or [K, ...]."""
    return value if value.dim() == 0 else value.view(-1, *[1] * (like.dim() - 1))


_DECAYS: dict[str, Decay] = {"sgd": "coupled", "sgdw": "decoupled", "sgds": "stable"}


def build(spec: RunSpec, model: nn.Module) -> Optimizer:
    """The reference optimiser of ``spec``: torch's own SGD for coupled decay, the lab's where torch has none."""
    groups = decay_groups(spec, model)
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, spec.lr, spec.momentum, spec.dampening, spec.weight_decay, spec.nesterov)
    return SGD(
        groups,
        spec.lr,
        spec.momentum,
        spec.dampening,
        spec.weight_decay,
        nesterov=spec.nesterov,
        decay=_DECAYS[spec.optimizer],
    )


def decay_groups(spec: RunSpec, model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups: one with everything, or biases and normalisation (fewer than two axes) apart, without decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if spec.decay_on == "all":
        return [{"params": parameters}]
    spared = [p for p in parameters if p.dim() < 2]
    decayed = [p for p in parameters if p.dim() >= 2]
    return [{"params": decayed}, *([{"params": spared, "weight_decay": 0.0}] if spared else [])]


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Write the learning rate of every group; in place where it is a tensor, so that a captured step sees it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
