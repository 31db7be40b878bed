"""Measurements as the analysis sees them: one number, the settings it belongs to, and which repetition it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from interplay.analysis.cells import Cell, cell_of
from interplay.dataset_facts import DATASETS, chance
from interplay.errors import InputError, SpecError, nearest
from interplay.record import METRICS, RunRecord, Status
from interplay.tables.measurements import FRACTIONS, Parsed
from interplay.tables.read import TextTable, from_mappings
from interplay.tables.rows import Measurement, Measurements
from interplay.tables.states import State
from interplay.trial import Trial

LOWER_IS_BETTER = ("loss",)
"""A metric whose name holds one of these words is to be minimised."""


@dataclass(frozen=True)
class Observation:
    """One run.

    ``value`` is the metric, ``None`` for a run that diverged. ``repetition`` names the seed, and the batch of runs
    where several tables are given.
    """

    cell: Cell
    repetition: str
    value: float | None
    train_loss: float | None = None
    sum_of_rates: float | None = None
    steps: float | None = None
    window_epochs: float | None = None
    gain: float | None = 1.0
    """m of `Spec.decay_gain`: the decay of one step is η_t λ / m; ``None`` for Adam with coupled decay."""
    source: str = field(default="", compare=False)
    """The table or store that it is from."""
    line: int | None = field(default=None, compare=False)
    """Of a table."""

    @property
    def e_folds(self) -> float | None:
        """Λ = λ S / m, how often the run divides its initial weights by e."""
        if self.sum_of_rates is None or self.gain is None:
            return None
        return self.cell.weight_decay * self.sum_of_rates / self.gain

    @property
    def tau_epochs(self) -> float | None:
        """τ = m / (η λ M) in epochs; ``None`` without decay."""
        if not self.steps or not self.cell.weight_decay or self.gain is None or "lr" not in self.cell:
            return None
        return self.gain * self.cell.epochs / (self.cell.lr * self.cell.weight_decay * self.steps)


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

    def cells(self) -> dict[Cell, list[float]]:
        """Values of each cell that has any; diverged runs are not among them."""
        found: dict[Cell, list[float]] = {}
        for run in self.runs:
            if run.value is not None:
                found.setdefault(run.cell, []).append(run.value)
        return found

    def diverged(self) -> set[Cell]:
        """Cells in which at least half of the runs diverged."""
        total: dict[Cell, list[bool]] = {}
        for run in self.runs:
            total.setdefault(run.cell, []).append(run.value is None)
        return {cell for cell, flags in total.items() if 2 * sum(flags) >= len(flags)}

    def where(self, runs: Iterable[Observation]) -> Observations:
        """The same metric of other runs."""
        return Observations(self.metric, tuple(runs), self.notes)


def from_records(
    records: Iterable[RunRecord], metric: str = "final_test_acc", source: str | None = None
) -> Observations:
    """Observations of finished and diverged runs; failed ones measured nothing, and some have not the metric.

    Args:
        records: of one store.
        metric: one of `METRICS`.
        source: a name for the store where there are several: then equal seeds of two are two repetitions.

    Raises:
        SpecError: there is no such metric.
    """
    check_metric(metric)
    runs = []
    records = list(records)
    scale, notes = _scale(records, source)
    for record in records:
        spec = record.spec
        value: float | None = getattr(record, metric) if record.status is Status.FINISHED else None
        if value is not None and isinstance(spec, Trial) and metric.endswith("_acc"):
            value *= scale
        if record.status is Status.FAILED or (record.status is Status.FINISHED and value is None):
            continue
        runs.append(
            Observation(
                cell_of(spec),
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
    return Observations(metric, tuple(runs), notes)


def _scale(records: Sequence[RunRecord], source: str | None) -> tuple[float, tuple[str, ...]]:
    """What accuracies of somebody else's training are multiplied by to be per cent, and a note where that is not 1."""
    found = [
        value
        for record in records
        if isinstance(record.spec, Trial)
        for name in METRICS
        if name.endswith("_acc") and (value := getattr(record, name)) is not None
    ]
    if not found or not all(0 <= value <= 1 for value in found):
        return 1.0, ()
    return 100.0, (FRACTIONS.format(source=source or "the runs"),)


def check_metric(metric: str) -> None:
    """Refuse a name that is none of `METRICS`.

    Raises:
        SpecError: with the nearest names.
    """
    if metric not in METRICS:
        raise SpecError(f"unknown metric {metric!r}; {nearest(metric, METRICS)}")


def from_rows(rows: Sequence[Mapping[str, str | None]], source: str, metric: str = "final_test_acc") -> Observations:
    """Observations of rows by column, as `csv.DictReader` gives them; see `from_table`."""
    return from_table(from_mappings(rows, source), metric)


def from_table(table: TextTable, metric: str = "final_test_acc") -> Observations:
    """Observations of a table with at least the eight documented columns, in the spellings of this or another tool.

    Of columns that are absent the documented values are taken: 100 epochs, cosine stepped once an epoch, 50,000
    training images. Without a column ``status`` a run at chance whose training loss is that of guessing counts as
    diverged. What was left out or taken for something is in the notes.

    Raises:
        SpecError: there is no such metric.
        InputError: the table cannot be understood; see `tables.measurements.Parsed`.
    """
    return observed(measured(Parsed(table), metric), metric)


