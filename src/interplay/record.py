"""What a run leaves behind: one `RunRecord`. Everything downstream (store, analysis, figures, page) reads only this."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from interplay.errors import DamagedError, SchemaError, SpecError
from interplay.trial import Spec, Trial, spec_from_dict

RECORD_SCHEMA = 1
"""Version of the format that ``RunRecord.to_dict`` writes."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""``MIGRATIONS[n]`` turns a record of schema n into one of schema n+1. A version without an entry cannot be read."""


class Status(StrEnum):
    """How a run ended. A diverged run is a result (the setting does not train), a failed one is not."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    FAILED = "failed"


LONGEST_REASON = 500
"""Characters of the text of an error that are kept."""


def shortened(reason: str) -> str:
    """The text of an error, cut to `LONGEST_REASON` characters."""
    return reason if len(reason) <= LONGEST_REASON else f"{reason[: LONGEST_REASON - 1]}…"


METRICS = ("final_test_acc", "best_test_acc", "final_test_loss", "final_train_loss", "final_val_acc")
"""What a run can be judged by."""


JUDGED = ("final_test_acc", "final_val_acc", "final_test_loss", "final_train_loss")
"""By what somebody else's training is judged: the first that it measured."""


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
        """The inverse of ``to_dict``; raises `SchemaError` on missing or unknown fields, and on wrong kinds."""
        fields = _exact_fields(cls, values)
        _check_kinds("an epoch", fields, _EPOCH_KINDS)
        return cls(**fields)


