"""What came of runs and studies: values for those who call from Python, and lines for the terminal."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interplay.analysis.observations import Observations
from interplay.frames import Framed
from interplay.record import METRICS, RunRecord, Status, judged_by
from interplay.spec import knob_names
from interplay.store.store import Store
from interplay.study.study import Study
from interplay.summary import different_code
from interplay.trial import Spec, Trial, trials

if TYPE_CHECKING:
    from interplay.executors.queue import Report


def _knobs(spec: Spec) -> dict[str, Any]:
    """Knobs by the names that they have: the user's own, of somebody else's training."""
    if isinstance(spec, Trial):
        return {**spec.knobs, "seed": spec.seed}
    return {name: getattr(spec, name) for name in knob_names()}


def rows_of(records: Iterable[RunRecord]) -> Iterator[dict[str, Any]]:
    """A row for each run: its id, how it ended, every knob, every metric, seconds."""
    for record in records:
        yield {
            "run_id": record.run_id,
            "status": str(record.status),
            **_knobs(record.spec),
            **{name: getattr(record, name) for name in METRICS},
            "wall_seconds": record.wall_seconds,
            "reason": record.reason,
        }


class Runs(tuple[RunRecord, ...], Framed):
    """Records of runs; as a table, too."""

    __slots__ = ()

    def rows(self) -> Iterator[dict[str, Any]]:
        """See `rows_of`."""
        return rows_of(self)

    def heading(self) -> str:
        """How many there are."""
        return f"{len(self)} run{'' if len(self) == 1 else 's'}"

    def _repr_html_(self) -> str:
        return _Brief(self)._repr_html_()


class _Brief(Framed):
    """Runs by the knobs in which they differ, and by what they measured."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def heading(self) -> str:
        return self.runs.heading()

    def rows(self) -> Iterator[Mapping[str, Any]]:
        shown = ("final_test_acc", "best_test_acc", "final_train_loss", "wall_seconds")
        every = [_knobs(run.spec) for run in self.runs]
        known = dict.fromkeys(name for knobs in every for name in knobs)
        differ = [n for n in known if n != "fingerprint" and len({knobs.get(n) for knobs in every}) > 1]
        names = ["status", *(differ or [n for n in ("lr", "weight_decay", "seed") if n in known]), *shown]
        return ({name: row.get(name) for name in names} for row in self.runs.rows())


@dataclass(frozen=True)
class StudyResult(Framed):
    """How a call of `run_study` ended, and all that the store then has of the study.

    Attributes:
        study: with its data and precision settled.
        committed: records of the runs of this call.
        failed: runs of this call that failed, each with the reason.
        left: runs not done, because the call was stopped.
        elsewhere: number of runs that other workers finished meanwhile.
        stopped: whether it was asked to stop.
        handed_over: what was submitted to a cluster, in words; ``None`` where the runs were followed to their end.
    """

    study: Study
    store: Store
    committed: tuple[RunRecord, ...] = ()
    failed: tuple[tuple[Spec, str], ...] = ()
    left: tuple[Spec, ...] = ()
    elsewhere: int = 0
    stopped: bool = False
    handed_over: str | None = None

    @classmethod
    def of(cls, study: Study, store: Store, report: Report) -> StudyResult:
        """From what an executor reports."""
        ended = (tuple(report.committed), tuple(report.failed), tuple(report.left))
        return cls(study, store, *ended, report.elsewhere, report.stopped)

    @cached_property
    def runs(self) -> Runs:
        """Records of all runs of the study that have ended, those of earlier calls too."""
        found = (self.store.readable_record(spec.run_id) for spec in self.study.specs)
        return Runs(record for record in found if record is not None)

    @property
    def diverged(self) -> int:
        """Number of runs of this call that diverged."""
        return sum(record.status is Status.DIVERGED for record in self.committed)

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each run in the store, see `rows_of`."""
        return rows_of(self.runs)

    def heading(self) -> str:
        """Name and question of the study, and how many of its runs have ended."""
        return f"{self.study.name}: {self.study.question} ({len(self.runs)} of {len(self.study.specs)} runs)"

    def _repr_html_(self) -> str:
        return super()._repr_html_() if not self.runs else _Named(self)._repr_html_()

    def lines(self) -> list[str]:
        """What is said of it on the terminal and in the log."""
        if self.handed_over is not None:
            return [self.handed_over]
        diverged = f", {self.diverged} of them diverged" if self.diverged else ""
        elsewhere = f", {self.elsewhere} by other workers" if self.elsewhere else ""
        name, results = self.study.name, self.store.results
        lines = [f"{name}: {len(self.committed)} runs committed{diverged}{elsewhere}; results {results}"]
        accuracies = self.store.accuracies()
        runs = ((spec, accuracies.get(spec.run_id)) for spec in self.study.specs)
        if trials(self.study.specs):
            return [*lines, *best_trials(self.runs), *(f"note: {each}" for each in different_code(self.runs))]
        if best := best_settings(runs, self.study.experiment):
            lines += ["best settings by mean final test accuracy (chosen on the test set):", *best]
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


class _Named(_Brief):
    def __init__(self, result: StudyResult) -> None:
        super().__init__(result.runs)
        self.result = result

    def heading(self) -> str:
        return self.result.heading()


@dataclass(frozen=True)
class Table(Observations, Framed):
    """Measurements that were read from a table."""

    @classmethod
    def of(cls, found: Sequence[Observations]) -> Table:
        """One table of those in ``found``, which have one metric."""
        runs = tuple(run for each in found for run in each.runs)
        return cls(found[0].metric, runs, tuple(note for each in found for note in each.notes))

    def heading(self) -> str:
        """Runs, settings and metric."""
        return f"{len(self.runs)} runs of {len({run.cell for run in self.runs})} settings, by {self.metric}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each run: its knobs, its repetition, and its result, ``None`` where it diverged."""
        names = dict.fromkeys(name for run in self.runs for name in run.cell)
        for run in self.runs:
            knobs = {name: run.cell.get(name) for name in names}
            yield {**knobs, "repetition": run.repetition, self.metric: run.value}

    def remarks(self) -> tuple[str, ...]:
        """How it was read."""
        return self.notes


