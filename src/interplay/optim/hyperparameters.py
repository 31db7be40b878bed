"""Hyperparameters as tensors: one number for one network, or one for each network of a stack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

Hyperparameter = float | Tensor


class TensorOptimizer(Optimizer, ABC):
    """An optimiser whose hyperparameters are tensors, each group with its own; subclasses say what one update is.

    Args:
        params: parameters or groups, as for any optimiser.
        numbers: the hyperparameters by name: numbers, or tensors of shape [] or [K].
        choices: what else a group has, such as the kind of decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        numbers: Mapping[str, Hyperparameter],
        **choices: Any,
    ) -> None:
        super().__init__(params, {**tensors(numbers), **choices})
        own(self, numbers)

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

    @abstractmethod
    def _update(self, w: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        """Change the parameter ``w`` in place by its gradient ``g`` and the numbers of ``group``."""


def tensors(numbers: Mapping[str, Hyperparameter]) -> dict[str, Tensor]:
    """Each of ``numbers`` as a float32 tensor of shape [] or [K]."""
    return {name: torch.as_tensor(value, dtype=torch.float32) for name, value in numbers.items()}


def own(optimizer: Optimizer, names: Mapping[str, Hyperparameter]) -> None:
    """Give every group tensors of its own: a rate written in place for one would otherwise change the others."""
    for group in optimizer.param_groups:
        device = group["params"][0].device
        for name in names:
            group[name] = torch.as_tensor(group[name], dtype=torch.float32, device=device).clone()


def shaped(value: Tensor, like: Tensor) -> Tensor:
    """A hyperparameter of shape [] or [K] so that it broadcasts over a parameter of shape [...] or [K, ...]."""
    return value if value.dim() == 0 else value.view(-1, *[1] * (like.dim() - 1))
