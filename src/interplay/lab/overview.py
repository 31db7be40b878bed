"""How things stand: the runs of a store or a study by state, and the best settings of several studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.errors import SchemaError
from interplay.executors.status import StudyStatus, status
from interplay.lab.clusters import job_lines
from interplay.lab.prepare import in_store
from interplay.lab.results import best_settings
from interplay.lab.settings import Settings
from interplay.record import RunRecord
from interplay.spec import knob_names
from interplay.speed.estimate import readable
from interplay.store.store import THOROUGH, Store
from interplay.study.study import Study
from interplay.summary import different_code, setting
from interplay.text import printable
from interplay.trial import Spec, Trial, trials

SHOWN = 10
"""Runs of a state that are listed; the rest is counted."""

ALWAYS = ("lr", "weight_decay", "seed")
"""Knobs that name a run among others, besides those in which the listed runs differ."""


@dataclass(frozen=True)
class _Line:
    """One run of a state."""

    state: str
    run_id: str
    spec: Spec | None
    words: str


@dataclass(frozen=True)
class Standing:
    """The runs of a store or a study by state; as text, or as JSON types."""

    found: StudyStatus
    of_study: bool
    jobs: tuple[str, ...]
    """A line for each job that Slurm still has."""
    store: Store
    notes: tuple[str, ...] = ()
    """What else is to be known of the runs that have ended."""

    def __str__(self) -> str:
        return self.lines()

    def lines(self, *, ids: bool = False) -> str:
        """The counts, and up to `SHOWN` runs a state by their settings; with ``ids`` all of them, by their ids too."""
        found = self.found
        head = (
            f"{len(found.finished)} finished, {len(found.running)} running, {len(found.diverged)} diverged, "
            f"{len(found.interrupted)} interrupted, {len(found.failed)} failed"
            + (f", {len(found.missing)} missing" if self.of_study else "")
            + (f", {len(found.damaged)} damaged" if found.damaged else "")
        )
        most = None if ids else SHOWN
        running = [(run_id, _running(claim)) for run_id, claim in found.running[:most]]
        listed: list[_Line] = []
        listed += [_Line("running", run_id, self._spec(run_id), words) for run_id, words in running]
        listed += [_Line("diverged", r.run_id, r.spec, f": {r.reason}") for r in found.diverged[:most]]
        goes_on = ": goes on when it is asked for again"
        listed += [_Line("interrupted", each, self._spec(each), goes_on) for each in found.interrupted[:most]]
        listed += [_Line("failed", r.run_id, r.spec, f": {r.reason}") for r in found.failed[:most]]
        listed += [_Line("damaged", each, None, ": its record cannot be read") for each in found.damaged[:most]]
        specs = [line.spec for line in listed if line.spec is not None]
        differ = [name for name in knob_names() if len({getattr(spec, name) for spec in specs}) > 1]
        names = [*ALWAYS, *(name for name in differ if name not in (*ALWAYS, "fingerprint"))]
        lines = [head]
        for index, line in enumerate(listed):
            known = named_knobs(line.spec, names) if line.spec is not None else f"run {line.run_id}"
            name = f"{line.run_id}  {known}" if ids and line.spec is not None else known
            lines.append(f"{line.state:<11} {name}{line.words}")
            last = index + 1 == len(listed) or listed[index + 1].state != line.state
            more = len(getattr(found, line.state)) - SHOWN
            if last and most is not None and more > 0:
                lines.append(f"{line.state:<11} and {more} more")
        return printable("\n".join([*lines, *(f"note: {each}" for each in self.notes), *self.jobs]))

    def _spec(self, run_id: str) -> Spec | None:
        try:
            return self.store.spec(run_id)
        except SchemaError:
            return None

    def to_dict(self) -> dict[str, Any]:
        """JSON types: the counts, and each run by state; ``missing`` is ``null`` for a whole store."""
        found = self.found
        known = ("worker", "host", "epoch", "epochs", "eta")
        running = [{"run_id": run_id, **{k: claim.get(k) for k in known}} for run_id, claim in found.running]
        states = ("finished", "running", "diverged", "interrupted", "failed")
        return {
            "counts": {name: len(getattr(found, name)) for name in states}
            | {"missing": len(found.missing) if self.of_study else None},
            "finished": found.finished,
            "running": running,
            "diverged": [_ended(record) for record in found.diverged],
            "interrupted": found.interrupted,
            "failed": [_ended(record) for record in found.failed],
            "missing": found.missing if self.of_study else None,
            "damaged": found.damaged,
            "jobs": list(self.jobs),
        }


def _running(claim: dict[str, Any]) -> str:
    eta = f", about {readable(claim['eta'])} left" if claim.get("eta") is not None else ""
    epoch = f"epoch {claim['epoch']}/{claim['epochs']}" if {"epoch", "epochs"} <= claim.keys() else "starting"
    return f": {epoch}{eta}, on {claim.get('worker')} of {claim.get('host')}"


def _ended(record: RunRecord) -> dict[str, Any]:
    return {"run_id": record.run_id, "setting": setting(record.spec), "reason": record.reason}


def named_knobs(spec: Spec, names: Sequence[str]) -> str:
    """The knobs ``names`` of ``spec`` by name, such as ``lr 0.1, weight_decay 5e-4, seed 42``."""
    if isinstance(spec, Trial):
        return spec.words
    return ", ".join(f"{name} {_short(getattr(spec, name))}" for name in names)


def _short(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if not 0 < abs(value) < 1e-3:
        return f"{value:g}"
    digits, _, exponent = f"{value:.6e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"


def show_status(settings: Settings | None = None, study: Study | None = None) -> Standing:
    """Finished, running (worker, epoch, remaining time), diverged, interrupted, failed (first line of the error)."""
    settings = settings or Settings()
    store = settings.store()
    found = status(store, in_store(study, settings) if study is not None else None)
    notes: list[str] = []
    # In larger stores `analyze` says it, which reads all records anyway.
    if study is not None and trials(study.specs) and len(found.finished) <= THOROUGH:
        ended = (store.readable_record(run_id) for run_id in found.finished)
        notes = different_code(record for record in ended if record is not None)
    return Standing(found, study is not None, tuple(job_lines(store)), store, tuple(notes))


def overview(studies: Sequence[Study], settings: Settings) -> str:
    """The best settings of each of ``studies``, and where the results lie: the end of ``run_all_experiments``."""
    store = settings.store()
    lines = ["", "== summary =="]
    for study in studies:
        records = [
            record for spec in in_store(study, settings) if (record := store.readable_record(spec.run_id)) is not None
        ]
        runs = [(record.spec, record.final_test_acc) for record in records]
        lines += [f"{study.name}: {len(records)} of {len(study.specs)} runs", *best_settings(runs, study.experiment)]
    return "\n".join([*lines, f"results {store.results}"])
