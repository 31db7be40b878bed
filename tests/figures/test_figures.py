from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from interplay.analysis.collapse import collapse_picture
from interplay.analysis.conclude import tabulate
from interplay.analysis.histories import training_picture
from interplay.analysis.observations import from_records, from_rows
from interplay.analysis.pictures import heatmap_picture, ordering_picture, scaling_picture
from interplay.analysis.predict import checked
from interplay.analysis.table import Table
from interplay.cli.documented import plot_results
from interplay.figures import agreement, collapse, curves, further, heatmap, scaling, training
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec

NAMES = ("method", "batch_size", "lr", "wd", "momentum", "final_test_acc", "final_train_loss", "best_test_acc")
LRS, DECAYS, BATCHES = (0.01, 0.05, 0.1, 0.2), (1e-4, 5e-4, 1e-3, 5e-3, 1e-2), (64, 128, 256)


def results(seed: int) -> list[dict[str, str]]:
    """A small programme whose best cells are known: λ* = 1e-4/η up to the grid, one cell diverged, one missing."""
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
    assert picture.surface is not None
    assert heatmap_picture(table, surface=False) == dataclasses.replace(picture, surface=None)
    assert (picture.lrs, picture.decays, picture.batch_size) == (LRS, DECAYS, 128)
    assert picture.values[0][0] is None  # missing
    assert picture.values[4][3] is None
    assert picture.diverged == {(4, 3)}
    assert picture.values[2][2] == pytest.approx(78, abs=0.2)
    estimates = {lr: o.estimate for lr, o in zip(picture.lrs, picture.ridge, strict=True)}
    assert estimates[0.1] == pytest.approx(1e-3, rel=0.4)
    assert estimates[0.05] == pytest.approx(2e-3, rel=0.5)


def test_the_heatmap_leaves_out_rates_and_decays_of_other_sets(table: Table) -> None:
    strays = [
        {**row, "lr": "0.001", "wd": wd, "momentum": "0.9", "batch_size": "128"}
        for row, wd in zip(results(0), ("1e-6", "1e-3"), strict=False)
    ]
    more = tabulate([from_rows([*results(0), *strays], "0.csv"), from_rows(results(1), "1.csv")])[0]
    picture = heatmap_picture(more)
    assert picture is not None
    assert (picture.lrs, picture.decays) == (LRS, DECAYS)
    assert picture.left_out == 0  # a rate with two decays is no part of the set at all


def test_a_decay_at_fewer_than_three_rates_is_left_out_and_counted(table: Table) -> None:
    strays = [
        {**results(0)[0], "lr": lr, "wd": "1e-6", "momentum": "0.9", "batch_size": "128"} for lr in ("0.05", "0.1")
    ]
    more = tabulate([from_rows([*results(0), *strays], "0.csv"), from_rows(results(1), "1.csv")])[0]
    picture = heatmap_picture(more)
    assert picture is not None
    assert (picture.decays, picture.left_out) == (DECAYS, 2)
    # With two rates in all there cannot be three to a decay: then nothing is left out.
    two = tabulate([from_rows([row for row in results(0) if row["lr"] in ("0.05", "0.1")], "0.csv")])[0]
    narrow = heatmap_picture(two)
    assert narrow is not None
    assert (narrow.lrs, narrow.decays, narrow.left_out) == ((0.05, 0.1), DECAYS, 0)


def test_a_heatmap_says_of_how_many_runs_its_cells_are_and_where_its_colours_end(table: Table) -> None:
    picture = heatmap_picture(table)
    assert picture is not None
    figure = heatmap.draw(picture)
    assert "3 runs a cell" in figure.get_suptitle()
    values = [value for row in picture.values for value in row if value is not None]
    clipped = min(values) < max(values) - 15
    assert figure.axes[0].collections[0].colorbar.extend == ("min" if clipped else "neither")  # type: ignore[attr-defined]


