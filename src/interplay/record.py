"""What a run leaves behind: one `RunRecord`. Everything downstream (store, analysis, figures, page) reads only this."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from interplay.errors import SchemaError, SpecError
from interplay.spec import RunSpec

RECORD_SCHEMA = 1
"""Version of the format that ``RunRecord.to_dict`` writes."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""``MIGRATIONS[n]`` turns a record of schema n into one of schema n+1. A version without an entry cannot be read."""


class Status(StrEnum):
    """How a run ended. A diverged run is a result (the setting does not train), a failed one is not."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"


METRICS = ("final_test_acc", "best_test_acc", "final_test_loss", "final_train_loss", "final_val_acc")
"""What a run can be judged by."""


@dataclass(frozen=True)
class EpochMetrics:
    """Measurements of one epoch. Accuracies are per cent; losses are mean cross-entropy per image, in nats.

    ``train_loss`` and ``train_acc`` are averages over the epoch while the weights move, under augmentation and with
    the (possibly noisy) training labels; test and validation values are taken in evaluation mode at its end.
    """

    epoch: int
    """1 for the first epoch."""
    lr: float
    """Learning rate at the first step of the epoch."""
    train_loss: float | None
    train_acc: float | None
    test_loss: float | None
    test_acc: float | None
    val_loss: float | None = None
    val_acc: float | None = None
    seconds: float = 0.0
    """Wall time of training and evaluation in this epoch."""
    images_per_second: float = 0.0
    """Training throughput, evaluation excluded."""
    instruments: Mapping[str, float | None] = field(default_factory=dict)
    """Optional measurements by name, such as ``weight_norm/conv``."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types; a non-finite number becomes ``None``, since JSON has no NaN."""
        values = dataclasses.asdict(self)
        values["instruments"] = dict(self.instruments)
        return {name: cleaned(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EpochMetrics:
        """The inverse of ``to_dict``; raises `SchemaError` on missing or unknown fields."""
        return cls(**_exact_fields(cls, values))


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """The epoch with the highest test accuracy, the first of equals; ``None`` if none was measured."""
    return max((m for m in history if m.test_acc is not None), key=lambda m: m.test_acc or 0.0, default=None)


@dataclass(frozen=True)
class RunRecord:
    """One run: its specification, how it ended, its history, and what it ran on."""

    spec: RunSpec
    status: Status
    history: tuple[EpochMetrics, ...] = ()
    reason: str | None = None
    """Why a run diverged or failed, in one line; ``None`` for a finished one."""
    traceback: str | None = None
    """Full traceback of a failed run."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """torch, CUDA and device, commit, threads, and the path through the code that trained."""
    collapse: Mapping[str, float] = field(default_factory=dict)
    """S and the variables of ``train.collapse`` on which runs may fall together."""
    model_class: str | None = None
    """Class of the network that was really built."""
    parameters: int | None = None
    """Number of trainable parameters of that network."""
    wall_seconds: float = 0.0
    started_at: str = ""
    """UTC, ISO 8601."""
    run_id: str = ""
    committed_at: str = ""
    """UTC with microseconds, set by the store; rising from commit to commit, so it orders the rows of results.csv."""

    def __post_init__(self) -> None:
        if not self.run_id:
            object.__setattr__(self, "run_id", self.spec.run_id)

    @property
    def final_test_acc(self) -> float | None:
        """Test accuracy (%) after the last epoch of a finished run; ``None`` if it did not get there."""
        return self._final("test_acc")

    @property
    def final_test_loss(self) -> float | None:
        """Test loss after the last epoch of a finished run."""
        return self._final("test_loss")

    @property
    def final_train_loss(self) -> float | None:
        """Training loss averaged over the last epoch of a finished run."""
        return self._final("train_loss")

    @property
    def final_val_acc(self) -> float | None:
        """Validation accuracy (%) after the last epoch of a finished run that has a validation split."""
        return self._final("val_acc")

    @property
    def best_test_acc(self) -> float | None:
        """Maximum of the test accuracy (%) over all epochs measured: selected on the test set, so optimistic."""
        best = best_epoch(self.history)
        return best.test_acc if best is not None else None

    @property
    def images_per_second(self) -> float | None:
        """Median training throughput over epochs."""
        rates = sorted(m.images_per_second for m in self.history)
        return rates[len(rates) // 2] if rates else None

    def _final(self, name: str) -> float | None:
        if self.status is not Status.FINISHED or not self.history:
            return None
        value: float | None = getattr(self.history[-1], name)
        return value

    def to_dict(self) -> dict[str, Any]:
        """JSON types, with the schema version first."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values |= {
            "spec": self.spec.to_dict(),
            "status": str(self.status),
            "history": [m.to_dict() for m in self.history],
            "environment": dict(self.environment),
            "collapse": dict(self.collapse),
        }
        return {"schema": RECORD_SCHEMA, **cleaned(values)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunRecord:
        """Read what ``to_dict`` wrote, older versions through `MIGRATIONS`.

        Raises:
            SchemaError: unknown version, or fields missing or unknown. Nothing is filled in by default.
        """
        found = migrated(dict(values))
        fields = _exact_fields(cls, found)
        try:
            spec = RunSpec.from_dict(found["spec"])
            status = Status(found["status"])
        except (SpecError, ValueError) as error:
            raise SchemaError(f"record {found.get('run_id')}: {error}") from error
        history = tuple(EpochMetrics.from_dict(m) for m in found["history"])
        return cls(**{**fields, "spec": spec, "status": status, "history": history})

    def to_json(self) -> str:
        """One JSON document, indented for reading."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read what ``to_json`` wrote; raises `SchemaError` when it is not that."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise SchemaError(f"not a run record: {error}") from error
        if not isinstance(values, dict):
            raise SchemaError("not a run record: no JSON object")
        return cls.from_dict(values)


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` brought to `RECORD_SCHEMA`, without the version; raises `SchemaError` where no way leads there."""
    version = values.pop("schema", None)
    if not isinstance(version, int):
        raise SchemaError(f"the record states no schema version; this version reads {RECORD_SCHEMA}")
    if version > RECORD_SCHEMA:
        raise SchemaError(f"the record has schema {version}, newer than {RECORD_SCHEMA}: update interplay to read it")
    for step in range(version, RECORD_SCHEMA):
        if step not in MIGRATIONS:
            raise SchemaError(
                f"the record has schema {version}; this version reads {RECORD_SCHEMA} and has no migration"
            )
        values = MIGRATIONS[step](values)
    return values


def cleaned(value: Any) -> Any:
    """``value`` with every non-finite float replaced by ``None``: a missing number stays missing, never 0."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: cleaned(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(v) for v in value]
    return value


def _exact_fields(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {f.name for f in dataclasses.fields(cls)}
    if missing := sorted(names - set(values)):
        raise SchemaError(f"{cls.__name__}: missing {', '.join(missing)}")
    if extra := sorted(set(values) - names):
        raise SchemaError(f"{cls.__name__}: unknown {', '.join(extra)}")
    return {name: values[name] for name in names}
