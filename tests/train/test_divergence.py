from __future__ import annotations

import math

from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.train.divergence import DivergenceRule

GUESS = math.log(100)


def history(*losses: float, acc: float = 1.0) -> list[EpochMetrics]:
    return [EpochMetrics(i, 0.1, loss, acc, loss, acc) for i, loss in enumerate(losses, start=1)]


def rule(epochs: int = 20, first: float = 4.7, warmup: int = 0) -> DivergenceRule:
    found = DivergenceRule(RunSpec(epochs=epochs, warmup_epochs=warmup), classes=100, images=50_000)
    found.first_batch(first)
    return found


def test_not_finite_stops_at_once() -> None:
    assert rule().batch(math.nan)
    assert rule().batch(math.inf)
    assert rule().batch(1e30) is None
    assert rule().epoch(history(math.nan)) == "the training loss is not finite"


def test_twice_the_start_counts_after_warmup_or_a_tenth_of_the_run() -> None:
    assert rule().epoch(history(9.5)) is None
    assert "above twice its start (4.7)" in str(rule().epoch(history(9.5, 9.5)))
    assert rule().epoch(history(9.3, 9.3)) is None
    assert rule(warmup=5).epoch(history(9.5, 9.5, 9.5)) is None


def test_a_dead_network_is_given_up_after_three_epochs_at_chance() -> None:
    assert rule().epoch(history(5.5, GUESS)) is None
    assert "at chance" in str(rule().epoch(history(5.5, GUESS, GUESS, GUESS)))


def test_a_slow_run_is_not_stopped() -> None:
    # At chance and worse than guessing, but the loss falls: only the rate is small.
    assert rule().epoch(history(4.95, 4.90, 4.85, 4.80)) is None
    # A loss below that of guessing: something is learnt.
    assert rule().epoch(history(4.55, 4.55, 4.55, 4.55)) is None
    assert rule().epoch(history(GUESS, GUESS, GUESS, GUESS, acc=2.0)) is None