def best_epoch(history: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """The epoch with the highest test accuracy, the first of equals; ``None`` if none was measured."""
    return max((m for m in history if m.test_acc is not None), key=lambda m: m.test_acc or 0.0, default=None)


@dataclass(frozen=True)
class RunRecord:
    """One run: its specification, how it ended, its history, and what it ran on."""

    spec: Spec
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
        rates = sorted(rate for m in self.history if (rate := m.images_per_second))
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
            SchemaError: unknown version, or fields that this version does not know. Nothing is filled in by default.
            DamagedError: fields are missing, or hold what no version writes.
        """
        found = migrated(dict(values))
        fields = _exact_fields(cls, found)
        _check_kinds("the record", fields, _RECORD_KINDS)
        try:
            spec = spec_from_dict(found["spec"])
        except (SpecError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise SchemaError(f"the specification of the record cannot be read: {error}") from error
        try:
            status = Status(found["status"])
        except ValueError as error:
            raise DamagedError(f"the record has an unknown status: {error}") from error
        history = tuple(EpochMetrics.from_dict(m) for m in found["history"])
        return cls(**{**fields, "spec": spec, "status": status, "history": history})

    def to_json(self) -> str:
        """One JSON document, indented for reading."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read what ``to_json`` wrote; raises `SchemaError` when it is not that."""
        try:
            values = json_object(text)
        except DamagedError as error:
            raise DamagedError(f"not a run record: {error}") from error
        return cls.from_dict(values)


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` brought to `RECORD_SCHEMA`, without the version; raises `SchemaError` where no way leads there."""
    version = values.pop("schema", None)
    if not isinstance(version, int) or isinstance(version, bool):
        raise DamagedError(f"the record states no schema version; this version reads {RECORD_SCHEMA}")
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


def json_object(text: str) -> dict[str, Any]:
    """The JSON object in ``text``; raises `DamagedError` for anything else, NaN and broken Unicode too."""
    try:
        values = json.loads(text, parse_constant=_refuse)
        if "\\ud" in text.lower():
            json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair could not be written again
    except RecursionError as error:
        raise DamagedError("nested too deeply") from error
    except ValueError as error:
        raise DamagedError(f"no JSON: {str(error)[:200]}") from error
    if not isinstance(values, dict):
        raise DamagedError("no JSON object")
    if not _is_flat(values):
        raise DamagedError("nested too deeply")
    return values


def _is_flat(values: Any, most: int = 20) -> bool:
    """Whether no more than ``most`` objects and lists lie in each other; what goes through them may then recurse."""
    layer = [values]
    for _ in range(most):
        layer = [
            part
            for each in layer
            for part in (each.values() if isinstance(each, dict) else each)
            if isinstance(part, dict | list)
        ]
        if not layer:
            return True
    return False


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e308 < value < 1e308


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(each is None or _is_number(each) for each in value.values())


def _is_environment(value: Any) -> bool:
    return isinstance(value, dict) and _is_number(value.get("at_once", 1))


# What a field holds, whether it may be missing (None), and the test of it. A number that is not finite is stored as a
# missing one, so every measurement may be missing.
_NUMBER = ("a number", True, _is_number)
_TEXT = ("text", False, _is_text)
_MAYBE_TEXT = ("text", True, _is_text)
_EPOCH_KINDS: dict[str, tuple[str, bool, Callable[[Any], bool]]] = {
    "epoch": ("a whole number", False, _is_count),
    **dict.fromkeys(("lr", "train_loss", "train_acc", "test_loss", "test_acc", "val_loss", "val_acc"), _NUMBER),
    **dict.fromkeys(("seconds", "images_per_second"), _NUMBER),
    "instruments": ("numbers by name", False, _are_numbers),
}
_RECORD_KINDS: dict[str, tuple[str, bool, Callable[[Any], bool]]] = {
    "spec": ("an object", False, lambda value: isinstance(value, dict)),
    "status": _TEXT,
    "history": ("a list", False, lambda value: isinstance(value, list)),
    **dict.fromkeys(("reason", "traceback", "model_class"), _MAYBE_TEXT),
    **dict.fromkeys(("started_at", "run_id", "committed_at"), _TEXT),
    "environment": ("an object with a number of runs at once", False, _is_environment),
    "collapse": ("numbers by name", False, _are_numbers),
    "parameters": ("a whole number", True, _is_count),
    "wall_seconds": ("a number", False, _is_number),
}


def _check_kinds(
    where: str, values: Mapping[str, Any], kinds: Mapping[str, tuple[str, bool, Callable[[Any], bool]]]
) -> None:
    for name, (words, optional, fits) in kinds.items():
        value = values[name]
        if not (fits(value) or (optional and value is None)):
            raise DamagedError(f"{name} of {where} must be {words}, not {value!r:.60}")


def _exact_fields(cls: type, values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise DamagedError(f"{cls.__name__}: not an object but {values!r:.60}")
    names = {f.name for f in dataclasses.fields(cls)}
    if missing := sorted(names - set(values)):
        raise DamagedError(f"{cls.__name__}: missing {', '.join(missing)}")
    if extra := sorted(set(values) - names):
        raise SchemaError(f"{cls.__name__}: unknown {', '.join(extra)}")
    return {name: values[name] for name in names}


def judged_by(records: Iterable[RunRecord], metric: str = JUDGED[0]) -> str:
    """The metric by which ``records`` are judged: ``metric``, unless it is the usual one and all are of trials.

    For trials it is the first of `JUDGED` that some of them have, and the first of all where none has any.
    """
    records = list(records)
    if metric != JUDGED[0] or not all(isinstance(record.spec, Trial) for record in records):
        return metric
    there = {name for record in records for name in JUDGED if getattr(record, name) is not None}
    return next((name for name in JUDGED if name in there), JUDGED[0])


# -- in words ------------------------------------------------------------------------------------------------------


def outcome(record: RunRecord) -> str:
    """How a run ended: its accuracies, or why it has none."""
    if record.status is not Status.FINISHED:
        return f"{record.status}: {record.reason}"
    if isinstance(record.spec, Trial):
        return f"finished: {_measured(record)}"
    return (
        f"finished: test accuracy {_percent(record.final_test_acc)} (best epoch {_percent(record.best_test_acc)}), "
        f"training loss {_number(record.final_train_loss)}"
    )


def brief(record: RunRecord) -> str:
    """The same in few words, for a line among many."""
    if record.status is not Status.FINISHED:
        when = f"after epoch {len(record.history)}" if record.history else "before the end of its first epoch"
        return f"{record.status} {when}: {record.reason}"
    if isinstance(record.spec, Trial):
        return _measured(record)
    return (
        f"test {_percent(record.final_test_acc)}  best {_percent(record.best_test_acc)}  "
        f"train loss {_number(record.final_train_loss)}"
    )


def _measured(record: RunRecord) -> str:
    """What somebody else's training measured last, in its own units."""
    last = record.history[-1]
    judged = record.environment.get("metric")
    names = {"test_acc": judged or "test accuracy", "test_loss": judged or "test loss"}
    names |= {"val_acc": "validation accuracy", "train_loss": "training loss"}
    found = [f"{words} {value:.6g}" for name, words in names.items() if (value := getattr(last, name)) is not None]
    return "  ".join(found) or "  ".join(f"{k} {v:.6g}" for k, v in list(last.instruments.items())[:3] if v is not None)


def _percent(value: float | None) -> str:
    return "missing" if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4f}"
