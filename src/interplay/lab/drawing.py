"""Figures of what was measured, in files; this alone of the lab needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from interplay.analysis.conclude import tabulate
from interplay.analysis.predict import Prediction
from interplay.analysis.table import Table
from interplay.figures import documented, further
from interplay.lab.read import observations
from interplay.notes import note
from interplay.printing import Print, made_for
from interplay.store.store import Store


def plot(
    inputs: Sequence[str | Path],
    output_dir: Path,
    experiments: Sequence[int] = (1, 2, 3),
    metric: str = "best_test_acc",
    wanted: Print | None = None,
) -> dict[int, list[Path]]:
    """Draw the documented figures that ``inputs`` have the grids for; returns the files by number of experiment.

    ``wanted`` says what for: the files of each, their width and type.

    They show ``best_test_acc``, as the document has it, unless ``metric`` names another column.
    """
    table, _ = tabulate(observations(inputs, metric))
    for words in table.notes:
        note(words)
    with made_for(wanted or Print()):
        return documented.draw(table, output_dir, experiments)


def beside_page(
    table: Table, inputs: Sequence[str | Path], prediction: Prediction | None, folder: Path, wanted: Print | None = None
) -> tuple[Path, ...]:
    """Draw the documented figures of ``table`` and the further ones into ``folder``; returns the files.

    Args:
        table: of ``inputs``.
        inputs: output folders, whose records have the training curves, and tables.
        prediction: as `figures.further.draw` takes it.
        wanted: what the figures are for.
    """
    stores = [Store(Path(each)) for each in inputs if Path(each).is_dir()]
    records = [record for store in stores for record in store.records()]
    with made_for(wanted or Print()):
        drawn = documented.draw(table, folder, tuple(documented.FIGURES)).values()
        return (*(file for files in drawn for file in files), *further.draw(table, records, prediction, folder))
