"""Runs in words: their settings in a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from interplay.record import RunRecord
from interplay.trial import Spec, Trial


def describe(spec: Spec) -> str:
    """The knobs that studies vary, in one line."""
    if isinstance(spec, Trial):
        return f"{spec.trainer.name}: {spec.words}"
    return (
        f"{spec.model} on {spec.dataset}, {spec.method}, lr {spec.lr:g}, weight decay {spec.weight_decay:g}, "
        f"momentum {spec.momentum:g}, batch {spec.batch_size}, {spec.epochs} epochs, {spec.schedule}, seed {spec.seed}"
    )


def setting(spec: Spec) -> str:
    """The same, shorter, for a line among many of one study."""
    if isinstance(spec, Trial):
        return spec.words
    return (
        f"{spec.method} lr {spec.lr:g} wd {spec.weight_decay:g} mom {spec.momentum:g} bs {spec.batch_size} "
        f"epochs {spec.epochs} seed {spec.seed}"
    )


def different_code(records: Iterable[RunRecord]) -> list[str]:
    """A line for each trainer of which ``records`` are runs of different code: their knobs may not be all that differs.

    Code is told by the commit of its repository, with ``+`` where files had changes, and by a hash of the script.
    """
    found: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        if isinstance(record.spec, Trial):
            trainer, environment = record.spec.trainer, record.environment
            words = " ".join(str(environment[name]) for name in ("commit", "script") if environment.get(name))
            found.setdefault((trainer.name, trainer.version), Counter())[words or "unknown code"] += 1
    return [
        f"the runs of {name!r} are of different code: " + "; ".join(f"{n} of {code}" for code, n in codes.most_common())
        for (name, _), codes in sorted(found.items())
        if len(codes) > 1
    ]
