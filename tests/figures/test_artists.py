"""What stands in the figures, of results made by hand: the artists are checked, not the pixels."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Literal

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from interplay.analysis import ridge
from interplay.analysis.cells import Cell
from interplay.analysis.collapse import Bar, Collapse, Fall
from interplay.analysis.compression import PUBLISHED, Compression, Network
from interplay.analysis.histories import History, Training
from interplay.analysis.optimum import Optimum, Status
from interplay.analysis.pictures import Heatmap, MethodCurve, Ordering, Point, Scaling
from interplay.analysis.predict import Prediction
from interplay.analysis.scores import Check, Score
from interplay.errors import SpecError
from interplay.figures import agreement, collapse, compression, curves, heatmap, scaling, training
from interplay.figures.colours import colour, limits, shade, text_colour
from interplay.figures.labels import OTHER
from interplay.figures.places import THEORIES, ridge_points
from interplay.figures.style import save
from interplay.printing import Print, made_for


def optimum(
    estimate: float | None, low: float | None = None, high: float | None = None, status: Status = "inside"
) -> Optimum:
    return Optimum("x", {}, estimate, (low, high), status)


def legend(figure: Figure) -> list[str]:
    """Words of the legend, of the figure or of its first axes, in their order."""
    found = figure.legends[0] if figure.legends else figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


# -- set 1 ------------------------------------------------------------------------------------------------------------


def ordering(*methods: tuple[str, Optimum], metric: str = "final_test_acc") -> Ordering:
    points = (Point(0.1, 40.0, 2.0, 3), Point(0.2, 1.0, 3.0, 3), Point(0.4, None, None, 0))
    return Ordering(metric, tuple(MethodCurve(name, points, best) for name, best in methods), 128)


def test_the_legend_has_methods_first_then_one_band_and_what_diverged_last() -> None:
    figure = curves.draw(ordering(("SGD", optimum(0.15, 0.1, 0.2)), ("SGD+WD", optimum(None, 0.1, None, "open above"))))
    assert legend(figure) == [
        "SGD  (η* = 0.15)",
        "SGD+WD  (η* at least 0.1)",
        "90 % interval of η*",
        "SGD: diverged",
        "SGD+WD: diverged",
    ]
    assert curves.BAND not in legend(curves.draw(ordering(("SGD", optimum(0.15)))))


@pytest.mark.parametrize("metric", ["final_test_acc", "final_test_loss"])
def test_no_bar_reaches_below_zero(metric: str) -> None:
    axis = curves.draw(ordering(("SGD", optimum(0.15)), metric=metric)).axes[0]
    bars = axis.containers[0][2][0].get_segments()  # type: ignore[index]
    assert [(float(bar[0][1]), float(bar[1][1])) for bar in bars] == [(38.0, 42.0), (0.0, 4.0)]
    if "acc" in metric:
        assert axis.get_ylim()[0] == 0


def steep() -> Ordering:
    """The worst rates are far below the best."""
    values = (20.0, 60.0, 92.0, 93.0, 92.5, 50.0)
    points = tuple(Point(0.01 * 2**i, value, 0.2, 3) for i, value in enumerate(values))
    return Ordering("final_test_acc", (MethodCurve("SGD", points, optimum(0.08, 0.05, None)),), 128)


def test_the_best_points_have_a_panel_where_the_worst_would_press_them_together() -> None:
    shown = steep()
    points = shown.curves[0].points
    near, whole, strip = curves.draw(shown).axes
    assert near.get_ylim()[0] > 60
    assert near.get_ylim()[1] < 95
    assert whole.get_ylim()[0] < 20
    assert near.get_title(loc="left").startswith("a ")
    assert whole.get_title(loc="left").startswith("b ")
    # The open end of the interval reaches the last rate, with an arrow there.
    bar = [list(line.get_xdata()) for line in strip.lines]  # type: ignore[arg-type]
    assert [0.05, 0.32] in bar
    assert any(line.get_marker() == ">" and list(line.get_xdata()) == [0.32] for line in strip.lines)  # type: ignore[arg-type]
    flat = dataclasses.replace(shown, curves=(MethodCurve("SGD", points[2:5], optimum(0.08)),))
    assert curves.zoomed(flat) is None


# -- set 2 ------------------------------------------------------------------------------------------------------------

RATES, DECAYS = (0.01, 0.02, 0.04, 0.08), (1e-4, 2e-4, 4e-4, 8e-4)


def plane(worst: float = 40.0, metric: str = "final_test_acc") -> Heatmap:
    """The best cell is the third of the third decay; one cell is missing, one diverged, the others grow steadily."""
    cell = Cell.of(0.1, 1e-4, 0.9, 128, model="resnet8", dataset="cifar100")
    values = [[worst + 2 * (i + j) for j in range(4)] for i in range(4)]
    values[2][2] = 78.3
    shown: list[list[float | None]] = [list(row) for row in values]
    shown[1][1], shown[3][3] = None, None
    cells = tuple(
        tuple(None if (i, j) == (1, 1) else Point(lr, shown[i][j], 0.1, 2, cell) for j, lr in enumerate(RATES))
        for i in range(4)
    )
    ridge = (optimum(1.1e-4), optimum(2.9e-4), optimum(4.2e-4), optimum(None, None, 4e-4, "open below"))
    rows = tuple(tuple(row) for row in shown)
    return Heatmap(metric, RATES, DECAYS, rows, frozenset({(3, 3)}), ridge, 128, cells)


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """By WCAG 2.2; written apart from the code under test."""

    def luminance(colour: tuple[float, ...]) -> float:
        red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", ["cividis", "cividis_r", "viridis"])
def test_maps_are_those_of_matplotlib(name: str) -> None:
    for share in (*np.linspace(0, 1, 1001), -0.5, 1.5):
        assert to_hex(colour(name, share)) == to_hex(mpl.colormaps[name](share)), share


def test_shades_follow_the_order_of_the_values_and_leave_the_palest_end_out() -> None:
    values = [0.1, 0.2, 0.4]
    assert [shade(value, values) for value in values] == [to_hex(mpl.colormaps["viridis"](x)) for x in (0, 0.46, 0.92)]
    assert shade(64, [64]) == to_hex(mpl.colormaps["viridis"](0.0))


def test_every_number_has_contrast_to_its_cell() -> None:
    scale = [to_rgb(tuple(colour)) for colour in mpl.colormaps["cividis"](np.linspace(0, 1, 200))]
    assert min(contrast(to_rgb(text_colour(colour)), colour) for colour in scale) > 4.5
    assert {text_colour(colour) for colour in scale} == {"black", "white"}
    # Of the drawn figure: number by number, against the colour that its cell has.
    picture = plane(60.0)
    axis = heatmap.draw(picture).axes[0]
    mesh = axis.collections[0]
    known = [v for row in picture.values for v in row if v is not None]
    assert [text.get_text() for text in axis.texts] == [f"{v:.1f}" for v in known]
    for text, value in zip(axis.texts, known, strict=True):
        cell = to_rgb(tuple(mesh.to_rgba(np.asarray(value))))
        assert contrast(to_rgb(text.get_color()), cell) > 4.5


def test_no_line_crosses_a_number() -> None:
    """Numbers have a panel, lines another."""
    figure = heatmap.draw(plane())
    left, right = figure.axes[:2]
    assert (len(left.texts) > 10, len(left.lines)) == (True, 0)
    assert (len(right.texts), len(right.lines) > 5) == (0, True)
    assert [each.get_title(loc="left")[:3] for each in (left, right)] == ["a  ", "b  "]
    assert (right.get_xscale(), right.get_yscale()) == ("log", "log")


def lines_of(axis: Axes, label: str) -> list[Line2D]:
    return [line for line in axis.lines if line.get_label() == label]


def test_the_ridge_has_intervals_and_triangles_where_it_is_not_bounded() -> None:
    found = (optimum(1.1e-4, 1e-4, 2e-4), optimum(2.9e-4, 2e-4, 4e-4), optimum(None, 3e-4, None, "open above"))
    axis = heatmap.draw(dataclasses.replace(plane(), ridge=(*found, optimum(None, None, 4e-4, "open below")))).axes[1]
    marked = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): line.get_marker()  # type: ignore[index, arg-type]
        for line in axis.lines
        if line.get_marker() in ("o", "^", "v")
    }
    assert marked == {(0.01, 1.1e-4): "o", (0.02, 2.9e-4): "o", (0.04, 3e-4): "^", (0.08, 4e-4): "v"}
    bars = [list(line.get_ydata()) for line in axis.lines if to_rgb(line.get_color()) == to_rgb(heatmap.RIDGE)]  # type: ignore[arg-type]
    assert [1e-4, 2e-4] in bars
    assert [2e-4, 4e-4] in bars


def test_lines_of_the_fitted_surface_are_where_it_has_that_level() -> None:
    rates, decays = np.meshgrid(np.geomspace(0.01, 0.08, 6), np.geomspace(1e-4, 8e-4, 6))
    u, v = np.log(rates / 0.03).ravel(), np.log(decays / 3e-4).ravel()
    cells = ridge.Plane(np.log(rates).ravel(), np.log(decays).ravel(), 90 - u * u - v * v, np.full(36, 0.1))
    surface = ridge.surface(cells)
    assert surface is not None
    assert float(np.nanmax(surface.level)) == pytest.approx(90, abs=0.05)
    picture = dataclasses.replace(plane(), surface=surface)
    assert heatmap.levels(picture) == pytest.approx([88, 89, 89.5], abs=0.05)
    axis = heatmap.draw(picture).axes[1]
    (contours,) = (each for each in axis.collections if isinstance(each, ContourSet))
    for level, path in zip(contours.levels, contours.get_paths(), strict=True):
        points = path.vertices[np.isfinite(path.vertices).all(axis=1)]
        assert len(points) > 5
        heights = 90 - np.log(points[:, 0] / 0.03) ** 2 - np.log(points[:, 1] / 3e-4) ** 2
        assert np.abs(heights - level).max() < 0.1
    loss = dataclasses.replace(picture, metric="final_test_loss")
    for shown in (picture, dataclasses.replace(loss, surface=dataclasses.replace(surface, level=surface.level - 100))):
        (contours,) = (each for each in heatmap.draw(shown).axes[1].collections if isinstance(each, ContourSet))
        # Solid as the legend has it, and unlike lines of constant product, for levels below zero, too.
        assert all(dashes is None for _, dashes in contours.get_linestyles())
    assert "fitted surface" in axis.get_title(loc="left")
    assert "surface" not in heatmap.draw(plane()).axes[1].get_title(loc="left")
    assert "0.5, 1, 2 points worse than its best" in heatmap.draw(picture).legends[0].get_title().get_text()


def test_no_marker_stands_for_an_optimum_outside_the_decays_shown() -> None:
    picture = dataclasses.replace(plane(), ridge=(optimum(1e-5), optimum(1e-2), optimum(4e-4), optimum(None)))
    assert ridge_points(picture) == [(2, pytest.approx(2.5))]


def test_lines_of_constant_product_lie_inside_the_grid() -> None:
    axis = heatmap.draw(plane()).axes[1]
    lines = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert [line.get_label() for line in lines].count(heatmap.CONSTANT) == 1
    for line in lines:
        products = np.asarray(line.get_xdata(), float) * np.asarray(line.get_ydata(), float)
        assert products == pytest.approx(products[0])
        assert min(line.get_ydata()) >= DECAYS[0]  # type: ignore[type-var]
        assert max(line.get_ydata()) <= DECAYS[-1]  # type: ignore[type-var]


def test_the_best_cell_of_each_rate_is_framed() -> None:
    axis = heatmap.draw(plane()).axes[0]
    framed = [patch for patch in axis.patches if to_rgb(patch.get_edgecolor()) == to_rgb(heatmap.RIDGE)]
    # On a cell of any colour there is white beside the frame; lines of panel b stand on white.
    assert all(patch.get_path_effects()[0]._gc["foreground"] == "white" for patch in framed)  # type: ignore[attr-defined]
    assert min(contrast(to_rgb(each), (1, 1, 1)) for each in (heatmap.RIDGE, heatmap.PRODUCTS, "0.1")) >= 3
    assert [(round(p.get_y() - 0.04), round(p.get_x() - 0.04)) for p in framed] == [(3, 0), (3, 1), (2, 2), (2, 3)]  # type: ignore[attr-defined]


def test_the_colour_bar_says_on_which_side_there_is_more() -> None:
    assert limits(plane(40.0)) == (78.3 - 15, 78.3, "min")
    assert limits(plane(70.0)) == (70.0, 80.0, "neither")
    assert limits(plane(40.0, "final_test_loss")) == (40.0, 41.0, "max")
    axis = heatmap.draw(plane(40.0, "final_test_loss")).axes[0]
    assert axis.collections[0].colorbar.extend == "max"  # type: ignore[attr-defined]
    lost = dataclasses.replace(plane(), values=((None,) * 4,) * 4)
    assert limits(lost) == (0.0, 1.0, "neither")


def test_a_heatmap_says_what_was_trained_and_what_it_leaves_out() -> None:
    picture = plane()

    def about(shown: Heatmap) -> str:
        return heatmap.draw(shown).legends[0].get_title().get_text()

    assert about(picture) == "resnet8 cifar100"
    assert "diverged" in legend(heatmap.draw(picture))
    cropped = dataclasses.replace(picture, left_out=2, diverged=frozenset())
    assert about(cropped) == "resnet8 cifar100; 2 cells outside this grid not shown"
    assert "diverged" not in legend(heatmap.draw(cropped))


# -- set 3 ------------------------------------------------------------------------------------------------------------


def scale(*optima: Optimum) -> Scaling:
    curve = tuple(Point(wd, 70.0, 0.1, 2) for wd in DECAYS)
    return Scaling("final_test_acc", (64, 128, 256)[: len(optima)], optima, (curve,) * len(optima))


@pytest.mark.parametrize(
    "decays", [DECAYS, tuple(0.00125 * 2**i for i in range(8)), (0.01, 0.02, 0.04, 0.05, 0.06, 0.07, 0.08)]
)
def test_names_of_decays_do_not_overlap(decays: tuple[float, ...]) -> None:
    curve = tuple(Point(wd, 70.0, 0.1, 2) for wd in decays)
    figure = scaling.draw(Scaling("final_test_acc", (64,), (optimum(decays[1]),), (curve,)))
    figure.draw_without_rendering()
    names = [name.get_window_extent() for name in figure.axes[1].get_xticklabels()]
    turned = figure.axes[1].get_xticklabels()[0].get_rotation() == 45
    # Names that are turned stand apart by the height of a line.
    assert turned or all(a.x1 < b.x0 for a, b in itertools.pairwise(names))


def test_entries_of_the_legend_differ_and_so_do_their_markers() -> None:
    figure = scaling.draw(
        scale(optimum(3e-4, 1e-4, 5e-4), optimum(None, None, 4e-4, "open below"), optimum(4e-4, 3e-4, 5e-4))
    )
    axis = figure.axes[0]
    assert len(set(legend(figure))) == len(legend(figure)) == 6
    assert [container[0].get_marker() for container in axis.containers] == ["s", "v", "o"]  # type: ignore[index]
    assert to_rgb(axis.containers[0][0].get_markerfacecolor()) == to_rgb("white")  # type: ignore[index]


def test_both_maxima_are_marked_in_every_figure() -> None:
    two = dataclasses.replace(optimum(4e-4, 1e-4, 5e-4), others=(1.5e-4,), competing=True)
    axis = scaling.draw(scale(optimum(2e-4), two)).axes[0]
    (line,) = (line for line in axis.lines if line.get_label() == OTHER)
    assert [list(line.get_xdata()), list(line.get_ydata())] == [[128], [1.5e-4]]  # type: ignore[arg-type]
    picture = dataclasses.replace(plane(), ridge=(optimum(1.1e-4), two, optimum(None), optimum(None)))
    axis = heatmap.draw(picture).axes[1]
    (line,) = (line for line in axis.lines if line.get_label() == OTHER)
    assert [list(line.get_xdata()), list(line.get_ydata())] == [[RATES[1]], [1.5e-4]]  # type: ignore[arg-type]
    both = dataclasses.replace(optimum(0.3, 0.1, 0.4), others=(0.12,), competing=True)
    figure = curves.draw(ordering(("SGD", both)))
    assert "SGD  (η* = 0.3 or 0.12)" in legend(figure)
    assert OTHER in legend(figure)
    marked = [(list(line.get_xdata()), line.get_markerfacecolor()) for line in figure.axes[-1].lines]  # type: ignore[arg-type]
    assert ([0.12], "white") in marked
    assert any(place == [0.3] and colour != "white" for place, colour in marked)
    assert OTHER not in legend(curves.draw(ordering(("SGD", optimum(0.3, 0.1, 0.4)))))


def test_without_an_optimum_inside_slopes_go_through_the_middle_of_the_intervals() -> None:
    picture = scale(*[optimum(None, None, 4e-4, "open below")] * 3)
    figure = scaling.draw(picture)
    found = figure.axes[0].get_legend()
    assert found is not None
    assert found.get_title().get_text() == scaling.MIDDLES
    assert legend(figure)[:3] == list(THEORIES)
    claim = next(line for line in figure.axes[0].lines if line.get_label() == "λ ∝ B (the claim)")
    # From the lowest decay of the grid to the bound: the middle is 2e-4, at the middle batch size.
    assert np.asarray(claim.get_ydata(), float).tolist() == pytest.approx([1e-4, 2e-4, 4e-4])


def test_lines_through_measured_optima_need_no_excuse() -> None:
    found = (
        scaling.draw(scale(optimum(2e-4), optimum(None, None, 4e-4, "open below"), optimum(2e-4))).axes[0].get_legend()
    )
    assert found is not None
    assert found.get_title().get_text() == ""


def test_where_nothing_is_bounded_the_legend_says_that_no_slope_is_drawn() -> None:
    figure = scaling.draw(scale(*[optimum(None, None, None, "open")] * 3))
    found = figure.axes[0].get_legend()
    assert found is not None
    assert found.get_title().get_text() == scaling.NOTHING
    assert legend(figure) == []


# -- further ----------------------------------------------------------------------------------------------------------


def fallen(settings: list[Cell], scatter: float | None = 2.9, spread: float | None = None) -> Collapse:
    points = tuple((wd, 70.0 - 1e3 * wd, s.replace(weight_decay=wd)) for wd in DECAYS for s in settings)
    names = ("weight_decay", "product", "tau_epochs", "e_folds")
    return Collapse("final_test_acc", tuple(Fall(name, name, points, scatter, spread) for name in names))


def test_titles_join_only_what_there_is() -> None:
    settings = [Cell.of(lr, 0.0, 0.9, 128) for lr in RATES]
    for given, title in (
        ((2.9, None), "scatter 2.9 × noise"),
        ((2.9, 1.2), "optima within ×1.20 (least); scatter 2.9 × noise"),
        ((None, 1.2), "optima within ×1.20 (least)"),
        ((None, None), ""),
    ):
        titles = [axis.get_title(loc="left") for axis in collapse.draw(fallen(settings, *given)).axes]
        assert titles == [f"{letter}  {title}".rstrip() for letter in "abcd"]


def test_labels_of_curves_have_the_knobs_that_differ() -> None:
    several = [Cell.of(0.1, 0.0, 0.9, b, epochs) for b in (64, 128) for epochs in (20, 40)]
    figure = collapse.draw(fallen(several))
    assert legend(figure) == ["B 64, E 20", "B 64, E 40", "B 128, E 20", "B 128, E 40"]
    styles = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 4  # each is another to the eye, too
    assert legend(collapse.draw(fallen([Cell.of(lr, 0.0, 0.9, 128) for lr in (0.1, 0.2)]))) == ["η 0.1", "η 0.2"]


def test_of_many_settings_only_the_optima_are_shown_with_their_intervals() -> None:
    rates = [round(0.01 * n, 2) for n in range(1, 14)]
    picture = fallen([Cell.of(lr, 0.0, 0.9, 64) for lr in rates])
    bars = (Bar(Cell.of(0.01, 0.0, 0.9, 64), 2e-4, 1e-4, 4e-4), Bar(Cell.of(0.02, 0.0, 0.9, 64), None, None, 3e-4))
    falls = tuple(dataclasses.replace(fall, bars=bars) for fall in picture.falls)
    figure = collapse.draw(dataclasses.replace(picture, falls=falls))
    assert figure.legends == []
    panel, bar = figure.axes[0], figure.axes[-1]
    assert bar.get_ylabel() == "learning rate η (peak)"
    assert [tick.get_text() for tick in bar.get_yticklabels()] == [f"{lr:g}" for lr in rates]
    drawn = [(list(line.get_xdata()), line.get_linestyle()) for line in panel.lines]  # type: ignore[arg-type]
    low = panel.get_xlim()[0]
    assert drawn == [([1e-4, 4e-4], "-"), ([2e-4], "None"), ([low, 3e-4], ":")] or drawn[0] == ([1e-4, 4e-4], "-")
    assert [list(line.get_xdata()) for line in panel.lines][-1] == [pytest.approx(low), 3e-4]  # type: ignore[arg-type]
    assert [axis.get_title(loc="left")[0] for axis in figure.axes[:4]] == ["a", "b", "c", "d"]


def history(epochs: tuple[int, ...]) -> Training:
    series = tuple(float(e) for e in epochs)
    return Training(
        (History(Cell.of(0.1, 1e-3, 0.9, 128), 2, epochs, series, series, series, series),), "final_test_acc"
    )


def test_epochs_that_were_measured_have_markers_where_others_were_not() -> None:
    for epochs, marked in (
        (tuple(range(5, 201, 5)), True),
        ((10, 20, 30, 40), True),
        ((7,), True),
        (tuple(range(1, 201)), False),
    ):
        for axis in training.draw(history(epochs)).axes:
            assert (axis.lines[0].get_marker() not in ("", "None")) is marked, epochs


def prediction(*checks: tuple[float, float, float], name: str = "rule") -> Prediction:
    """Checks of (measured, said by the rule, said by the baseline)."""
    rule, baseline = Score(name, False, 1.1, 0.1, 0.1), Score("5e-4 always", True, 20.0, 1.0, 1.0)
    made = tuple(Check({"lr": 0.1}, m, (m / 1.2, m * 1.2), {name: r, "5e-4 always": b}) for m, r, b in checks)
    return Prediction(
        "weight_decay", {}, 0.02, (0.01, 0.03), name, "", (), rule, (rule, baseline), made, "", "final_test_acc"
    )


def points_of(figure: Figure) -> dict[str, list[tuple[float, str]]]:
    """By rule, the factor of each point and the colour of its face."""
    axis = figure.axes[0]
    names = [label.get_text().split("\n")[0] for label in axis.get_yticklabels()]
    found: dict[str, list[tuple[float, str]]] = {name: [] for name in names}
    for line in axis.lines:
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        if line.get_marker() != "None" and len(x) == 1:
            found[names[round(float(y[0]))]].append((float(x[0]), str(line.get_markerfacecolor())))
    return found


def test_predictions_are_factors_of_what_was_measured_a_row_a_rule() -> None:
    found = prediction((0.016, 0.02, 5e-4), (0.024, 0.02, 5e-4))
    figure = agreement.draw(found)
    end = agreement.limit(found)
    assert figure.axes[0].get_xlim() == pytest.approx((1 / end, end))
    points = points_of(figure)
    assert [x for x, _ in points["rule"]] == pytest.approx([0.02 / 0.016, 0.02 / 0.024])
    # A baseline that is off by a factor of thirty is counted at the edge, hollow, and the words below say so.
    assert points["5e-4 always"] == [(pytest.approx(1 / end), "white")]
    assert [text.get_text() for text in figure.axes[0].texts] == ["2"]
    assert agreement.FAR in figure.get_supxlabel().replace("\n", " ")
    assert figure.axes[0].get_yticklabels()[1].get_text() == "5e-4 always\noff by 20.00"


def test_baselines_that_are_near_stand_where_they_are() -> None:
    found = prediction((0.016, 0.02, 0.011), (0.024, 0.02, 0.04))
    figure = agreement.draw(found)
    assert [x for x, _ in points_of(figure)["5e-4 always"]] == pytest.approx([0.011 / 0.016, 0.04 / 0.024])
    assert agreement.FAR not in figure.get_supxlabel().replace("\n", " ")
    named = agreement.draw(dataclasses.replace(found, network="mlp on digits"))
    assert named.get_supxlabel().startswith("mlp on digits; best ")


def test_optima_that_agree_have_a_picture_as_wide_as_the_band() -> None:
    found = prediction(*[(0.02, 0.02, 0.02)] * 3)
    assert agreement.limit(found) == pytest.approx(1.15 * agreement.BAND)


# -- papers and slides ------------------------------------------------------------------------------------------------


def drawn() -> list[Figure]:
    """One of each kind, of results that fill it."""
    far = prediction((0.016, 0.02, 5e-4), (0.024, 0.02, 5e-4), name="fitted exponents that change")
    several = fallen([Cell.of(0.1, 0.0, 0.9, b, epochs) for b in (64, 128) for epochs in (20, 40)], 2.9, 1.2)
    many = fallen([Cell.of(round(0.01 * n, 2), 0.0, 0.9, 64) for n in range(1, 14)], 2.9, 1.2)
    bars = tuple(Bar(Cell.of(0.01 * n, 0.0, 0.9, 64), 2e-4 * n, 1e-4 * n, 4e-4 * n) for n in range(1, 14))
    many = dataclasses.replace(many, falls=tuple(dataclasses.replace(fall, bars=bars) for fall in many.falls))
    both = dataclasses.replace(optimum(0.3, 0.1, 0.4), others=(0.12,), competing=True)
    twins = (
        Network("a", True, 90_000, 49.0, 0.8, 2, "", "1 block"),
        Network("b", False, 80_000, 46.0, 0.8, 2, "", "1"),
    )
    return [
        curves.draw(ordering(("SGD", both), ("SGD+WD", optimum(None, 0.1, None, "open above")))),
        curves.draw(steep()),
        heatmap.draw(plane()),
        scaling.draw(scale(optimum(2e-4, 1e-4, 4e-4), optimum(3e-4, 2e-4, 4e-4))),
        collapse.draw(several),
        collapse.draw(many),
        agreement.draw(far),
        training.draw(history((1, 2, 3))),
        compression.draw(Compression((twins,), "cifar10, 2,000 images, 16 epochs, B = 64, sgd", PUBLISHED)),
    ]


SIZES = [("paper", 1, 3.5), ("paper", 2, 7.2), ("slide", 1, 6.0), ("slide", 2, 12.0), ("screen", 2, None)]


@pytest.mark.parametrize(("style", "columns", "inches"), SIZES)
def test_type_is_readable_whole_and_apart_at_every_width(
    style: Literal["screen", "paper", "slide"], columns: int, inches: float | None
) -> None:
    with made_for(Print(style=style, columns=columns)):
        for number, figure in enumerate(drawn()):
            assert inches is None or figure.get_figwidth() == pytest.approx(inches)
            figure.draw_without_rendering()
            sizes = {text.get_text(): text.get_fontsize() for text in figure.findobj(Text) if isinstance(text, Text)}
            assert min(size for words, size in sizes.items() if words.strip()) >= 7, number
            for text in (shown := _shown(figure)):
                box = text.get_window_extent()
                over = (-box.x0, -box.y0, box.x1 - figure.bbox.width, box.y1 - figure.bbox.height)
                assert max(over) < 2, (number, text.get_text(), over)
            # Boxes of words that are turned by less than a right angle overlap where the words do not.
            upright = [text for text in shown if text.get_rotation() in (0, 90)]
            for one, other in itertools.combinations(upright, 2):
                a, b = one.get_window_extent(), other.get_window_extent()
                across, along = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
                assert min(across, along) < 2, (number, one.get_text(), other.get_text())


def _shown(figure: Figure) -> list[Text]:
    """All words that are drawn: of the figure, its legends, and its panels with the ticks that are in view."""
    found = [figure._suptitle, figure._supxlabel, figure._supylabel]  # type: ignore[attr-defined]
    for axis in figure.axes:
        found += [axis.title, axis._left_title, axis.xaxis.label, axis.yaxis.label, *axis.texts]  # type: ignore[attr-defined]
        for ruler in (axis.xaxis, axis.yaxis):
            low, high = sorted(ruler.get_view_interval())
            for tick in ruler.get_major_ticks():
                found += [tick.label1, tick.label2] if low <= tick.get_loc() <= high else []
    for legend in (*figure.legends, *(axis.get_legend() for axis in figure.axes)):
        found += [legend.get_title(), *legend.get_texts()] if legend else []
    return [text for text in found if text is not None and text.get_visible() and text.get_text().strip()]


def test_files_of_each_format_are_written_and_equal_figures_are_equal_files(tmp_path: Path) -> None:
    with made_for(Print(("pdf", "svg", "png"))):
        first, again = (save(heatmap.draw(plane()), tmp_path / name / "map.png") for name in ("one", "two"))
    assert [path.name for path in first] == ["map.pdf", "map.svg", "map.png"]
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert "learning rate" in first[1].read_text()  # letters stay letters
    for wrong in ({"columns": 1}, {"formats": ("jpg",)}, {"style": "poster"}, {"columns": 3}, {"formats": ()}):
        with pytest.raises(SpecError):
            Print(**wrong)  # type: ignore[arg-type]
