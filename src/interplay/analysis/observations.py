"""Measurements as the analysis sees them: one number, the settings it belongs to, and which repetition it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePath
from typing import Any

from interplay.errors import InterplayError, nearest
from interplay.record import METRICS, RunRecord, Status
from interplay.spec import DATASETS, RunSpec, chance

LOWER_IS_BETTER = ("loss",)
"""A metric whose name holds one of these words is to be minimised."""


class InputError(InterplayError):
    """A table of results cannot be understood; the message names the file, the line and the column."""

    exit_code = 2


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
        return Observations(self.metric, tuple(runs))


def setting_of(spec: RunSpec) -> Setting:
    """The setting that a run belongs to: everything but its seed."""
    knobs = {name: getattr(spec, name) for name in _SHARED}
    return Setting(
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        momentum=spec.momentum,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        schedule=spec.schedule,
        rest=" ".join(filter(None, (_rest(knobs), spec.own_words, spec.other_words))),
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
            )
        )
    return Observations(metric, tuple(runs))


def _check_metric(metric: str) -> None:
    if metric not in METRICS:
        raise InputError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")


def from_rows(rows: Sequence[Mapping[str, str]], source: str, metric: str = "final_test_acc") -> Observations:
    """Observations of a table with at least the eight documented columns, as `csv.DictReader` reads it.

    The method column is not used: its labels are ambiguous, momentum and decay are not. Of columns that are absent the
    documented values are taken: 100 epochs, cosine stepped once an epoch, 50,000 training images.

    Without a column ``status`` a run at chance whose training loss is that of guessing counts as diverged.

    Raises:
        InputError: no such metric, a column is absent, or a cell holds no number or one that no run can have; names the
            line (the header is line 1).
    """
    _check_metric(metric)
    needed = ("batch_size", "lr", "wd", "momentum", metric)
    runs = []
    for number, row in enumerate(rows, start=2):
        missing = [name for name in needed if name not in row or row[name] is None]
        if missing:
            raise InputError(f"{source}, line {number}: no column {missing[0]!r}; {nearest(missing[0], row)}")
        try:
            if row.get("status") == "failed":
                continue
            shared = _rest({name: row.get(name) for name in _SHARED})
            words = " ".join(filter(None, (shared, row.get("own_knobs"), row.get("other_knobs"))))
            setting = Setting(
                lr=_rounded(row["lr"]),
                weight_decay=_rounded(row["wd"]),
                momentum=_rounded(row["momentum"]),
                batch_size=int(float(row["batch_size"])),
                epochs=int(float(row.get("epochs") or 100)),
                schedule=row.get("schedule") or "cosine",
                rest=words,
            )
            _check_ranges(setting)
            value = None if _diverged(row) else _optional(row[metric])
            if value is None and row.get("status") == "finished":
                continue  # it was not measured, which is no divergence
            steps = setting.epochs * math.ceil(_images(row) / setting.batch_size)
            # Cosine and linear, stepped once an epoch, average (E+1)/(2E) of the peak.
            share = {"cosine": 1, "linear": 1}.get(setting.schedule, 0) * (setting.epochs + 1) / (2 * setting.epochs)
            total = _optional(row.get("sum_of_rates")) or (setting.lr * steps * share if share else None)
            repetition = f"{source} {row['seed']}" if row.get("seed") else source
            loss = _optional(row.get("final_train_loss"))
            window = _optional(row.get("window_epochs"))
            dampening = next((float(word[10:]) for word in words.split() if word.startswith("dampening=")), 0.0)
            if not 0 <= dampening < 1:
                raise ValueError(f"dampening {dampening:g} is out of range")
            coupled = (1 - setting.momentum) / (1 - dampening)
            gain = {"adam": None, "sgdw": 1.0, "adamw": 1.0}.get(row.get("optimizer") or "sgd", coupled)
        except (ValueError, OverflowError) as error:
            raise InputError(f"{source}, line {number}: {error}") from error
        runs.append(Observation(setting, repetition, value, loss, total, float(steps), window, gain))
    return Observations(metric, tuple(runs))


def _check_ranges(setting: Setting) -> None:
    """Raises ValueError for what `RunSpec` would refuse, before it is divided by or its logarithm taken."""
    rules = {
        "lr": setting.lr > 0 and math.isfinite(setting.lr),
        "wd": setting.weight_decay >= 0 and math.isfinite(setting.weight_decay),
        "momentum": 0 <= setting.momentum < 1,
        "batch_size": setting.batch_size >= 1,
        "epochs": setting.epochs >= 1,
    }
    for name, held in rules.items():
        if not held:
            value = getattr(setting, "weight_decay" if name == "wd" else name)
            raise ValueError(f"{name} {value:g} is out of range")


def _diverged(row: Mapping[str, str]) -> bool:
    """As the table says, or where it has no such column: accuracy within three SD of chance, and nothing learnt."""
    if row.get("status"):
        return row["status"] == "diverged"
    facts = DATASETS.get(row.get("dataset") or "cifar100")
    accuracy, said = _optional(row.get("final_test_acc")), (row.get("final_train_loss") or "").strip()
    if facts is None or accuracy is None or not said:
        return False
    loss = float(said)
    nothing = not math.isfinite(loss) or loss >= 0.98 * math.log(facts.classes)
    return nothing and accuracy <= chance(facts.classes, facts.n_test)


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


def _images(row: Mapping[str, str]) -> int:
    """Training images of a row: as many as its columns say, or those of CIFAR."""
    if row.get("train_limit"):
        return int(float(row["train_limit"]))
    facts = DATASETS.get(row.get("dataset") or "cifar100")
    return (facts.n_train if facts else 50_000) - int(float(row.get("val_split") or 0))


def _rounded(text: str) -> float:
    return float(f"{float(text):.12g}") + 0.0


def _optional(text: str | None) -> float | None:
    if text is None or not text.strip():
        return None
    value = float(text)
    return value if math.isfinite(value) else None


SETTING_FIELDS = tuple(f.name for f in fields(Setting))
