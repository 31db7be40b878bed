"""The optimiser of a stack of networks: the equations of `sgd.SGD` and `adam.Adam` with a number for each network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.optim.adam import Adam
from interplay.optim.hyperparameters import TensorOptimizer, shaped
from interplay.optim.sgd import DECAYS, SGD, decay_groups
from interplay.spec import RunSpec


class _Together(TensorOptimizer):
    """On a GPU the parameters of a single network are updated together.

    One at a time they would take four kernels each: 250 a step for ResNet-18, a good part of a small batch's time.
    """

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self._read: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """See `TensorOptimizer.step`."""
        first = self.param_groups[0]
        if closure is not None or first["lr"].numel() > 1 or first["params"][0].device.type != "cuda":
            return super().step(closure)
        for group in self.param_groups:
            self.update_together(group)
        return None

    @torch.no_grad()
    def update_together(self, group: dict[str, Any]) -> None:
        """The update of all parameters of ``group`` that have a gradient, with numbers for one network."""
        ws: list[Tensor] = [w for w in group["params"] if w.grad is not None]
        if not ws:
            return
        for w in ws:
            if not self.state[w]:
                self._begin(w, group)
        # Fused updates take parameters and gradients to lie in memory alike; those that autograd adds up do.
        gs = [g if g.stride() == w.stride() else torch.empty_like(w).copy_(g) for w in ws if (g := w.grad) is not None]
        self._update_all(ws, gs, group)

    @abstractmethod
    def _begin(self, w: Tensor, group: dict[str, Any]) -> None:
        """Make the state of a parameter that has none: zeros."""

    @abstractmethod
    def _update_all(self, ws: list[Tensor], gs: list[Tensor], group: dict[str, Any]) -> None:
        """Change the parameters ``ws`` in place by their gradients ``gs``."""

    def _state(self, ws: list[Tensor], name: str) -> list[Tensor]:
        return [self.state[w][name] for w in ws]

    def _numbers(self, group: dict[str, Any], *names: str) -> dict[str, float]:
        """Hyperparameters as numbers of the host, read from the device once: a captured step must not."""
        if id(group) not in self._read:
            self._read[id(group)] = {name: group[name].item() for name in names}
        return self._read[id(group)]


class StackedSGD(_Together, SGD):
    """`SGD` without dampening in fewer passes over memory, which is what the update of many small networks costs.

        coupled     v ← μ v + λ w + g,   w ← w - η v
        decoupled   v ← μ v + g,         w ← w - η (v + λ w)
        stable      v ← μ v + g,         w ← w - η (v + λ/(1-μ) w)

    With Nesterov momentum μ v + g (and λ w, if coupled) takes the place of v in the second equation. The sums are those
    of `SGD` in another order, so the two agree up to rounding.

    Coupled decay on a GPU: torch's fused update reads and writes everything once, 20 bytes a parameter where sums of
    lists take 60. Those remain for the other two, since shrinkage and step have to be rounded together (see `SGD`).
    """

    def _begin(self, w: Tensor, group: dict[str, Any]) -> None:
        self.state[w]["momentum_buffer"] = torch.zeros_like(w)

    def _update_all(self, ws: list[Tensor], gs: list[Tensor], group: dict[str, Any]) -> None:
        lr, mu, decay = (cast(Tensor, group[name]).view(()) for name in ("lr", "momentum", "weight_decay"))
        vs = self._state(ws, "momentum_buffer")
        if group["decay"] == "coupled":
            numbers = self._numbers(group, "momentum", "weight_decay")
            torch._fused_sgd_(  # what torch.optim.SGD(fused=True) calls
                ws,
                gs,
                vs if numbers["momentum"] else [],
                weight_decay=numbers["weight_decay"],
                momentum=numbers["momentum"],
                lr=lr,
                dampening=0.0,
                nesterov=group["nesterov"] and numbers["momentum"] > 0,
                maximize=False,
                is_first_step=False,
            )
            return
        torch._foreach_mul_(vs, mu)
        torch._foreach_add_(vs, gs)
        decayed = list(torch._foreach_mul(ws, decay if group["decay"] != "stable" else decay / (1 - mu)))
        directions = vs
        if group["nesterov"]:
            directions = list(torch._foreach_mul(vs, mu))
            torch._foreach_add_(directions, gs)
        torch._foreach_add_(decayed, directions)
        torch._foreach_sub_(ws, list(torch._foreach_mul(decayed, lr)))

    def _update(self, w: Tensor, g: Tensor, group: dict[str, Any]) -> None:
        lr, mu, decay = (shaped(group[name], w) for name in ("lr", "momentum", "weight_decay"))
        state = self.state[w]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(w)
        v = state["momentum_buffer"]
        v.mul_(mu)
        if group["decay"] == "coupled":
            v.addcmul_(w, decay)
        v.add_(g)
        direction = v
        if group["nesterov"]:
            direction = torch.addcmul(g, v, mu)
            if group["decay"] == "coupled":
                direction.addcmul_(w, decay)
        if group["decay"] == "decoupled":
            direction = torch.addcmul(direction, w, decay)
        elif group["decay"] == "stable":
            direction = torch.addcmul(direction, w, decay / (1 - mu))
        w.addcmul_(direction, lr, value=-1)


class StackedAdam(_Together, Adam):
    """`Adam`; on a GPU by torch's fused update, which reads and writes everything once.

    Decoupled decay is rounded as torch.optim.AdamW(fused=True) rounds it, which is apart from the step.
    """

    def _begin(self, w: Tensor, group: dict[str, Any]) -> None:
        self.state[w] = {
            "step": torch.zeros_like(group["lr"]),
            "exp_avg": torch.zeros_like(w),
            "exp_avg_sq": torch.zeros_like(w),
        }

    def _update_all(self, ws: list[Tensor], gs: list[Tensor], group: dict[str, Any]) -> None:
        steps = self._state(ws, "step")
        torch._foreach_add_(steps, 1)
        numbers = self._numbers(group, "beta1", "beta2", "weight_decay", "eps")
        update = torch._fused_adam_ if group["decay"] == "coupled" else torch._fused_adamw_
        update(
            ws,
            gs,
            self._state(ws, "exp_avg"),
            self._state(ws, "exp_avg_sq"),
            [],
            steps,
            lr=cast(Tensor, group["lr"]).view(()),
            beta1=numbers["beta1"],
            beta2=numbers["beta2"],
            weight_decay=numbers["weight_decay"],
            eps=numbers["eps"],
            amsgrad=False,
            maximize=False,
        )


def build_stack(specs: Sequence[RunSpec], model: nn.Module) -> Optimizer:
    """The optimiser of a stack of networks, one of ``specs`` each, with hyperparameters of shape [K].

    ``specs`` agree in everything but learning rate, weight decay, momentum and seed, and have no dampening; ``model``
    has K as the first axis of every parameter.
    """
    spec = specs[0]
    groups = decay_groups(spec, model, stacked=True)
    lr = torch.tensor([each.lr for each in specs])
    momentum = torch.tensor([each.momentum for each in specs])
    decay = torch.tensor([each.weight_decay for each in specs])
    if spec.optimizer in ("adam", "adamw"):
        kind: Literal["coupled", "decoupled"] = "coupled" if spec.optimizer == "adam" else "decoupled"
        return StackedAdam(groups, lr, momentum, spec.beta2, spec.eps, decay, decay=kind)
    return StackedSGD(groups, lr, momentum, 0.0, decay, nesterov=spec.nesterov, decay=DECAYS[spec.optimizer])
