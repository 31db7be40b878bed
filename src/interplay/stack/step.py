"""The numbers of a stack: K networks, their optimiser and their batches on one device, and one step of all of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer

from interplay.data.batches import normalise
from interplay.data.splits import Split, Splits
from interplay.models.build import build
from interplay.optim import sgd
from interplay.optim.schedules import epoch_rates
from interplay.spec import RunSpec
from interplay.stack.batches import Choice, Pool, StackedBatches
from interplay.stack.captured import Recorder, Step
from interplay.stack.compiled import MAX_AUTOTUNE, compiled_form
from interplay.stack.instruments import StackedInstruments
from interplay.stack.networks import Stack
from interplay.stack.optimizer import build_stack
from interplay.train.evaluate import Measured, batch_size_for, measured

_SLOTS = {"adam": ("step", "exp_avg", "exp_avg_sq"), "adamw": ("step", "exp_avg", "exp_avg_sq")}
_SGD_SLOTS = ("momentum_buffer",)


@dataclass(frozen=True)
class Sums:
    """What has been added up over batches, for each of the K networks."""

    losses: list[float]
    """Sum over images of the cross-entropy (nats)."""
    correct: list[int]
    seen: int
    """Images that each network has seen."""

    def of(self, place: int) -> Measured:
        """Mean loss and accuracy (%) of one network; ``None`` for both where the loss is not finite."""
        return measured(self.losses[place], self.correct[place], self.seen)


class Networks:
    """K networks in one, on the device of their data.

    Args:
        specs: one run each, with one `partition.stack_key`.
        splits: their data.
        recorder: how steps are made fast, see `captured`.
        instruments: names of optional measurements.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        splits: Sequence[Splits],
        recorder: Recorder | None = None,
        instruments: Sequence[str] = (),
    ) -> None:
        self.specs, self.splits = list(specs), splits[0]
        self.device = self.splits.device
        self.on = [True] * len(specs)
        """Whether each network still trains."""
        networks = [build(spec, self.splits.shape, self.splits.classes) for spec in specs]
        self.stack = Stack(networks).to(self.device)
        self.outline = networks[0].to(self.device)
        """Of one network: what an optimiser's checkpoint is about. Its weights mean nothing."""
        self.forward: Callable[[Tensor], Tensor] = self.stack
        """The forward pass of training."""
        self.optimizer = build_stack(specs, self.stack)
        self._prime()
        self.batches = StackedBatches(specs, splits)
        self.autocast = torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=specs[0].precision == "bf16", cache_enabled=False
        )
        self._loss_sum = torch.zeros(len(specs), dtype=torch.float64, device=self.device)
        self._correct = torch.zeros(len(specs), dtype=torch.int64, device=self.device)
        self._last_loss, self._last_correct = torch.zeros_like(self._loss_sum), torch.zeros_like(self._correct)
        self._seen = self._last_seen = 0
        self.instruments = (
            StackedInstruments(instruments, specs, splits, self.stack, self.outline) if instruments else None
        )
        self._rates = torch.zeros(1, len(specs))
        self._epoch_rates: list[list[float]] = []
        self._recorder = recorder
        rates = [group["lr"] for group in self.optimizer.param_groups]
        measures = [] if self.instruments is None else self.instruments.tensors
        self._step = Step(self._train, [*self._tensors(), *rates, *self._counts, *measures], recorder)
        self._pools: dict[tuple[int, ...], tuple[Pool, Step]] = {}

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return self.batches.steps

    def compile(self, kind: Hashable, *, autotune: bool = False) -> None:
        """Train through Inductor, from the first step on; networks of one ``kind`` share what it makes.

        With ``autotune`` it compiles for minutes, and times several kernels for each operation.
        """
        self.forward = compiled_form(self.stack, (kind, len(self.specs)), MAX_AUTOTUNE if autotune else None)

    def close(self) -> None:
        """Give back what was recorded, and its memory, now and not when garbage is collected; see `Step.close`."""
        self._step.close()
        for _, step in self._pools.values():
            step.close()
        self._pools.clear()

    def _prime(self) -> None:
        """Create the optimiser's state: a buffer of zeros takes the first gradient whole, as one that is not there."""
        for group in self.optimizer.param_groups:
            for weight in group["params"]:
                self.optimizer.state[weight] = {
                    name: torch.zeros_like(group["lr"] if name == "step" else weight) for name in self._slots
                }

    @property
    def _slots(self) -> tuple[str, ...]:
        return _SLOTS.get(self.specs[0].optimizer, _SGD_SLOTS)

    @property
    def _counts(self) -> list[Tensor]:
        return [self._loss_sum, self._correct, self._last_loss, self._last_correct]

    def _tensors(self) -> list[Tensor]:
        """Everything with one part a network that training changes."""
        slots = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self.stack.state_dict().values(), *slots]

    # -- training -------------------------------------------------------------------------------------------------

    def train_epoch(self, epochs: Sequence[int]) -> Iterator[int]:
        """Train the epoch that is each network's own; yields the number of each batch, from 1, when it is through."""
        self._epoch_rates = [epoch_rates(*each, self.steps) for each in zip(self.specs, epochs, strict=True)]
        self._rates = torch.tensor(self._epoch_rates).t().contiguous().to(self.device)
        self._rates *= torch.tensor(self.on, device=self.device)
        self._clear()
        if self.instruments is not None:
            self.instruments.reset()
        self.stack.train()
        for number, choice in enumerate(self.batches.epoch(epochs)):
            self._step(choice.index, choice.offsets, choice.flips, self._rates[number])
            self._last_seen = len(choice.index) // len(self.specs)
            self._seen += self._last_seen
            yield number + 1

    def _train(self, index: Tensor, offsets: Tensor, flips: Tensor, rates: Tensor) -> None:
        sgd.set_lr(self.optimizer, rates)
        images, labels = self.batches.gather(Choice(index, offsets, flips))
        with self.autocast:
            logits = self.forward(self.stack.arranged(images))
            losses = self._losses(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        # A sum: the gradient of each network is that of its own mean loss.
        losses.mean(1).sum().backward()  # type: ignore[no-untyped-call]
        if self.instruments is not None:
            self.instruments.before_step()
        self.optimizer.step()
        if self.instruments is not None:
            self.instruments.after_step()
        self._add(losses.detach().double().mean(1) * labels.shape[1], logits.detach(), labels)

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each image [K, b] of logits [K, b, classes]."""
        each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return each.view(labels.shape)

    def _add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._last_loss.copy_(losses)
        self._last_correct.copy_((logits.argmax(2) == labels).sum(1))
        self._loss_sum += self._last_loss
        self._correct += self._last_correct

    def _clear(self) -> None:
        self._loss_sum.zero_()
        self._correct.zero_()
        self._seen = 0

    def sums(self) -> Sums:
        """Of this epoch so far; the host waits for the device."""
        return Sums(self._loss_sum.tolist(), self._correct.tolist(), self._seen)

    def last(self) -> Sums:
        """Of the last batch alone; the host waits for the device."""
        return Sums(self._last_loss.tolist(), self._last_correct.tolist(), self._last_seen)

    def measured(self, place: int) -> dict[str, float]:
        """The instruments of one network for the epoch that has ended."""
        return {} if self.instruments is None else self.instruments.end_epoch(place, self.steps)

    def rate(self, place: int, step: int) -> float:
        """The learning rate of one network at a step of this epoch, from 1."""
        return self._epoch_rates[place][step - 1]

    @torch.no_grad()
    def silence(self, place: int) -> None:
        """Train one network no further. Its numbers become zero, so that it computes nothing that is not finite."""
        self.on[place] = False
        self.stack.silence(place)
        for state in self.optimizer.state.values():
            for value in state.values():
                value[place].zero_()
        self._rates[:, place] = 0
        self._loss_sum[place] = 0

    # -- evaluation -----------------------------------------------------------------------------------------------

    def evaluate(self, splits: Sequence[Split]) -> Sums:
        """Sums over ``splits``, one for each network, in evaluation mode; the host waits once, at the end."""
        self.look(splits)
        return self.sums()

    @torch.no_grad()
    def look(self, splits: Sequence[Split]) -> None:
        """Add up what `evaluate` returns; the host does not wait."""
        names = tuple(id(split.images) for split in splits)
        if names not in self._pools:
            pool = Pool(splits)

            def body(index: Tensor) -> None:
                self._test(pool, index)

            self._pools[names] = pool, Step(body, self._counts, self._recorder)
        pool, step = self._pools[names]
        self._clear()
        self.stack.eval()
        size = max(32, batch_size_for(self.splits) // len(self.specs))
        numbers = torch.arange(pool.count, device=self.device)[:, None] + pool.first
        for part in torch.split(numbers, size):
            step(part.flatten())
            self._seen += len(part)

    @torch.no_grad()
    def _test(self, pool: Pool, index: Tensor) -> None:
        labels = pool.labels_of(index)
        images = normalise(pool.images[index], self.batches.mean, self.batches.std)
        with self.autocast:
            logits = self.stack(self.stack.arranged(images))
        self._add(self._losses(logits.float(), labels).double().sum(1), logits, labels)

    # -- one network alone ----------------------------------------------------------------------------------------

    def alone(self, place: int) -> tuple[dict[str, Tensor], Optimizer]:
        """Weights and buffers of one network, and its optimiser, as those of a run that trains alone."""
        optimizer = sgd.build(self.specs[place], self.outline)
        for own, stacked in zip(self.outline.parameters(), self.stack.parameters(), strict=True):
            state = self.optimizer.state[stacked]
            optimizer.state[own] = {name: value[place].clone() for name, value in state.items()}
        return self.stack.weights_of(place), optimizer

    @torch.no_grad()
    def restore(self, place: int, state: Mapping[str, Any]) -> None:
        """Set one network to a checkpoint of its run, written by either loop."""
        self.stack.set_weights(place, state["model_state_dict"])
        optimizer = sgd.build(self.specs[place], self.outline)
        optimizer.load_state_dict(state["optimizer_state_dict"])
        for own, stacked in zip(self.outline.parameters(), self.stack.parameters(), strict=True):
            for name, value in self.optimizer.state[stacked].items():
                found = optimizer.state[own].get(name)
                if found is not None:  # torch keeps no buffer where the momentum is 0
                    value[place].copy_(found)
