"""The next runs of results/resnet18-cifar100, trained in this process by the lab with its store, until time is over.

One after the other, or with ``--way compiled_streams`` as many side by side as ``--at_once`` says.

Of the documented sets: those of ``eta-lambda`` in the order of their distance from η = 0.1 and λ = 5e-4, where the
optima are looked for, then the others. Every run is in the store under ``<out>/chunk`` as it ends, and one that does
not end in time leaves a checkpoint there: the same call goes on. Without the CIFAR files, short runs on random images.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

from interplay.executors.attempt import Way, load
from interplay.executors.job import Job
from interplay.executors.outcomes import End
from interplay.notes import note
from interplay.record import RunRecord
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.study.presets import documented_sets
from interplay.summary import setting
from interplay.train.events import EpochEnded, Event
from session_parts.book import Options, Sections, Session
from session_parts.lab import carried_out, random_npz, settled

RESULTS = Path(__file__).resolve().parents[2] / "results" / "resnet18-cifar100" / "results.csv"
CENTRE = (0.1, 5e-4)
"""Learning rate and weight decay of the recipe."""


def sections(session: Session, options: Options) -> Sections:
    """One section for each run that has no result yet, here or among the published results.

    Raises:
        InterplayError: the data cannot be read, which would fail every run.
    """
    root = options.out / "chunk"
    store, published = Store(root), run_ids(RESULTS)
    specs = {f"run {setting(spec)}": spec for spec in wanted(options)}
    done = [name for name, spec in specs.items() if spec.run_id in published or store.is_done(spec.run_id)]
    session.say(f"{len(done)} of {len(specs)} runs have a result; the store is {root}")
    if options.data_dir is not None:
        load(next(iter(specs.values())), options.data_dir, options.place)
    chunk = Chunk(session, options, root)
    left = [spec for name, spec in specs.items() if name not in done]
    count = options.at_once if "streams" in options.way else 1
    groups = [left[first : first + count] for first in range(0, len(left), count)]
    found: dict[str, Callable[[], None]] = {
        "run " + " / ".join(map(setting, group)): partial(chunk.runs, group) for group in groups
    }
    return found or {"nothing left": lambda: session.say("every run has a result")}


def wanted(options: Options) -> list[RunSpec]:
    """The runs, the most telling ones first, settled for the device."""
    sets = {study.name: study for study in documented_sets()}
    near = sorted((cast(RunSpec, spec) for spec in sets.pop("eta-lambda").specs), key=distance)
    others = (cast(RunSpec, spec) for study in sets.values() for spec in study.specs)
    specs = list({spec.run_id: spec for spec in (*near, *others)}.values())
    short: dict[str, Any] = {}
    if options.tiny:
        short |= {"model": "resnet8_s2", "batch_size": 64, "epochs": 2, "train_limit": 128}
    if options.data_dir is None:
        file = random_npz(options.out / "random.npz", 128 if options.tiny else 10_000)
        short |= {"dataset": str(file), "fingerprint": "", "augment": "crop_flip", "epochs": 2}
    if short:
        specs = [spec.replace(**short) for spec in specs[: 2 if options.tiny else 4]]
    return [settled(spec, options.data_dir or Path("data"), options.place) for spec in specs]


def distance(spec: RunSpec) -> float:
    """From the centre, in factors of learning rate and weight decay; equal for what is equally far."""
    rate, decay = CENTRE
    if spec.weight_decay == 0:
        return math.inf
    return round(math.hypot(math.log(spec.lr / rate), math.log(spec.weight_decay / decay)), 6)


def run_ids(table: Path) -> set[str]:
    """Of the runs in a results.csv; none where it is absent."""
    if not table.exists():
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        return {row["run_id"] for row in csv.DictReader(file) if row.get("status") != "failed"}


class Chunk:
    """Trains one run a section."""

    def __init__(self, session: Session, options: Options, root: Path) -> None:
        self._session, self._root, self._way = session, root, cast(Way, options.way)
        data_dir = options.data_dir or Path("data")
        self._job = Job(data_dir, root, options.place, checkpoint_seconds=60.0, lapse_seconds=20.0)

    def runs(self, specs: list[RunSpec]) -> None:
        """Train until the runs or the time end; a row an epoch.

        Raises:
            RuntimeError: an attempt ended otherwise.
        """
        rows: list[list[str]] = []

        def emit(event: Event) -> None:
            if isinstance(event, EpochEnded):
                rows.append([setting(event.spec), *_row(event)])
                self._session.say("  ".join(rows[-1]))
                if event.spec is specs[-1] or len(specs) == 1:
                    self._session.keep(epochs=rows)

        outcomes = carried_out(specs, self._root, self._job, self._way, emit, lambda: self._session.left() <= 0)
        self._session.keep(epochs=rows)
        table, wrong = [], []
        for spec, outcome in zip(specs, outcomes, strict=True):
            record = outcome.record or Store(self._root).record(spec.run_id)
            if outcome.end is End.INTERRUPTED:
                note(f"{setting(spec)}: {outcome.reason}")
                epochs = sum(row[0] == setting(spec) for row in rows)
                table.append([setting(spec), "stopped, with a checkpoint", str(epochs), "", "", ""])
            elif outcome.end not in (End.COMMITTED, End.DONE) or record is None:
                wrong.append(f"{setting(spec)}: {outcome.end}: {outcome.reason}")
            else:
                table.append([setting(spec), *_result(record)])
        columns = ["", "end", "epochs", "test accuracy, %", "s", "images/s"]
        self._session.table(f"runs {self._way}", columns, table)
        if wrong:
            raise RuntimeError("\n".join(wrong))


def _result(record: RunRecord) -> list[str]:
    return [
        str(record.status),
        str(len(record.history)),
        str(record.final_test_acc),
        f"{record.wall_seconds:.1f}",
        f"{record.images_per_second or 0:,.0f}",
    ]


def _row(event: EpochEnded) -> list[str]:
    metrics = event.metrics
    values = (metrics.train_loss, metrics.test_loss, metrics.test_acc)
    return [str(metrics.epoch), *("-" if value is None else f"{value:.4f}" for value in values)]
