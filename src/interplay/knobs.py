"""What knobs are: their names, their kinds, their limits. `RunSpec` is made of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from interplay.errors import SpecError
from interplay.text import shown

OptimizerName = Literal["sgd", "sgdw", "sgds", "adam", "adamw"]
ScheduleName = Literal["cosine", "constant", "step", "linear"]

WIDE = ("wide_resnet", "hyper_resnet")
HYPER = ("hyper_resnet",)
ADAM = ("adam", "adamw")


WITHOUT_COLUMN = ("dampening", "schedule_every", "milestones", "gamma")


def in_words(knobs: Mapping[str, Any]) -> str:
    """Knobs in one line, ``name=value`` each."""
    return " ".join(f"{name}={str(value).replace(' ', '')}" for name, value in knobs.items())


def knob(default: Any, help: str, **only: tuple[str, ...]) -> Any:
    """A knob; ``only`` says of which models (``model=``) or optimisers (``optimizer=``) it is one, if not of all."""
    words = [word for words in only.values() for word in words]
    help = f"{help} ({', '.join(words)} only)" if words else help
    return dataclasses.field(default=default, metadata={"help": help, "only": only})


REAL = ("lr", "weight_decay", "momentum", "dampening", "label_noise", "gamma", "kernel_decay", "beta2", "eps")
WHOLE = ("val_split", "batch_size", "epochs", "warmup_epochs", "seed", "widening", "blocks_per_stage")


MOST = {"epochs": 10**6, "widening": 10**3, "blocks_per_stage": 10**3, "seed": 2**63 - 1}
"""Limits of whole numbers (others: 2**31 - 1): beyond, no machine holds the network or comes to the end of the run."""

BY_THEMSELVES = frozenset(("seed", "precision", "fingerprint"))
"""Knobs that no check of another one looks at."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are one, also in their type: 1 and True are not."""
    return type(one) is type(other) and bool(one == other)


def number(name: str, value: object) -> float:
    """``value`` of the knob ``name``; raises `SpecError` unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1.7e308:
        raise SpecError(f"{name} must be a finite number, not {shown(value)}")
    return float(value)


def fractions(found: object) -> tuple[float, ...]:
    """Milestones as floats; raises `SpecError` for what is no list of numbers."""
    if not isinstance(found, list | tuple) or not all(type(each) in (int, float) for each in found):
        raise SpecError(f"milestones must be rising fractions in (0, 1), not {shown(found)}")
    return tuple(math.inf if each > 1 else float(max(each, -1)) for each in found)


def applies(field: dataclasses.Field[Any], values: Mapping[str, Any]) -> bool:
    """Whether a run with ``values`` has the knob."""
    return all(values.get(chooser) in words for chooser, words in field.metadata["only"].items())
