"""A cell: all knobs of a run but its seed, typed and by name. Runs of one cell are repetitions of each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import PurePath
from typing import Any

from interplay.spec import knob_names
from interplay.tables.values import Value, rounded
from interplay.trial import Spec

DOCUMENTED: dict[str, Value] = {
    "epochs": 100,
    "schedule": "cosine",
    "optimizer": "sgd",
    "val_split": 0,
    "label_noise": 0.0,
    "nesterov": False,
    "dampening": 0.0,
    "decay_on": "all",
    "warmup_epochs": 0,
    "schedule_every": "epoch",
    "milestones": (0.5, 0.75),
    "gamma": 0.1,
    "precision": "bf16",
}
"""What a knob is that is not told, as in the documented programme."""

VARIED = ("lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule")
"""Knobs that the claims vary; all others name the network, its data and how it is trained: `Cell.network`."""

_COLUMNS = (
    "model dataset optimizer train_limit label_noise val_split nesterov decay_on warmup_epochs precision"
).split()
_WHOLE = frozenset(("batch_size", "epochs", "train_limit", "val_split", "warmup_epochs"))
_FIRST = ("model", "dataset")
_STANDARD = frozenset((*knob_names(), "method", "data"))


class Cell:
    """An immutable mapping from names of knobs to values; hashable, and ordered by the knobs that claims vary.

    Numbers are rounded to 7 significant digits, so that 0.1 and the same number in single precision are one value. A
    knob at its documented value (`DOCUMENTED`) is the same as one that is not told. A dataset is named by its file, not
    by the folder that it lies in.
    """

    __slots__ = ("__dict__", "_hash", "_values", "knobs")

    knobs: tuple[tuple[str, Value], ...]
    """What is told, sorted by name."""

    assumed: frozenset[str] = frozenset()
    """Knobs at their documented value of which nobody knows: those that a script of somebody's own has not. They are
    shown to nobody. No part of equality."""

    def __init__(self, knobs: Mapping[str, Value | None] | Iterable[tuple[str, Value | None]]) -> None:
        told = {name: _plain(name, value) for name, value in dict(knobs).items() if value is not None and value != ""}
        self._set({name: value for name, value in told.items() if DOCUMENTED.get(name) != value})

    def _set(self, values: dict[str, Value]) -> None:
        self._values = values
        self.knobs = tuple(sorted(values.items()))
        self._hash = hash(self.knobs)

    @classmethod
    def of(
        cls,
        lr: float,
        weight_decay: float,
        momentum: float,
        batch_size: int,
        epochs: int = 100,
        schedule: str = "cosine",
        **others: Value,
    ) -> Cell:
        """A cell of this lab's training by its knobs."""
        varied: tuple[Value, ...] = (lr, weight_decay, momentum, batch_size, epochs, schedule)
        return cls({**dict(zip(VARIED, varied, strict=True)), **others})

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a knob, the documented one where it is not told; ``default`` where there is none."""
        return self._values.get(name, DOCUMENTED.get(name, default))

    def __getitem__(self, name: str) -> Any:
        """As ``get``, but raises KeyError where there is none."""
        return self._values[name] if name in self._values else DOCUMENTED[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values or name in DOCUMENTED

    def __iter__(self) -> Iterator[str]:
        """Names of the knobs that are told and not at their documented value."""
        return iter(name for name, _ in self.knobs)

    def __len__(self) -> int:
        return len(self.knobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self._hash == other._hash and self.knobs == other.knobs

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: Cell) -> bool:
        return self._order < other._order

    def __repr__(self) -> str:
        return f"Cell({', '.join(f'{name}={value!r}' for name, value in self.knobs)})"

    @property
    def lr(self) -> float:
        """Peak learning rate η; raises KeyError where it is not told, as `batch_size` does."""
        return float(self["lr"])

    @property
    def weight_decay(self) -> float:
        """λ; 0 where it is not told, as in sweeps that never had any."""
        return float(self.get("weight_decay", 0.0))

    @property
    def momentum(self) -> float:
        """μ; 0 where it is not told, as in tables of Adam."""
        return float(self.get("momentum", 0.0))

    @property
    def batch_size(self) -> int:
        """B."""
        return int(self["batch_size"])

    @property
    def epochs(self) -> int:
        """E."""
        return int(self["epochs"])

    @property
    def schedule(self) -> str:
        """Shape of the learning rate over the run."""
        return str(self["schedule"])

    @cached_property
    def network(self) -> Cell:
        """The knobs that name network, data, optimiser and so on: all but those that claims vary (`VARIED`)."""
        return self.without(*VARIED)

    @cached_property
    def scatter(self) -> Cell:
        """What decides how much runs scatter, besides their level: `network` without warm-up and numbers of one's own.

        Warm-up is a part of the schedule. What a table or a script names itself has many values as an axis has, and few
        runs each.
        """
        numbers = (name for name, value in self.own if isinstance(value, int | float))
        return self.network.without("warmup_epochs", *numbers)

    @property
    def own(self) -> tuple[tuple[str, Value], ...]:
        """Knobs under names of one's own, which this lab's training does not have."""
        return tuple((name, value) for name, value in self.knobs if name not in _STANDARD)

    def without(self, *names: str) -> Cell:
        """The same without some knobs: equal for cells that differ in these only, so a key to group by."""
        if names not in self._rests:
            rest = Cell.__new__(Cell)  # its values are plain already
            rest._set({name: value for name, value in self.knobs if name not in names})
            self._rests[names] = rest
        return self._rests[names]

    @cached_property
    def _rests(self) -> dict[tuple[str, ...], Cell]:
        return {}

    def replace(self, **changes: Value | None) -> Cell:
        """The same with some knobs changed; ``None`` takes one away."""
        return Cell({**self._values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """JSON types: the knobs that claims vary, then the others that are told."""
        return {name: self.get(name) for name in VARIED} | dict(self.network.knobs)

    def words(self) -> str:
        """For people, in one line: what differs from the documented values; network and data without their names."""
        first = [_shown(self._values[name]) for name in _FIRST if name in self._values]
        return " ".join([*first, *(f"{name}={_shown(value)}" for name, value in self.knobs if name not in _FIRST)])

    @cached_property
    def _order(self) -> tuple[tuple[int, float, str], ...]:
        varied = [_sortable(self.get(name)) for name in VARIED]
        others = [part for name, value in self.network.knobs for part in ((1, 0.0, name), _sortable(value))]
        return (*varied, *others)


def cell_of(spec: Spec) -> Cell:
    """The cell that a run belongs to: everything but its seed."""
    knobs = {name: getattr(spec, name) for name in (*VARIED, *_COLUMNS)}
    found = Cell({**knobs, **spec.own_knobs, **spec.other_knobs})
    found.assumed = frozenset(name for name, value in knobs.items() if value is None)
    return found


def _plain(name: str, value: Value) -> Value:
    if name == "dataset":
        return PurePath(str(value)).name
    if isinstance(value, str | bool):
        return value
    if isinstance(value, tuple):
        return tuple(rounded(float(part)) for part in value)
    number = rounded(float(value))
    return int(number) if name in _WHOLE and number.is_integer() else number


def _sortable(value: object) -> tuple[int, float, str]:
    """Missing values first, then numbers, then text."""
    if value is None:
        return (-1, 0.0, "")
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _shown(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({','.join(f'{part:g}' for part in value)})"
    return f"{value:g}" if isinstance(value, float) else str(value)
