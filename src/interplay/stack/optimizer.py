"""The optimiser of a stack of networks: the equations of `sgd.SGD` and `adam.Adam` with a number for each network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from interplay.optim.adam import Adam
from interplay.optim.hyperparameters import shaped
from interplay.optim.sgd import DECAYS, SGD, decay_groups
from interplay.spec import RunSpec


class StackedSGD(SGD):
    """`SGD` without dampening in fewer passes over memory, which is what the update of many small networks costs.

        coupled     v ← μ v + λ w + g,   w ← w - η v
        decoupled   v ← μ v + g,         w ← w - η (v + λ w)
        stable      v ← μ v + g,         w ← w - η (v + λ/(1-μ) w)

    With Nesterov momentum μ v + g (and λ w, if coupled) takes the place of v in the second equation. The sums are those
    of `SGD` in another order, so the two agree up to rounding.

    On a GPU the parameters of a single network are updated together. One at a time they would take four kernels each:
    250 a step for ResNet-18, a good part of a small batch's time. With coupled decay torch's fused update reads and
    writes everything once, 20 bytes a parameter where sums of lists take 60; those of the other two decays remain, for
    shrinkage and step have to be rounded together (see `SGD`).
    """

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **words)
        self._read: dict[int, tuple[float, float]] = {}

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
        gs: list[Tensor] = [w.grad for w in ws if w.grad is not None]
        if not ws:
            return
        lr, mu, decay = (cast(Tensor, group[name]).view(()) for name in ("lr", "momentum", "weight_decay"))
        for w in ws:
            if "momentum_buffer" not in self.state[w]:
                self.state[w]["momentum_buffer"] = torch.zeros_like(w)
        vs: list[Tensor] = [self.state[w]["momentum_buffer"] for w in ws]
        if group["decay"] == "coupled":
            momentum, weight_decay = self._numbers(group)
            # All three have to lie in memory alike; gradients that autograd adds up do.
            gs = [g if g.stride() == w.stride() else torch.empty_like(w).copy_(g) for w, g in zip(ws, gs, strict=True)]
            torch._fused_sgd_(  # what torch.optim.SGD(fused=True) calls
                ws,
                gs,
                vs if momentum else [],
                weight_decay=weight_decay,
                momentum=momentum,
                lr=lr,
                dampening=0.0,
                nesterov=group["nesterov"] and momentum > 0,
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

    def _numbers(self, group: dict[str, Any]) -> tuple[float, float]:
        """Momentum and decay as numbers of the host, read from the device once: a captured step must not."""
        if id(group) not in self._read:
            self._read[id(group)] = group["momentum"].item(), group["weight_decay"].item()
        return self._read[id(group)]

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
        return Adam(groups, lr, momentum, spec.beta2, spec.eps, decay, decay=kind)
    return StackedSGD(groups, lr, momentum, 0.0, decay, nesterov=spec.nesterov, decay=DECAYS[spec.optimizer])
