"""The instruments of K runs at once: each has the numbers that it has alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from interplay.data.splits import Splits
from interplay.spec import RunSpec
from interplay.stack.networks import Stack
from interplay.train.instruments import Instruments, angles, group_of


class StackedInstruments:
    """What is summed over the steps of an epoch is summed for all networks at once, [K], in fixed places, so that it
    can be part of a captured step; the rest is measured after an epoch on one network after the other.

    Args:
        names: of measurements, see `train.instruments`.
        specs: the runs.
        splits: their data.
        stack: their networks.
        outline: one network by itself, whose weights may be overwritten at the end of an epoch.

    Raises:
        SpecError: there is no such instrument.
    """

    def __init__(
        self,
        names: Sequence[str],
        specs: Sequence[RunSpec],
        splits: Sequence[Splits],
        stack: Stack,
        outline: nn.Module,
    ) -> None:
        self._alone = [Instruments(names, outline, spec, own) for spec, own in zip(specs, splits, strict=True)]
        self._names, self._stack, self._outline = frozenset(names), stack, outline
        device = splits[0].device
        self._gradient_sum = torch.zeros(len(specs), device=device)
        self._angle_sum = {group: torch.zeros(len(specs), device=device) for group in ("conv", "linear")}
        self._weights: list[tuple[str, Tensor, Tensor]] = []
        """Group, weights of all networks, and what they were before the step."""
        if "angle" in names:
            pairs = zip(outline.parameters(), stack.parameters(), strict=True)
            self._weights = [(group_of(own), both, torch.empty_like(both)) for own, both in pairs if own.dim() >= 2]

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that a step changes."""
        return [self._gradient_sum, *self._angle_sum.values()]

    def reset(self) -> None:
        """An epoch begins."""
        for total in self.tensors:
            total.zero_()

    @torch.no_grad()
    def before_step(self) -> None:
        """Call between the backward pass and the optimiser's step."""
        if "gradient_norm" in self._names:
            gradients = [p.grad for p in self._stack.parameters() if p.grad is not None]
            squares = [gradient.float().flatten(1).square().sum(1) for gradient in gradients]
            self._gradient_sum += torch.stack(squares).sum(0).sqrt()
        for _, now, before in self._weights:
            before.copy_(now)

    @torch.no_grad()
    def after_step(self) -> None:
        """Call after the optimiser's step."""
        for group, total in self._angle_sum.items():
            turned = [angles(before, now) for kind, now, before in self._weights if kind == group]
            if turned:
                total += torch.stack(turned).mean(0)

    def end_epoch(self, place: int, steps: int) -> dict[str, float]:
        """The values of one network for an epoch of ``steps`` steps, by name."""
        alone = self._alone[place]
        self._outline.load_state_dict(self._stack.weights_of(place))
        alone.add_up(steps, self._gradient_sum[place], {name: each[place] for name, each in self._angle_sum.items()})
        return alone.end_epoch()
