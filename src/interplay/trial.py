"""The specification of one run of somebody else's training: a command line, or a function of Python.

It stands wherever a `RunSpec` stands, for planning, running, storing and reading. Its knobs have names and kinds of
their own; those under a usual name (`spellings`) can be asked for by the standard one, as an attribute.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from interplay import knobs as knob_words
from interplay.errors import SpecError, nearest
from interplay.spec import SPEC_SCHEMA, RunSpec, knob_names
from interplay.spellings import standard_names
from interplay.text import one_line, shown

Value: TypeAlias = bool | int | float | str
"""Of a knob."""

Kind = Literal["command", "function"]

RESERVED = ("seed", "run_dir", "run_id", "spec", "trainer")
"""What no knob can be called: the lab sets these itself."""

_NAME = re.compile(r"[^\W\d][\w.-]*")


@dataclass(frozen=True)
class TrainerIdentity:
    """What trains. Part of a run's identity.

    Attributes:
        kind: a command line or a function.
        name: the command with its placeholders, or ``module:function``.
        version: as declared; of a function without one, a hash of its source.
    """

    kind: Kind
    name: str
    version: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise SpecError(f"a trainer is a command or a function, not {shown(self.kind)}")
        if not one_line(f"the {self.kind} of a trainer", self.name).strip():
            raise SpecError(f"the {self.kind} of a trainer is empty")
        one_line("the version of a trainer", self.version)


@dataclass(frozen=True)
class TrialOptions:
    """Where and how a trial is carried out and read. Part of no identity.

    Attributes:
        folder: where a command runs; where a function's module lies.
        metrics: file of measurements, relative to the run's own folder; empty for those on standard output.
        pattern: regular expressions of lines that hold measurements, in named groups; without any, lines of JSON do.
        metric: key by which the run is judged; empty for a usual one.
        lower: whether less of it is better.
        timeout: seconds that one attempt may take; 0 for no end.
        retries: how often an attempt that failed is repeated at once.
        grace: seconds between the request to stop and the end of a command that does not.
        environment: further variables of a command; they may have placeholders. They are stored: no place for secrets.
        pickled: a function that no other process can import, by cloudpickle. Stored nowhere.
    """

    folder: str = ""
    metrics: str = ""
    metric: str = ""
    lower: bool = False
    timeout: float = 0.0
    retries: int = 0
    grace: float = 30.0
    pattern: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    pickled: bytes | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; what is at its default is left out."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "pickled"}
        plain = {f.name: f.default for f in dataclasses.fields(self)}
        found = {name: value for name, value in told.items() if value != plain[name]}
        found |= {"pattern": list(self.pattern)} if self.pattern else {}
        return found | ({"environment": dict(self.environment)} if self.environment else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialOptions:
        """The inverse of ``to_dict``; what another version wrote besides is passed over, as no result depends on it."""
        known = {f.name for f in dataclasses.fields(cls)} - {"pickled"}
        told = {name: value for name, value in values.items() if name in known}
        tuples = {"environment": tuple(dict(told.get("environment", {})).items())}
        return cls(**{**told, **tuples, "pattern": tuple(told.get("pattern", ()))})


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of a `TrainerIdentity`. Frozen and validated; equal to another one of the same ``run_id``.

    Attributes:
        trainer: what trains.
        knobs: values by name, read-only; numbers have 12 digits, whole ones are whole: 1 and 1.0 are the same.
        seed: of everything that is drawn.
        options: where and how it is carried out.

    Raises:
        SpecError: a knob of an impossible name or value.
    """

    trainer: TrainerIdentity
    knobs: Mapping[str, Value]
    seed: int = 42
    options: TrialOptions = TrialOptions()

    def __post_init__(self) -> None:
        found = {_name(name): _plain(name, value) for name, value in self.knobs.items()}
        object.__setattr__(self, "knobs", MappingProxyType(found))
        object.__setattr__(self, "seed", _seed(self.seed))

    def __reduce__(self) -> tuple[Any, ...]:
        return Trial, (self.trainer, dict(self.knobs), self.seed, self.options)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trial) and self.run_id == other.run_id

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __getattr__(self, name: str) -> Any:
        """Standard knobs by name, ``None`` where they are not told: what reads a `RunSpec` by its knobs reads both."""
        if name.startswith("_") or name not in knob_names():
            raise AttributeError(f"a trial has no {name!r}")
        return self.standard.get(name)

    # -- identity -------------------------------------------------------------------------------------------------

    @cached_property
    def run_id(self) -> str:
        """16 hex digits of SHA-256 over trainer, knobs and seed; see `trial_id`."""
        return trial_id(self.to_dict())

    @cached_property
    def standard(self) -> Mapping[str, Value]:
        """The knobs that have a standard name, by it."""
        return {standard: self.knobs[name] for standard, name in standard_names(self.knobs).items()}

    @cached_property
    def other_knobs(self) -> dict[str, Any]:
        """All knobs without a standard name."""
        standard = set(standard_names(self.knobs).values())
        return {name: value for name, value in self.knobs.items() if name not in standard}

    def own_name(self, name: str) -> str | None:
        """What this trial calls the knob ``name``, which may be a standard name; ``None`` if it has no such knob."""
        return name if name in self.knobs else standard_names(self.knobs).get(name)

    @property
    def own_knobs(self) -> dict[str, Any]:
        """None: that is for networks of this lab."""
        return {}

    @property
    def own_words(self) -> str:
        """See `own_knobs`."""
        return ""

    @property
    def other_words(self) -> str:
        """``other_knobs`` in one line."""
        return knob_words.in_words(self.other_knobs)

    @property
    def method(self) -> str:
        """Empty: the label of a documented method is for those."""
        return ""

    @property
    def decay_gain(self) -> float | None:
        """m of `RunSpec.decay_gain` where the optimiser is told to be one of those; as of SGD where nothing is told."""
        optimizer = str(self.optimizer or "sgd").lower()
        if optimizer in ("sgdw", "adamw"):
            return 1.0
        told = (self.momentum or 0.0, self.dampening or 0.0)
        if optimizer not in ("sgd", "sgds") or not all(isinstance(v, int | float) and 0 <= v < 1 for v in told):
            return None
        return (1.0 - told[0]) / (1.0 - told[1])

    @property
    def words(self) -> str:
        """Knobs and seed in a line."""
        return " ".join([*(f"{name} {shown_value(value)}" for name, value in self.knobs.items()), f"seed {self.seed}"])

    # -- conversion -----------------------------------------------------------------------------------------------

    def replace(self, **changes: Any) -> Trial:
        """A copy with ``changes`` of knobs, by their own or their standard names, or of the seed.

        Raises:
            SpecError: a knob that it has not; names the nearest.
        """
        found = dict(self.knobs)
        seed = changes.pop("seed", self.seed)
        for name, value in changes.items():
            own = self.own_name(name)
            if own is None:
                raise SpecError(f"unknown knob {shown(name)}; {nearest(name, [*found, 'seed'])}")
            found[own] = value
        return dataclasses.replace(self, knobs=found, seed=seed)

    def to_dict(self) -> dict[str, Any]:
        """JSON types. The key ``trainer`` tells it from a `RunSpec`."""
        return {
            "trainer": dataclasses.asdict(self.trainer),
            "knobs": dict(self.knobs),
            "seed": self.seed,
            "options": self.options.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """The inverse of ``to_dict``; raises `SpecError` for what is none."""
        try:
            trainer = TrainerIdentity(**values["trainer"])
            return cls(trainer, values["knobs"], values["seed"], TrialOptions.from_dict(values.get("options", {})))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, SpecError):
                raise
            raise SpecError(f"the stored trial cannot be read: {error}") from error