def test_only_runs_of_a_set_are_in_its_figure(table: Table) -> None:
    ordering, scale = ordering_picture(table), scaling_picture(table)
    assert ordering is not None
    assert scale is not None
    assert [curve.method for curve in ordering.curves] == ["SGD", "SGD+WD", "SGDM+WD"]
    assert {p.runs for curve in ordering.curves for p in curve.points} == {3}
    assert scale.batches == BATCHES
    # At B = 128 the curve has the decays of set 2, too: the claim rests on all that was measured there.
    decays = [{p.x for p in curve} for curve in scale.curves]
    assert decays == [set(DECAYS) if batch == 128 else set(DECAYS[:-1]) for batch in BATCHES]


def words(figure: Figure) -> str:
    found = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return "\n".join(found)


def test_axes_are_labelled_with_the_values_used(table: Table) -> None:
    drawn = heatmap.draw(heatmap_picture(table))  # type: ignore[arg-type]
    text = words(drawn)
    for value in ("0.0001", "0.01", "0.05", "78.0", "final test accuracy (%)", "ηλ = const"):
        assert value in text
    axes = curves.draw(ordering_picture(table)).axes  # type: ignore[arg-type]
    (axis,) = (each for each in axes if each.get_xlabel() == "learning rate η (peak)")
    assert {each.get_xscale() for each in axes} == {"log"}
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
    capsys.readouterr()
    words = ["--input", paths[0], "--output_dir", str(tmp_path / "paper"), "--experiment", "1"]
    assert plot_results([*words, "--style", "paper", "--columns", "1", "--format", "svg", "pdf"]) == 0
    written = [tmp_path / "paper" / f"exp1_lr_ordering.{ending}" for ending in ("svg", "pdf")]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert 'width="252pt"' in written[0].read_text()  # 3.5 inches
    assert written[1].read_bytes().startswith(b"%PDF")
    assert plot_results([*words, "--columns", "1"]) == 2
    assert "give a style" in capsys.readouterr().err


METRICS = {"best_test_acc": "best test accuracy", "final_test_acc": "final test accuracy"}


@pytest.mark.parametrize("metric", METRICS)
def test_every_figure_says_which_metric_it_shows(metric: str) -> None:
    read = [from_rows(results(seed), f"{seed}.csv", metric) for seed in range(3)]
    records = [trained(0.1, wd, seed, 90 - 1000 * wd) for wd in (1e-4, 1e-3, 2e-3) for seed in (0, 1)]
    shown = tabulate(read)[0]
    history = training_picture(records, tabulate([from_records(records, metric)])[0])
    pictures = (ordering_picture(shown), heatmap_picture(shown), scaling_picture(shown), collapse_picture(shown))
    assert history is not None
    figures = [
        *(module.draw(p) for module, p in zip((curves, heatmap, scaling, collapse), pictures, strict=True)),  # type: ignore[attr-defined]
        agreement.draw(checked(shown)),
        training.draw(history),
    ]
    for figure in figures:
        assert METRICS[metric] in words(figure)
        assert not any(other in words(figure) for name, other in METRICS.items() if name != metric)


