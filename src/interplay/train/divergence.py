"""When a run counts as diverged. Only such runs are stopped early: stopping slow ones would bend the optima."""

from __future__ import annotations

import math
from itertools import pairwise

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
      that of even guessing, ln C, and no fall of the loss by a thousandth from one to the next. The last two
      conditions spare runs whose rate is merely small.
    """

    def __init__(self, spec: RunSpec, classes: int, images: int) -> None:
        self._from_epoch = max(spec.warmup_epochs, math.ceil(0.1 * spec.epochs))
        chance = 1 / classes
        self._chance = 100 * (chance + 3 * math.sqrt(chance * (1 - chance) / images))
        self._guessing = math.log(classes)
        self._first_loss: float | None = None

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

    def epoch(self, history: list[EpochMetrics]) -> str | None:
        """The reason to stop after the last epoch of ``history``, or ``None``."""
        last = history[-1]
        if last.train_loss is None or not math.isfinite(last.train_loss):
            return "the training loss is not finite"
        if last.epoch < self._from_epoch:
            return None
        if self._first_loss is not None and last.train_loss > 2 * self._first_loss:
            return f"training loss {last.train_loss:.4g} is above twice its start ({self._first_loss:.4g})"
        recent = history[-CHANCE_EPOCHS:]
        if len(recent) == CHANCE_EPOCHS and all(self._at_chance(m) for m in recent) and not _falling(recent):
            return f"accuracy at chance ({last.train_acc:.2f} %) for {CHANCE_EPOCHS} epochs and the loss does not fall"
        return None

    def _at_chance(self, metrics: EpochMetrics) -> bool:
        loss, accuracy = metrics.train_loss, metrics.train_acc
        return loss is not None and accuracy is not None and accuracy <= self._chance and loss >= 0.999 * self._guessing


def _falling(history: list[EpochMetrics]) -> bool:
    losses = [m.train_loss for m in history if m.train_loss is not None]
    return any(later < 0.999 * earlier for earlier, later in pairwise(losses))