Spec: TypeAlias = RunSpec | Trial
"""What a run is: of the lab's own training, or of somebody else's."""


def spec_from_dict(values: Mapping[str, Any]) -> Spec:
    """What ``to_dict`` of either wrote; raises `SpecError` for anything else."""
    return Trial.from_dict(values) if "trainer" in values else RunSpec.from_dict(values)


def trial_id(values: Mapping[str, Any]) -> str:
    """The ``run_id`` of a stored trial: of trainer, knobs, seed and schema. How it is carried out is no part of it."""
    identity = {name: values.get(name) for name in ("trainer", "knobs", "seed")}
    text = json.dumps({"schema": SPEC_SCHEMA, **identity}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trials(specs: Iterable[Spec]) -> list[Trial]:
    """Those of ``specs`` that are trials."""
    return [spec for spec in specs if isinstance(spec, Trial)]


def shown_value(value: Value) -> str:
    """A value as a command gets it: numbers in full, true and false in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > 100:
        raise SpecError(f"a knob must have a name of letters, digits, points and dashes, not {shown(name)}")
    if name in RESERVED:
        raise SpecError(f"no knob can be called {name!r}: the lab sets it")
    return name


def _seed(value: object) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, int | float) or not whole or not 0 <= value < 2**63:
        raise SpecError(f"seed must be a whole number in [0, 2**63), not {shown(value)}")
    return int(value)


def _plain(name: str, value: object) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return one_line(f"knob {name}", value)
    if not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1.7e308:
        raise SpecError(f"knob {name} must be a finite number, a word, true or false, not {shown(value)}")
    if isinstance(value, int):
        return int(value)
    number = float(f"{value:.12g}") + 0.0
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
