from __future__ import annotations

import math

from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.train.divergence import DivergenceRule

GUESS = math.log(100)


def history(*losses: float, acc: float = 1.0) -> list[EpochMetrics]:
    return [EpochMetrics(i, 0.1, loss, acc, loss, acc) for i, loss in enumerate(losses, start=1)]


def rule(epochs: int = 20, first: float = 4.7, warmup: int = 0, weight_decay: float = 5e-4) -> DivergenceRule:
    spec = RunSpec(epochs=epochs, warmup_epochs=warmup, weight_decay=weight_decay)
    found = DivergenceRule(spec, classes=100, images=50_000, steps_per_epoch=391)
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


def test_a_network_shrunk_to_nothing_by_decay_is_given_up() -> None:
    # 391 steps an epoch at rate 0.1 and λ/m = 0.05 are two e-folds an epoch.
    assert "at chance" in str(rule(weight_decay=5e-3).epoch(history(4.70, GUESS, GUESS, GUESS)))
    assert rule(weight_decay=5e-5).epoch(history(4.70, GUESS, GUESS, GUESS)) is None


def test_a_slow_run_is_not_stopped() -> None:
    # Undamaged, at chance, standing still: only the rate is tiny.
    assert rule(first=4.7, weight_decay=0).epoch(history(4.71, 4.70, 4.71, 4.70)) is None
    # At chance and worse than guessing, but the loss falls.
    assert rule().epoch(history(4.95, 4.90, 4.85, 4.80)) is None
    # A loss below that of guessing: something is learnt.
    assert rule().epoch(history(4.55, 4.55, 4.55, 4.55)) is None
    assert rule().epoch(history(GUESS, GUESS, GUESS, GUESS, acc=2.0)) is None


def test_weights_that_break_after_the_last_loss_are_seen_by_the_test() -> None:
    broken = EpochMetrics(1, 0.1, 2.0, 50.0, None, None)
    assert rule().epoch([broken]) == "the test loss is not finite"
