"""Runs of other tools, brought into an output folder as a table that is read with its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from interplay.analysis.observations import measured
from interplay.store.files import write_whole
from interplay.tables.mapping import ColumnMap
from interplay.tables.measurements import Parsed
from interplay.tables.sources import FOLDER, load, no_runs, written
from interplay.text import file_name


@dataclass(frozen=True)
class Imported:
    """What `import_table` did."""

    path: Path
    """The table."""
    rows: int
    """Runs that finished or diverged."""
    left_out: int
    """Runs that did not reach their end."""
    knobs: tuple[str, ...]
    """Knobs with more than one value, by name."""
    metric: str
    """What the runs can be judged by."""
    notes: tuple[str, ...]
    """How columns were read, and what was not."""

    def __str__(self) -> str:
        """Lines for people, and the command that goes on."""
        left = f", {self.left_out} left out that did not finish" if self.left_out else ""
        varied = ", ".join(self.knobs) or "nothing"
        asked = "" if self.metric == "final_test_acc" else f" --metric {self.metric}"
        return "\n".join(
            [
                *(f"note: {note}" for note in self.notes),
                f"{self.rows} runs{left}; varied: {varied}",
                f"written to {self.path}",
                f"next: interplay analyze {self.path.parent.parent}{asked}",
            ]
        )


def import_table(
    kind: str,
    source: str,
    output_dir: Path,
    *,
    study: str | None = None,
    metric: str = "final_test_acc",
    columns: ColumnMap | None = None,
) -> Imported:
    """Write the runs of another tool as ``tables/KIND-NAME.csv`` below an output folder, in place of an earlier import.

    The table has standard names where ``columns`` gives them, else those of the tool, which are known in the usual
    spellings. Nothing is written that the analysis could not read.

    Raises:
        SpecError, UnreadableError, InputError: see `tables.sources.load` and `tables.measurements.Parsed`.
    """
    columns = columns or ColumnMap()
    table = columns.applied(load(kind, source, study))
    judged = columns.metric(metric)
    found = measured(Parsed(table), judged)
    if not found.rows:
        raise no_runs(source, found.notes)
    name = Path(table.source).stem if kind == "csv" else table.source
    path = output_dir / FOLDER / f"{kind}-{file_name(name)}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, written(table))
    every: dict[str, set[object]] = {}
    for row in found.rows:
        for knob, value in row.knobs.items():
            every.setdefault(knob, set()).add(value)
    knobs = tuple(knob for knob, values in every.items() if len(values) > 1)
    return Imported(path, len(found.rows), len(found.left_out), knobs, judged, found.notes)