def measured(table: Parsed, metric: str) -> Measurements:
    """The rows of a table, to be judged by ``metric``; raises `InputError` as `from_table` does."""
    check_metric(metric)
    return table.by(metric)


def observed(found: Measurements, metric: str) -> Observations:
    """The observations among measurements; raises `InputError` for a value that no run can have."""
    return Observations(metric, tuple(run for run in each_observed(found, metric) if run is not None), found.notes)


def each_observed(found: Measurements, metric: str) -> list[Observation | None]:
    """For each row of ``found`` its `observation`."""
    # Repetitions share one cell, which remembers what is derived from it.
    cells: dict[Cell, Cell] = {}
    runs = [observation(row, found.source, metric) for row in found.rows]
    return [run and replace(run, cell=cells.setdefault(run.cell, run.cell)) for run in runs]


def observation(row: Measurement, source: str, metric: str) -> Observation | None:
    """One run of a table; ``None`` where it finished but ``metric`` was not measured, which is no divergence.

    Raises:
        InputError: a value that no run can have; names the line.
    """
    try:
        cell, gain = _cell(row)
        images = _images(cell)
        if images < 1:
            raise ValueError(f"there are {images} training images")
    except (ValueError, OverflowError) as error:
        raise InputError(f"{source}, line {row.line}: {error}") from error
    value = None if _diverged(row, cell) else row.metrics.get(metric)
    if value is None and row.state is State.FINISHED:
        return None
    # Where the table does not tell the batch size, nothing is known of steps.
    steps = cell.epochs * math.ceil(images / cell.batch_size) if "batch_size" in cell else None
    # Cosine and linear, stepped once an epoch, average (E+1)/(2E) of the peak.
    share = {"cosine": 1, "linear": 1}.get(cell.schedule, 0) * (cell.epochs + 1) / (2 * cell.epochs)
    total = row.numbers.get("sum_of_rates")
    if not total and share and steps and "lr" in cell:
        total = cell.lr * steps * share
    repetition = f"{source} {row.seed}" if row.seed else source if row.repeat == 1 else f"{source} #{row.repeat}"
    loss, window = row.metrics.get("final_train_loss"), row.numbers.get("window_epochs")
    return Observation(
        cell, repetition, value, loss, total, steps and float(steps), window, gain, source=source, line=row.line
    )


def _cell(row: Measurement) -> tuple[Cell, float | None]:
    """The cell of a row, and m of `Observation.gain`. Raises ValueError for what `Spec` would refuse."""
    cell = Cell(row.knobs)
    usual = ("lr", "weight_decay", "momentum", "batch_size")
    told = [name for name in usual if name in cell]
    if len(told) < len(usual):  # no table of the documented programme, the rest of which is known
        cell.assumed = frozenset(name for name in ("epochs", "schedule") if name not in row.knobs)
    for name in (*told, "epochs", "dampening"):
        if isinstance(cell[name], bool) or not isinstance(cell[name], int | float):
            raise ValueError(f"{name} must be a number, not {cell[name]!r}")
    _check_ranges(cell)
    coupled = (1 - cell.momentum) / (1 - cell["dampening"]) if "momentum" in cell else None
    gains = {"sgd": coupled, "sgds": coupled, "sgdw": 1.0, "adamw": 1.0}
    return cell, gains.get(cell["optimizer"])


def _check_ranges(cell: Cell) -> None:
    """Raises ValueError for what `Spec` would refuse, before it is divided by or its logarithm taken."""
    rules = {
        "lr": 0 < cell.get("lr", 1.0) < math.inf,
        "weight_decay": 0 <= cell.get("weight_decay", 0.0) < math.inf,
        "momentum": 0 <= cell.get("momentum", 0.0) < 1,
        "dampening": 0 <= cell["dampening"] < 1,
        "batch_size": 1 <= cell.get("batch_size", 1) < math.inf,
        "epochs": 1 <= cell["epochs"] < math.inf,
    }
    for name, held in rules.items():
        if not held:
            raise ValueError(f"{'wd' if name == 'weight_decay' else name} {cell[name]:g} is out of range")
        if name in ("batch_size", "epochs") and not float(cell.get(name, 1)).is_integer():
            raise ValueError(f"{name} {cell[name]:g} is no whole number")


def _diverged(row: Measurement, cell: Cell) -> bool:
    """As the table says, or where it does not: accuracy within three SD of chance, and nothing learnt."""
    if row.state is not None:
        return row.state is State.DIVERGED
    facts = DATASETS.get(cell.get("dataset", "cifar100"))
    accuracy = row.metrics.get("final_test_acc")
    if facts is None or accuracy is None or not row.text.get("final_train_loss"):
        return False
    loss = row.metrics["final_train_loss"]  # None: it is not finite
    nothing = loss is None or loss >= 0.98 * math.log(facts.classes)
    return nothing and accuracy <= chance(facts.classes, facts.n_test)


def _images(cell: Cell) -> int:
    """Training images of a cell: as many as it says, or those of CIFAR."""
    if "train_limit" in cell:
        return int(cell["train_limit"])
    facts = DATASETS.get(cell.get("dataset", "cifar100"))
    return (facts.n_train if facts else 50_000) - int(cell["val_split"])
