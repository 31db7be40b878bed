"""Which runs may be trained as one stack."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from interplay.by_path import BY_PATH
from interplay.spec import RunSpec
from interplay.trial import Spec, Trial

OWN = ("lr", "weight_decay", "momentum", "seed")
"""Knobs that each network of a stack has for itself."""

_NOT_STACKED = ("hyper_resnet",)


def stackable(spec: Spec) -> bool:
    """Whether a run can be one of a stack.

    Not somebody else's training; not where weights are generated, nor networks by import path, of which nothing is
    known. And not with dampening: it spares the first step alone, so that runs that are at different steps would need
    different equations.
    """
    unknown = isinstance(spec, Trial) or spec.model in BY_PATH
    return not unknown and spec.model not in _NOT_STACKED and spec.dampening == 0


@lru_cache(maxsize=100_000)
def kind(spec: Spec) -> str:
    """What runs have in common that cost the same: everything but `OWN`."""
    return json.dumps({name: value for name, value in spec.to_dict().items() if name not in OWN}, sort_keys=True)


def stack_key(spec: Spec) -> str | None:
    """What runs of one stack have in common: their `kind`; ``None`` for a run that goes alone."""
    return kind(spec) if stackable(spec) else None


def stacks(specs: Iterable[RunSpec], largest: int) -> list[list[RunSpec]]:
    """``specs`` in stacks of at most ``largest``, in the order in which their first run comes.

    Stacks of one kind differ by one run at most, so that none is left to train few networks at the price of many.
    """
    kinds: dict[str, list[RunSpec]] = {}
    for spec in specs:
        kinds.setdefault(stack_key(spec) or spec.run_id, []).append(spec)
    found = []
    for members in kinds.values():
        count = -(-len(members) // max(1, largest))
        bounds = [round(part * len(members) / count) for part in range(count + 1)]
        found += [members[start:end] for start, end in pairwise(bounds)]
    return found
