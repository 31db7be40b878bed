"""The figures beyond the documented three, under their names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from interplay.analysis.collapse import collapse_picture
from interplay.analysis.compression import compression_picture
from interplay.analysis.histories import training_picture
from interplay.analysis.predict import Prediction
from interplay.analysis.table import Table
from interplay.figures import agreement, collapse, compression, training
from interplay.figures.style import save
from interplay.record import RunRecord

NAMES = ("training_curves.png", "collapse.png", "predicted_vs_measured.png", "error_vs_parameters.png")


def draw(table: Table, records: Iterable[RunRecord], prediction: Prediction | None, folder: Path) -> list[Path]:
    """Write those that the runs allow into ``folder``, each in all its formats; returns the files.

    ``prediction`` is that of `predict.checked`, ``None`` where the optima are too few for one.
    """
    files: list[Path] = []
    records = list(records)
    curves = training_picture(records, table)
    if curves is not None:
        files.extend(save(training.draw(curves), folder / NAMES[0]))
    fallen = collapse_picture(table)
    if fallen is not None:
        files.extend(save(collapse.draw(fallen), folder / NAMES[1]))
    if prediction is not None:
        files.extend(save(agreement.draw(prediction), folder / NAMES[2]))
    pairs = compression_picture(records)
    if pairs is not None:
        files.extend(save(compression.draw(pairs), folder / NAMES[3]))
    return files
