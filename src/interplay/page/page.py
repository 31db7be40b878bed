"""The page: what it shows, and how that becomes one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any

from interplay.analysis.analyze import Analysis
from interplay.analysis.cells import Cell
from interplay.analysis.collapse import Collapse
from interplay.analysis.pictures import Heatmap, Ordering, Scaling
from interplay.analysis.predict import Prediction
from interplay.page import charts, sections
from interplay.record import EpochMetrics, cleaned


@dataclass(frozen=True)
class Run:
    """One row of the table of runs. What is not known is absent or ``None``, never 0."""

    id: str
    """The run_id, or file and line of a table without one."""
    source: str
    """Name of the folder or file it is from."""
    status: str
    """finished, diverged, failed, running or interrupted."""
    values: Mapping[str, Any]
    """Knobs and results by the names of `COLUMNS`."""
    cell: Cell | None = None
    """Its cell in the analysis; ``None`` where it is not part of that."""
    note: str | None = None
    """Why it diverged or failed, or how far it is."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    collapse: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[EpochMetrics, ...] = ()


@dataclass(frozen=True)
class Page:
    """Everything that is shown. ``analysis`` is ``None`` while nothing has finished."""

    title: str
    created: str
    """Date and time, as they are to be printed."""
    metric: str
    analysis: Analysis | None
    ordering: Ordering | None
    heatmap: Heatmap | None
    scaling: Scaling | None
    runs: tuple[Run, ...]
    collapse: Collapse | None = None
    prediction: Prediction | None = None
    """The rules checked against each other; ``None`` with too few optima."""
    refresh: float | None = None
    """Seconds after which the page loads itself again; ``None`` for a page that stays as it is."""


COLUMNS = {
    "source": "source",
    "method": "method",
    "lr": "lr η",
    "weight_decay": "decay λ",
    "momentum": "mom. μ",
    "batch_size": "batch B",
    "epochs": "epochs",
    "schedule": "schedule",
    "seed": "seed",
    "final_test_acc": "test acc %",
    "best_test_acc": "best test %",
    "final_val_acc": "val acc %",
    "final_train_loss": "train loss",
    "final_test_loss": "test loss",
    "wall_seconds": "seconds",
    "model": "model",
    "dataset": "data",
}
"""Columns of the table of runs besides the run and its status, with their headings."""

HISTORY = ("epoch", "train_loss", "test_loss", "val_loss", "train_acc", "test_acc", "val_acc", "lr")
"""What the training curves of a run are drawn from."""


def render(page: Page) -> str:
    """The HTML of ``page``, with plotly's source in it; equal pages give equal text."""
    from plotly.offline import get_plotlyjs

    cells = Cells(page)
    figures = [
        *(charts.ordering(page.ordering, cells) if page.ordering else ()),
        *(charts.heatmap(page.heatmap, cells) if page.heatmap else ()),
        *(charts.scaling(page.scaling, cells) if page.scaling else ()),
        *(charts.collapse(page.collapse, cells) if page.collapse else ()),
        *(charts.agreement(page.prediction) if page.prediction else ()),
    ]
    data = {
        "metric": page.metric,
        "created": page.created,
        "refresh": page.refresh,
        "analysis": page.analysis.to_dict() if page.analysis else None,
        "charts": {figure.id: {"data": figure.data, "layout": figure.layout} for figure in figures},
        **_table(page, cells),
    }
    return Template(_file("template.html")).substitute(
        title=sections.text(page.title),
        css=_file("page.css"),
        header=sections.header(page),
        claims=sections.claims(page),
        notes=sections.exponents(page) + sections.joint(page) + sections.notes(page),
        figures=sections.figures(figures),
        optima=sections.optima(page),
        runs=sections.runs(page),
        environment=sections.environment(page),
        missing=sections.missing(page),
        data=as_json(data),
        # A script ends at the first "</script" wherever it stands; in a string of JavaScript "<\/" says the same.
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
        script=_file("page.js"),
    )


def as_json(value: object) -> str:
    """JSON that may stand inside a script element: no ``<``, so nothing in it ends the element or opens another."""
    text = json.dumps(cleaned(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


class Cells:
    """Numbers for the cells of the analysis, by which points of a figure and rows of the table find each other."""

    def __init__(self, page: Page) -> None:
        settings = [run.cell for run in page.runs if run.cell is not None]
        self._index = {setting: number for number, setting in enumerate(dict.fromkeys(settings))}
        self._values: dict[Cell, list[float]] = {}
        for run in page.runs:
            value = run.values.get(page.metric)
            if run.cell is not None and value is not None:
                self._values.setdefault(run.cell, []).append(value)

    def index(self, cell: Cell | None) -> int | None:
        """The number of a cell; ``None`` if no row is of it."""
        return None if cell is None else self._index.get(cell)

    def values(self, cell: Cell | None) -> Sequence[float]:
        """The metric of each run of a cell."""
        return self._values.get(cell, ()) if cell is not None else ()


def _table(page: Page, cells: Cells) -> dict[str, Any]:
    """The runs as arrays without the names that they share, which keeps a page of thousands of runs small."""
    # The rows of a table are named by it already.
    several = len({run.source for run in page.runs}) > 1 and any(run.spec for run in page.runs)
    shown = [
        name
        for name in COLUMNS
        if (several if name == "source" else any(run.values.get(name) is not None for run in page.runs))
    ]
    spec_names = list(dict.fromkeys(name for run in page.runs for name in run.spec))
    collapse_names = list(dict.fromkeys(name for run in page.runs for name in run.collapse))
    environments: dict[str, int] = {}
    rows = []
    for run in page.runs:
        machine = json.dumps(cleaned(dict(run.environment)), sort_keys=True)
        rows.append(
            {
                "id": run.id,
                "status": run.status,
                "note": run.note,
                "cell": cells.index(run.cell),
                "values": [run.source if name == "source" else run.values.get(name) for name in shown],
                "spec": [run.spec.get(name) for name in spec_names] if run.spec else None,
                "collapse": [_short(run.collapse.get(name)) for name in collapse_names] if run.collapse else None,
                "environment": environments.setdefault(machine, len(environments)) if run.environment else None,
                "history": _history(run.history),
            }
        )
    return {
        "columns": [{"name": name, "label": COLUMNS[name]} for name in shown],
        "spec_names": spec_names,
        "collapse_names": collapse_names,
        "environments": [json.loads(machine) for machine in environments],
        "runs": rows,
    }


def _history(history: Sequence[EpochMetrics]) -> dict[str, list[float | None]] | None:
    """Each measurement over the epochs; those that were never made are left out."""
    found = {name: [_short(getattr(metrics, name)) for metrics in history] for name in HISTORY}
    return {name: values for name, values in found.items() if any(v is not None for v in values)} or None


def _short(value: float | None) -> float | None:
    """Six digits: more than a curve can show, at half the size."""
    return None if value is None else float(f"{value:.6g}")


def _file(name: str) -> str:
    return resources.files("interplay.page").joinpath(name).read_text(encoding="utf-8")