def test_documented_figures_show_the_best_accuracy_and_verdicts_never_rest_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    monkeypatch.setattr("interplay.figures.documented.draw", lambda table, *_: drawn.append(table.metric) or {2: "x"})
    with (tmp_path / "few.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(results(0))
    words = ["--input", str(tmp_path / "few.csv"), "--output_dir", str(tmp_path), "--stats"]
    for metric, judged in ((None, "final_test_acc"), ("final_test_acc",) * 2, ("final_train_loss",) * 2):
        assert plot_results([*words, *(["--metric", metric] if metric else [])]) == 0
        assert f"in 1 repetition, metric {judged}" in capsys.readouterr().out
    assert drawn == ["best_test_acc", "final_test_acc", "final_train_loss"]


def test_results_without_a_grid_are_said_to_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "few.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        writer.writerows(results(0)[:2])
    assert plot_results(["--input", str(tmp_path / "few.csv"), "--output_dir", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("its grid is not among these results") == 3


def test_collapse_has_a_panel_for_each_variable_and_names_the_best(table: Table) -> None:
    picture = collapse_picture(table)
    assert picture is not None
    assert [fall.variable for fall in picture.falls] == ["weight_decay", "product", "tau_epochs", "e_folds"]
    # Runs without decay belong to no panel.
    assert min(x for fall in picture.falls for x, _, _ in fall.points) > 0
    panels = collapse.draw(picture).axes
    assert [axis.get_xlabel() for axis in panels] == [fall.label for fall in picture.falls]
    assert sum("(least)" in axis.get_title(loc="left") for axis in panels) >= 1


def trained(lr: float, weight_decay: float, seed: int, accuracy: float) -> RunRecord:
    spec = RunSpec(dataset="digits", model="mlp", lr=lr, weight_decay=weight_decay, seed=seed, epochs=3)
    history = tuple(EpochMetrics(e, lr, 1.0 / e, 90.0, 0.5, accuracy - 3 + e + 0.1 * seed) for e in range(1, 4))
    return RunRecord(spec, Status.FINISHED, history)


def test_training_curves_are_those_of_the_best_decay_at_each_rate() -> None:
    records = [
        trained(lr, wd, seed, 90 - 2 * abs(math.log10(lr * wd / 1e-4)))
        for lr in (0.05, 0.1)
        for wd in (1e-4, 1e-3, 2e-3, 1e-2)
        for seed in (0, 1)
    ]
    records.append(RunRecord(records[0].spec.replace(seed=9), Status.DIVERGED, reason="loss is not finite"))
    picture = training_picture(records, tabulate([from_records(records)])[0])
    assert picture is not None
    assert [(h.cell.lr, h.cell.weight_decay, h.runs) for h in picture.histories] == [
        (0.05, 2e-3, 2),
        (0.1, 1e-3, 2),
    ]
    one = picture.histories[1]
    assert one.epochs == (1, 2, 3)
    assert one.train_loss == (1.0, 0.5, pytest.approx(1 / 3))
    assert one.test[-1] == pytest.approx(90.05)
    assert (one.low[-1], one.high[-1]) == (pytest.approx(90.0), pytest.approx(90.1))
    left, right = training.draw(picture).axes
    assert left.get_yscale() == "linear"  # from 1 to a third: a log axis would have no decade to label
    assert len(training.draw(picture).legends[0].get_texts()) == 2
    assert right.get_ylabel() == "test accuracy (%)"
    losses = training_picture(records, tabulate([from_records(records, "final_test_loss")])[0])
    assert losses is not None
    assert losses.by_loss
    assert training.draw(losses).axes[1].get_ylabel() == "test loss (nats)"


def test_tables_have_no_training_curves(table: Table, tmp_path: Path) -> None:
    assert training_picture([], table) is None
    assert {path.name for path in further.draw(table, [], checked(table), tmp_path)} == {
        "collapse.png",
        "predicted_vs_measured.png",
    }


def test_an_arrow_begins_at_the_bound(table: Table) -> None:
    """An optimum that lies anywhere below 2e-3 is drawn from 2e-3 downwards, not from the middle of what is left."""
    picture = scaling_picture(table)
    assert picture is not None
    below = dataclasses.replace(picture.optima[0], estimate=None, interval=(None, 2e-3), status="open below")
    above = dataclasses.replace(picture.optima[1], estimate=None, interval=(1e-3, None), status="open above")
    open_ended = dataclasses.replace(picture, optima=(below, above, *picture.optima[2:]))
    containers = scaling.draw(open_ended).axes[0].containers
    assert [float(container[0].get_ydata()[0]) for container in containers[:2]] == [2e-3, 1e-3]
