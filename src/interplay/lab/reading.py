"""What is read from runs: the analysis, its figures and its page, and the cells that it asks for."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interplay.errors import SpecError
from interplay.lab.running import in_store
from interplay.progress import notice
from interplay.settings import Settings
from interplay.spec import RunSpec
from interplay.study.study import Study
from interplay.text import shown

if TYPE_CHECKING:
    from interplay.analysis.analyze import Analysis
    from interplay.analysis.cells import Cell
    from interplay.analysis.compare import Comparison
    from interplay.analysis.predict import Prediction
    from interplay.record import RunRecord


def analyze(inputs: Sequence[str | Path], metric: str = "final_test_acc") -> Analysis:
    """Analyse output folders and tables together, as repeated batches; see `interplay.analysis`.

    Raises:
        InputError: an input cannot be understood; names file and line.
    """
    from interplay import inputs as reading
    from interplay.analysis.analyze import analyze as engine

    return engine(reading.read(inputs, metric))


def compare(ours: Sequence[str | Path], theirs: Sequence[str | Path], metric: str = "final_test_acc") -> Comparison:
    """The cells that both have, their differences against the noise, and the verdicts of both; see `analysis.compare`.

    Raises:
        InputError: an input cannot be understood; names file and line.
    """
    from interplay import inputs as reading
    from interplay.analysis.compare import compare as engine

    return engine(reading.read(ours, metric), reading.read(theirs, metric))


def predict(
    inputs: Sequence[str | Path],
    *,
    batch_size: int,
    epochs: int,
    lr: float | None = None,
    weight_decay: float | None = None,
    momentum: float = 0.9,
    metric: str = "final_test_acc",
) -> Prediction:
    """The best weight decay for ``lr``, or the best learning rate for ``weight_decay``, from what was measured.

    Raises:
        SpecError: both or neither of the two given, or a value out of range.
        InputError: an input cannot be understood.
        PredictionError: too few optima.
    """
    from interplay import inputs as reading
    from interplay.analysis.analyze import tabulate
    from interplay.analysis.predict import predict as engine
    from interplay.analysis.rules import Of

    if (lr is None) == (weight_decay is None):
        raise SpecError("give either lr (to predict weight_decay) or weight_decay (to predict lr)")
    of: Of = "weight_decay" if lr is not None else "lr"
    known, value = ("lr", lr) if lr is not None else ("weight_decay", weight_decay)
    if value is None or isinstance(value, bool) or not 0 < value < float("inf"):
        raise SpecError(f"{known} must be a finite number greater than 0, not {shown(value)}")
    # The limits of all other knobs are those of a run.
    RunSpec(batch_size=batch_size, epochs=epochs, momentum=momentum)
    table, _ = tabulate(reading.read(inputs, metric))
    found = engine(table, of, {known: value, "batch_size": batch_size, "epochs": epochs, "momentum": momentum})
    return dataclasses.replace(found, notes=(*found.notes, *table.notes))


def extended(study: Study, settings: Settings) -> Study:
    """``study`` with the cells that would settle what its runs so far leave inconclusive.

    Each of them is named on standard error.
    """
    from interplay import analyze as engine
    from interplay.analysis.cells import cell_of

    store = settings.store()
    records = [
        record for spec in in_store(study, settings) if (record := store.readable_record(spec.run_id)) is not None
    ]
    if not records:
        notice(f"{study.name}: nothing has run yet, so nothing is known to extend it by")
        return study
    networks: dict[Cell, list[RunRecord]] = {}
    for record in records:
        networks.setdefault(cell_of(record.spec).network, []).append(record)
    larger = study
    for network, mine in networks.items():  # a claim speaks of one network, and its cells are runs of that one
        claims = [claim for claim in engine(mine).claims if claim.needed and claim.id in study.claims]
        for claim in claims:
            of = f" of {network.words()}" if len(networks) > 1 else ""
            notice(f"{claim.id}{of}: {claim.reason}; adding {len(claim.needed)} cells")
        larger = larger.enlarged((cell for claim in claims for cell in claim.needed), like=mine[0].spec)
    return larger


def plot(
    inputs: Sequence[str | Path],
    output_dir: Path,
    experiments: Sequence[int] = (1, 2, 3),
    metric: str = "best_test_acc",
) -> dict[int, Path]:
    """Draw the documented figures that ``inputs`` have the grids for; returns the files by number of experiment.

    They show ``best_test_acc``, as the document has it, unless ``metric`` names another column.
    """
    from interplay import inputs as reading
    from interplay.analysis.analyze import tabulate
    from interplay.figures.documented import draw

    table, _ = tabulate(reading.read(inputs, metric))
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    return draw(table, output_dir, experiments)
