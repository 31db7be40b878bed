"""When a run counts as diverged. Only such runs are stopped early: stopping slow ones would bend the optima."""

from __future__ import annotations

import math
from itertools import pairwise

from interplay.dataset_facts import chance
from interplay.record import EpochMetrics
from interplay.spec import RunSpec

CHANCE_EPOCHS = 3
"""Epochs in a row at chance, without progress, before a run is given up."""


class DivergenceRule:
    """Decides from the losses alone whether a run has diverged.

    - A loss that is not finite: at once.
    - After the warm-up or a tenth of the run, whichever is longer:
      an epoch's mean loss above twice the loss of the first batch, or
      three epochs in a row with training accuracy within three standard deviations of chance, a loss no better than
      that of even guessing, ln C, and no fall of the loss by a thousandth from one to the next, in a run that was
      damaged: by its rate (an epoch's loss rose to 1.05 times that of the first batch) or by its decay (weights divided
      by e³ or more so far, Λ = Σ η_t λ/m >= 3, where m is known). A run whose rate is merely small also stays at
      chance, but undamaged.
    """

    def __init__(self, spec: RunSpec, classes: int, images: int, steps_per_epoch: int) -> None:
        self._from_epoch = max(spec.warmup_epochs, math.ceil(0.1 * spec.epochs))
        self._chance = chance(classes, images)
        self._guessing = math.log(classes)
        self._first_loss: float | None = None
        self._decay_per_rate = 0.0 if spec.decay_gain is None else spec.weight_decay / spec.decay_gain * steps_per_epoch

    def first_batch(self, loss: float) -> None:
        """Tell the loss before the first update."""
        self._first_loss = loss

    def state(self) -> float | None:
        """What a checkpoint must keep: the loss of the first batch."""
        return self._first_loss

    @staticmethod
    def batch(loss: float) -> str | None:
        """The reason to stop after a batch of this loss, or ``None``."""
        return None if math.isfinite(loss) else "the training loss is not finite"

    def epoch(self, history: list[EpochMetrics], *, tested: bool = True) -> str | None:
        """The reason to stop after the last epoch of ``history``, or ``None``.

        ``tested`` says whether the test images were looked at then: if so, a loss that is absent was not finite.
        """
        last = history[-1]
        if last.train_loss is None or not math.isfinite(last.train_loss):
            return "the training loss is not finite"
        if tested and (last.test_loss is None or not math.isfinite(last.test_loss)):
            return "the test loss is not finite"
        if last.epoch < self._from_epoch:
            return None
        if self._first_loss is not None and last.train_loss > 2 * self._first_loss:
            return f"training loss {last.train_loss:.4g} is above twice its start ({self._first_loss:.4g})"
        recent = history[-CHANCE_EPOCHS:]
        stuck = len(recent) == CHANCE_EPOCHS and all(self._at_chance(m) for m in recent) and not _falling(recent)
        if stuck and self._damaged(history):
            return f"accuracy at chance ({last.train_acc:.2f} %) for {CHANCE_EPOCHS} epochs and the loss does not fall"
        return None

    def _damaged(self, history: list[EpochMetrics]) -> bool:
        highest = max(m.train_loss for m in history if m.train_loss is not None)
        by_rate = self._first_loss is not None and highest > 1.05 * self._first_loss
        by_decay = self._decay_per_rate * sum(m.lr for m in history) >= 3
        return by_rate or by_decay

    def _at_chance(self, metrics: EpochMetrics) -> bool:
        loss, accuracy = metrics.train_loss, metrics.train_acc
        return loss is not None and accuracy is not None and accuracy <= self._chance and loss >= 0.999 * self._guessing


def _falling(history: list[EpochMetrics]) -> bool:
    losses = [m.train_loss for m in history if m.train_loss is not None]
    return any(later < 0.999 * earlier for earlier, later in pairwise(losses))
