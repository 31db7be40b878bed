"""Ways for tests to follow a run: what `train` and `train_stack` take as ``emit`` and ``should_stop``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.train.events import Emit, EpochEnded, Event


def hearing(kind: type[Any], hear: Callable[[Any], object]) -> Emit:
    """An ``emit`` that hears of one kind of event."""

    def emit(event: Event) -> None:
        if isinstance(event, kind):
            hear(event)

    return emit


def on_epoch_of(hear: Callable[[RunSpec, EpochMetrics], object]) -> dict[str, Any]:
    """Arguments with which ``hear`` is told of each epoch of each run; the run or stack stops once it says True."""
    said = False

    def emit(event: Event) -> None:
        nonlocal said
        if isinstance(event, EpochEnded):
            assert isinstance(event.spec, RunSpec)
            said = hear(event.spec, event.metrics) is True

    return {"emit": emit, "should_stop": lambda: said}


def on_epoch(hear: Callable[[EpochMetrics], object]) -> dict[str, Any]:
    """The same for whoever does not ask which run it is."""
    return on_epoch_of(lambda spec, metrics: hear(metrics))
