"""Measurements as the analysis sees them: one number, the settings it belongs to, and which repetition it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import PurePath
from typing import Any

from interplay.errors import InputError, nearest
from interplay.record import METRICS, RunRecord, Status
from interplay.spec import DATASETS, RunSpec, chance
from interplay.tables.measurements import measurements
from interplay.tables.read import TextTable, from_mappings
from interplay.tables.rows import Measurement, Measurements
from interplay.tables.states import State
from interplay.tables.values import rounded

LOWER_IS_BETTER = ("loss",)
"""A metric whose name holds one of these words is to be minimised."""


@dataclass(frozen=True, order=True)
class Setting:
    """Knobs on which cells are told apart. Fields that a table of eight columns lacks have the documented values."""

    lr: float
    weight_decay: float
    momentum: float
    batch_size: int
    epochs: int = 100
    schedule: str = "cosine"
    rest: str = ""
    """Everything else that distinguishes runs (network, data, optimiser), as one word."""


@dataclass(frozen=True)
class Observation:
    """One run.

    ``value`` is the metric, ``None`` for a run that diverged. ``repetition`` names the seed, and the batch of runs
    where several tables are given.
    """

    setting: Setting
    repetition: str
    value: float | None
    train_loss: float | None = None
    sum_of_rates: float | None = None
    steps: float | None = None
    window_epochs: float | None = None
    gain: float | None = 1.0
    """m of `RunSpec.decay_gain`: the decay of one step is η_t λ / m; ``None`` for Adam with coupled decay."""
    source: str = field(default="", compare=False)
    """The table or store that it is from."""
    line: int | None = field(default=None, compare=False)
    """Of a table."""

    @property
    def e_folds(self) -> float | None:
        """Λ = λ S / m, how often the run divides its initial weights by e."""
        if self.sum_of_rates is None or self.gain is None:
            return None
        return self.setting.weight_decay * self.sum_of_rates / self.gain

    @property
    def tau_epochs(self) -> float | None:
        """τ = m / (η λ M) in epochs; ``None`` without decay."""
        if not self.steps or not self.setting.weight_decay or self.gain is None:
            return None
        return self.gain * self.setting.epochs / (self.setting.lr * self.setting.weight_decay * self.steps)


@dataclass(frozen=True)
class Observations:
    """All runs that are analysed together, each of one metric."""

    metric: str
    runs: tuple[Observation, ...]
    notes: tuple[str, ...] = ()
    """How they were read, and what was left out."""

    @property
    def sign(self) -> int:
        """+1 where larger is better, -1 where smaller is."""
        return -1 if any(word in self.metric for word in LOWER_IS_BETTER) else 1

    def cells(self) -> dict[Setting, list[float]]:
        """Values of each setting that has any; diverged runs are not among them."""
        found: dict[Setting, list[float]] = {}
        for run in self.runs:
            if run.value is not None:
                found.setdefault(run.setting, []).append(run.value)
        return found

    def diverged(self) -> set[Setting]:
        """Settings in which at least half of the runs diverged."""
        total: dict[Setting, list[bool]] = {}
        for run in self.runs:
            total.setdefault(run.setting, []).append(run.value is None)
        return {setting for setting, flags in total.items() if 2 * sum(flags) >= len(flags)}

    def where(self, runs: Iterable[Observation]) -> Observations:
        """The same metric of other runs."""
        return Observations(self.metric, tuple(runs), self.notes)


def setting_of(spec: RunSpec) -> Setting:
    """The setting that a run belongs to: everything but its seed."""
    knobs = {name: getattr(spec, name) for name in _SHARED}
    return Setting(
        lr=rounded(spec.lr),
        weight_decay=rounded(spec.weight_decay),
        momentum=rounded(spec.momentum),
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        schedule=spec.schedule,
        rest=_rest({**knobs, **spec.own_knobs, **spec.other_knobs}),
    )


def from_records(
    records: Iterable[RunRecord], metric: str = "final_test_acc", source: str | None = None
) -> Observations:
    """Observations of finished and diverged runs; failed ones measured nothing, and some have not the metric.

    Args:
        records: of one store.
        metric: one of `METRICS`.
        source: a name for the store where there are several: then equal seeds of two are two repetitions.

    Raises:
        InputError: there is no such metric.
    """
    _check_metric(metric)
    runs = []
    for record in records:
        spec = record.spec
        value: float | None = getattr(record, metric) if record.status is Status.FINISHED else None
        if record.status is Status.FAILED or (record.status is Status.FINISHED and value is None):
            continue
        runs.append(
            Observation(
                setting_of(spec),
                f"{source} {spec.seed}" if source else str(spec.seed),
                value,
                record.final_train_loss,
                record.collapse.get("sum_of_rates"),
                record.collapse.get("steps"),
                record.collapse.get("window_epochs"),
                spec.decay_gain,
                source=source or "",
            )
        )
    return Observations(metric, tuple(runs))


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")


def from_rows(rows: Sequence[Mapping[str, str | None]], source: str, metric: str = "final_test_acc") -> Observations:
    """Observations of rows by column, as `csv.DictReader` gives them; see `from_table`."""
    return from_table(from_mappings(rows, source), metric)


def from_table(table: TextTable, metric: str = "final_test_acc") -> Observations:
    """Observations of a table with at least the eight documented columns, in the spellings of this or another tool.

    Of columns that are absent the documented values are taken: 100 epochs, cosine stepped once an epoch, 50,000
    training images. Without a column ``status`` a run at chance whose training loss is that of guessing counts as
    diverged. What was left out or taken for something is in the notes.

    Raises:
        InputError: no such metric, or the table cannot be understood; see `tables.measurements`.
    """
    return observed(measured(table, metric), metric)


def measured(table: TextTable, metric: str) -> Measurements:
    """The rows of a table, to be judged by ``metric``; raises `InputError` as `from_table` does."""
    _check_metric(metric)
    return measurements(table, metric)


def observed(found: Measurements, metric: str) -> Observations:
    """The observations among measurements; raises `InputError` for a value that no run can have."""
    runs = [run for row in found.rows if (run := observation(row, found.source, metric)) is not None]
    return Observations(metric, tuple(runs), found.notes)


def observation(row: Measurement, source: str, metric: str) -> Observation | None:
    """One run of a table; ``None`` where it finished but ``metric`` was not measured, which is no divergence.

    Raises:
        InputError: a value that no run can have; names the line.
    """
    try:
        setting, gain = _setting(row)
        images = _images(row)
        if images < 1:
            raise ValueError(f"there are {images} training images")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{source}, line {row.line}: {error}") from error
    value = None if _diverged(row) else row.metrics.get(metric)
    if value is None and row.state is State.FINISHED:
        return None
    steps = setting.epochs * math.ceil(images / setting.batch_size)
    # Cosine and linear, stepped once an epoch, average (E+1)/(2E) of the peak.
    share = {"cosine": 1, "linear": 1}.get(setting.schedule, 0) * (setting.epochs + 1) / (2 * setting.epochs)
    total = row.numbers.get("sum_of_rates") or (setting.lr * steps * share if share else None)
    repetition = f"{source} {row.seed}" if row.seed else source if row.repeat == 1 else f"{source} #{row.repeat}"
    loss, window = row.metrics.get("final_train_loss"), row.numbers.get("window_epochs")
    return Observation(
        setting, repetition, value, loss, total, float(steps), window, gain, source=source, line=row.line
    )


def _setting(row: Measurement) -> tuple[Setting, float | None]:
    """The setting of a row, and m of `Observation.gain`. Raises ValueError for what `RunSpec` would refuse."""
    knobs = dict(row.knobs)
    numbers = {"epochs": 100.0, "dampening": 0.0}
    for name in ("lr", "weight_decay", "momentum", "batch_size", "epochs", "dampening"):
        value = knobs.get(name, numbers.get(name))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} must be a number, not {value!r}")
        numbers[name] = rounded(value)
    _check_ranges(numbers)
    words = {name: value for name, value in knobs.items() if name not in _STANDARD}
    setting = Setting(
        lr=numbers["lr"],
        weight_decay=numbers["weight_decay"],
        momentum=numbers["momentum"],
        batch_size=int(numbers["batch_size"]),
        epochs=int(numbers["epochs"]),
        schedule=str(knobs.get("schedule", "cosine")),
        rest=_rest(words),
    )
    coupled = (1 - setting.momentum) / (1 - numbers["dampening"])
    gains = {"sgd": coupled, "sgds": coupled, "sgdw": 1.0, "adamw": 1.0}
    return setting, gains.get(str(knobs.get("optimizer", "sgd")))


_STANDARD = ("lr", "weight_decay", "momentum", "batch_size", "epochs", "schedule")


def _check_ranges(numbers: Mapping[str, float]) -> None:
    """Raises ValueError for what `RunSpec` would refuse, before it is divided by or its logarithm taken."""
    lr, decay = numbers["lr"], numbers["weight_decay"]
    rules = {
        "lr": 0 < lr < math.inf,
        "weight_decay": 0 <= decay < math.inf,
        "momentum": 0 <= numbers["momentum"] < 1,
        "dampening": 0 <= numbers["dampening"] < 1,
        "batch_size": 1 <= numbers["batch_size"] < math.inf,
        "epochs": 1 <= numbers["epochs"] < math.inf,
    }
    for name, held in rules.items():
        if not held:
            raise ValueError(f"{'wd' if name == 'weight_decay' else name} {numbers[name]:g} is out of range")
        if name in ("batch_size", "epochs") and not numbers[name].is_integer():
            raise ValueError(f"{name} {numbers[name]:g} is no whole number")


def _diverged(row: Measurement) -> bool:
    """As the table says, or where it does not: accuracy within three SD of chance, and nothing learnt."""
    if row.state is not None:
        return row.state is State.DIVERGED
    facts = DATASETS.get(str(row.knobs.get("dataset", "cifar100")))
    accuracy = row.metrics.get("final_test_acc")
    if facts is None or accuracy is None or not row.text.get("final_train_loss"):
        return False
    loss = row.metrics["final_train_loss"]  # None: it is not finite
    nothing = loss is None or loss >= 0.98 * math.log(facts.classes)
    return nothing and accuracy <= chance(facts.classes, facts.n_test)


def _images(row: Measurement) -> int:
    """Training images of a row: as many as its columns say, or those of CIFAR."""
    limit, held_out = row.knobs.get("train_limit"), row.knobs.get("val_split", 0)
    if isinstance(limit, int | float):
        return int(limit)
    facts = DATASETS.get(str(row.knobs.get("dataset", "cifar100")))
    return (facts.n_train if facts else 50_000) - int(held_out if isinstance(held_out, int | float) else 0)


_SHARED = (
    "model",
    "dataset",
    "optimizer",
    "train_limit",
    "label_noise",
    "val_split",
    "nesterov",
    "decay_on",
    "warmup_epochs",
    "precision",
)
"""Knobs besides those of a setting that results.csv has columns for."""


def _rest(knobs: Mapping[str, Any]) -> str:
    """Every knob that is not as in the documented programme, as one word; runs that differ in it are never pooled."""
    words = []
    for name, value in knobs.items():
        text = _plain(value)
        if name == "dataset":
            words.append(PurePath(text).name)  # a file that was moved is the same data: see RunSpec.other_words
        elif name == "model":
            words.append(text)
        elif text not in _DOCUMENTED.get(name, ("", "0", "False")):
            words.append(f"{name}={text}")
    return " ".join(filter(None, words))


_DOCUMENTED = {
    "optimizer": ("", "sgd"),
    "decay_on": ("", "all"),
    "precision": ("", "bf16"),
}
"""What a knob says where nothing is to be remarked; of the others, zero and no."""


def _plain(value: object) -> str:
    """A knob as a word; a number reads alike whether a store, its table, or a table saved again says it (5000.0)."""
    if value is None:
        return ""
    text = str(value)
    if text.lower() in ("true", "false"):
        return text.capitalize()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else f"{number:g}"


SETTING_FIELDS = tuple(f.name for f in fields(Setting))
