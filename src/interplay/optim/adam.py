"""Adam with weight decay coupled to the gradient or decoupled from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from interplay.optim.hyperparameters import Hyperparameter, TensorOptimizer, shaped


class Adam(TensorOptimizer):
    """Adam whose hyperparameters are tensors, with the choice of how weight decay enters.

    With gradient g, weights w, m and v zero before the first step, t = 1 there:

        coupled     g ← g + λ w                        (torch.optim.Adam; Kingma & Ba, arXiv 1412.6980)
        decoupled   w ← (1 - η λ) w                    (torch.optim.AdamW; Loshchilov & Hutter, arXiv 1711.05101)
        m ← β₁ m + (1-β₁) g
        v ← β₂ v + (1-β₂) g²
        w ← w - η (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε)

    η is the *scheduled* rate. β₁ is what a spec calls momentum: both remember 1/(1-β₁) gradients, of which SGD takes
    the sum and Adam the mean. Shrinkage and step are subtracted at once, rounded once.

    Args:
        params: parameters or groups, as for any optimiser.
        lr, beta1, beta2, eps, weight_decay: numbers, or tensors: 0-dimensional for one network, or of shape [K] for a
            stack of K networks whose parameters have K as their first axis.
        decay: which of the two equations.

    Raises:
        ValueError: an unknown kind of decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: Hyperparameter,
        beta1: Hyperparameter = 0.9,
        beta2: Hyperparameter = 0.999,
        eps: Hyperparameter = 1e-8,
        weight_decay: Hyperparameter = 0.0,
        *,
        decay: Literal["coupled", "decoupled"] = "coupled",
    ) -> None:
        if decay not in ("coupled", "decoupled"):
            raise ValueError(f"unknown decay {decay!r}; allowed: coupled, decoupled")
        numbers = {"lr": lr, "beta1": beta1, "beta2": beta2, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, numbers, decay=decay)

    def _update(self, w: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        names = ("lr", "beta1", "beta2", "eps", "weight_decay")
        lr, beta1, beta2, eps, decay = (shaped(group[name], w) for name in names)
        state = self.state[w]
        if not state:
            # On the device of the weights, so that a captured step counts by itself; in a stack each counts its own.
            state["step"] = torch.zeros_like(group["lr"])
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(w), torch.zeros_like(w)
        t, m, v = state["step"], state["exp_avg"], state["exp_avg_sq"]
        if group["decay"] == "coupled":
            g = g + decay * w
        t.add_(1)
        t = shaped(t, w)
        m.mul_(beta1).add_((1 - beta1) * g)
        v.mul_(beta2).add_((1 - beta2) * g * g)
        direction = m / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + eps)
        if group["decay"] == "decoupled":
            direction = direction + decay * w
        w.sub_(lr * direction)
