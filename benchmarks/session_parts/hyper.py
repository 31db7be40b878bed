"""The hypernetwork of the documented recipe at full depth: images a second and memory in the lab's own loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from interplay.devices import fitted
from interplay.spec import RunSpec
from interplay.speed.measure import random_splits
from interplay.study.presets import hypernetwork
from interplay.train.events import EpochEnded, Event
from interplay.train.loop import train
from session_parts.book import Options, Sections, Session

IMAGES = 12_800
"""Of an epoch: a hundred steps."""


def sections(session: Session, options: Options) -> Sections:
    """The hypernetwork and its direct twin at both widths; its steps cannot be captured by the lab."""
    small = {"blocks_per_stage": 1, "batch_size": 16} if options.tiny else {}
    found: dict[str, Callable[[], None]] = {}
    for widening in (1,) if options.tiny else (1, 2):
        for model in ("hyper_resnet", "wide_resnet"):
            # A tiny rate keeps random labels from making a run diverge.
            spec = hypernetwork(model=model, widening=widening, epochs=3, lr=1e-6, **small)
            found[f"{model} {widening}"] = partial(measured, session, options, fitted(spec, options.place))
    return found


def measured(session: Session, options: Options, spec: RunSpec) -> None:
    """Train three epochs; a row after each."""
    splits = random_splits(spec, 64 if options.tiny else IMAGES, 64, options.place)
    if options.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    rows: list[list[str]] = []

    def emit(event: Event) -> None:
        if isinstance(event, EpochEnded):
            memory = f"{torch.cuda.max_memory_allocated() / 2**20:,.0f}" if options.on_gpu else "-"
            rows.append([str(event.metrics.epoch), f"{event.metrics.images_per_second:,.0f}", memory])
            title = f"{spec.model}, widening {spec.widening}, {spec.precision}, B = {spec.batch_size}"
            session.table(title, ["epoch", "images/s", "memory, MiB"], rows)

    record = train(spec, splits, emit=emit)
    session.keep(parameters=record.parameters, images_per_second=record.history[-1].images_per_second)