def best_trials(records: Sequence[RunRecord]) -> list[str]:
    """The knobs of somebody else's training with the best mean over seeds, by the metric that it is judged by."""
    metric = judged_by(records)
    sign = -1 if "loss" in metric else 1
    cells: dict[Trial, list[float]] = defaultdict(list)
    name = metric
    for record in records:
        value: float | None = getattr(record, metric)
        if value is not None and isinstance(record.spec, Trial):
            cells[record.spec.replace(seed=0)].append(value)
            name = record.environment.get("metric") or metric
    if not cells:
        return []
    spec, found = max(cells.items(), key=lambda item: sign * statistics.fmean(item[1]))
    spread = f" ± {statistics.stdev(found):.4g}" if len(found) > 1 else ""
    seeds = f"{len(found)} seed{'' if len(found) == 1 else 's'}"
    words = spec.words.rpartition("seed")[0].strip()
    return [
        f"best by mean {name} (chosen on what it reports): {statistics.fmean(found):.6g}{spread}  at {words}  ({seeds})"
    ]


_GROUPS: dict[int | None, tuple[str, Callable[[Spec], object]]] = {
    1: ("method", lambda spec: spec.method),
    2: ("lr", lambda spec: spec.lr),
    3: ("batch size", lambda spec: spec.batch_size),
}


def best_settings(runs: Iterable[tuple[Spec, float | None]], experiment: int | None) -> list[str]:
    """The setting with the highest mean final test accuracy over seeds, for each method, lr or batch size of a set.

    ``runs`` are specifications with their final test accuracy (%), ``None`` where there is none.

    The choice is made on the test set, as in the documents; the analysis, not this line, says what follows from it.
    """
    title, key = _GROUPS.get(experiment, ("all", lambda spec: ""))
    cells: dict[object, dict[Spec, list[float]]] = defaultdict(lambda: defaultdict(list))
    for spec, accuracy in runs:
        if accuracy is not None:
            cells[key(spec)][spec.replace(seed=0)].append(accuracy)
    lines = []
    for group, settings in sorted(cells.items(), key=lambda item: (isinstance(item[0], str), item[0])):
        spec, found = max(settings.items(), key=lambda item: statistics.fmean(item[1]))
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        seeds = f"{len(found)} seed{'' if len(found) == 1 else 's'}"
        name = f"{title} {group}" if group != "" else title
        lines.append(
            f"{name:>16}: {statistics.fmean(found):.2f}{spread} %  at lr {spec.lr:g}, wd {spec.weight_decay:g}, "
            f"batch {spec.batch_size}  ({seeds})"
        )
    return lines
