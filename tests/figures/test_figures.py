from __future__ import annotations

import csv
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from interplay.analysis.analyze import tabulate
from interplay.analysis.claims import Table
from interplay.analysis.observations import from_rows
from interplay.analysis.pictures import heatmap_picture, ordering_picture, scaling_picture
from interplay.documented import plot_results
from interplay.figures import curves, heatmap, scaling

NAMES = ("method", "batch_size", "lr", "wd", "momentum", "final_test_acc", "final_train_loss", "best_test_acc")
LRS, DECAYS, BATCHES = (0.01, 0.05, 0.1, 0.2), (1e-4, 5e-4, 1e-3, 5e-3, 1e-2), (64, 128, 256)


def results(seed: int) -> list[dict[str, str]]:
    """A small programme whose best cells are known: λ* = 1e-4/η up to the grid, one cell diverged, one missing."""
    import math

    rows = []

    def add(momentum: float, wd: float, lr: float, batch: int, best: float) -> None:
        accuracy = (
            78 - 2 * math.log10(max(wd, 1e-6) * lr * 128 / batch / best) ** 2 + 0.05 * seed + 0.01 * len(rows) % 3
        )
        text = "" if (lr, wd) == (0.2, 1e-2) else f"{accuracy:.3f}"
        rows.append(
            dict(zip(NAMES, ("x", str(batch), f"{lr}", f"{wd}", f"{momentum}", text, "0.5", text), strict=True))
        )

    for lr in LRS:
        for wd in DECAYS:
            if (lr, wd) != (0.01, 1e-4):
                add(0.9, wd, lr, 128, 1e-4)
    for lr in (0.01, 0.05, 0.1, 0.5):
        add(0.0, 0.0, lr, 128, 1e-7)
        add(0.0, 5e-4, lr, 128, 5e-5)
    for batch in (64, 256):
        for wd in DECAYS[:-1]:
            add(0.9, wd, 0.1 * batch / 128, batch, 1e-4)
    return rows


@pytest.fixture
def table() -> Table:
    return tabulate([from_rows(results(seed), f"{seed}.csv") for seed in range(3)])[0]


def test_the_heatmap_knows_missing_diverged_and_best_cells(table: Table) -> None:
    picture = heatmap_picture(table)
    assert picture is not None
    assert (picture.lrs, picture.decays, picture.batch_size) == (LRS, DECAYS, 128)
    assert picture.values[0][0] is None  # missing
    assert picture.values[4][3] is None
    assert picture.diverged == {(4, 3)}
    assert picture.values[2][2] == pytest.approx(78, abs=0.2)
    estimates = {lr: o.estimate for lr, o in zip(picture.lrs, picture.ridge, strict=True)}
    assert estimates[0.1] == pytest.approx(1e-3, rel=0.4)
    assert estimates[0.05] == pytest.approx(2e-3, rel=0.5)


def test_only_runs_of_a_set_are_in_its_figure(table: Table) -> None:
    ordering, scale = ordering_picture(table), scaling_picture(table)
    assert ordering is not None
    assert scale is not None
    assert [curve.method for curve in ordering.curves] == ["SGD", "SGD+WD", "SGDM+WD"]
    assert {p.runs for curve in ordering.curves for p in curve.points} == {3}
    assert scale.batches == BATCHES
    assert all({p.x for p in curve} <= set(DECAYS[:-1]) for curve in scale.curves)  # 1e-2 is of set 2 alone


def words(figure: Figure) -> str:
    found = [text.get_text() for axis in figure.axes for text in axis.findobj(match=lambda a: hasattr(a, "get_text"))]
    return "\n".join(found)


def test_axes_are_labelled_with_the_values_used(table: Table) -> None:
    drawn = heatmap.draw(heatmap_picture(table))  # type: ignore[arg-type]
    text = words(drawn)
    for value in ("0.0001", "0.01", "0.05", "78.0", "final test accuracy (%)", "ηλ = const"):
        assert value in text
    axis = curves.draw(ordering_picture(table)).axes[0]  # type: ignore[arg-type]
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.01", "0.05", "0.1", "0.2", "0.5"]
    left = scaling.draw(scaling_picture(table)).axes[0]  # type: ignore[arg-type]
    assert [label.get_text() for label in left.get_xticklabels()] == ["64", "128", "256"]


def test_plot_results_writes_the_documented_files_at_300_dpi(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for seed in range(3):
        paths.append(str(tmp_path / f"{seed}.csv"))
        with Path(paths[-1]).open("w", newline="") as file:
            writer = csv.DictWriter(file, NAMES)
            writer.writeheader()
            writer.writerows(results(seed))
    assert plot_results(["--input", *paths, "--output_dir", str(tmp_path / "plots"), "--stats"]) == 0
    out = capsys.readouterr().out
    assert "inverse.profile" in out
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert names == ["exp1_lr_ordering.png", "exp2_eta_lambda_heatmap.png", "exp3_batch_size_scaling.png"]
    with Image.open(tmp_path / "plots" / names[1]) as image:
        assert round(image.info["dpi"][0]) == 300
        assert image.width > 1500
    assert plot_results(["--input", paths[0], "--output_dir", str(tmp_path / "one"), "--experiment", "2"]) == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["exp2_eta_lambda_heatmap.png"]


def test_results_without_a_grid_are_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "few.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(results(0)[:2])
    assert plot_results(["--input", str(tmp_path / "few.csv"), "--output_dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("its grid is not among these results") == 3
