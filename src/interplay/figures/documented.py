"""The three documented figures under their documented names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from interplay.analysis.pictures import heatmap_picture, ordering_picture, scaling_picture
from interplay.analysis.table import Table
from interplay.figures import curves, heatmap, scaling
from interplay.figures.style import save


def _ordering(table: Table) -> Figure | None:
    picture = ordering_picture(table)
    return curves.draw(picture) if picture is not None else None


def _heatmap(table: Table) -> Figure | None:
    picture = heatmap_picture(table)
    return heatmap.draw(picture) if picture is not None else None


def _scaling(table: Table) -> Figure | None:
    picture = scaling_picture(table)
    return scaling.draw(picture) if picture is not None else None


FIGURES: dict[int, tuple[str, Callable[[Table], Figure | None]]] = {
    1: ("exp1_lr_ordering.png", _ordering),
    2: ("exp2_eta_lambda_heatmap.png", _heatmap),
    3: ("exp3_batch_size_scaling.png", _scaling),
}


def draw(table: Table, folder: Path, experiments: Sequence[int]) -> dict[int, list[Path]]:
    """Write the figures of ``experiments`` into ``folder``, each in all formats; those without a grid are left out."""
    drawn = {}
    for number in experiments:
        name, make = FIGURES[number]
        figure = make(table)
        if figure is not None:
            drawn[number] = save(figure, folder / name)
    return drawn
