"""Parts that the figures are made of: axes, and traces over them, as plotly's JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from interplay.analysis.cells import Cell
from interplay.analysis.optimum import Optimum
from interplay.analysis.phrases import count, interval
from interplay.analysis.phrases import place as place_words
from interplay.analysis.pictures import Heatmap, MethodCurve, Point
from interplay.figures.colours import colour, limits, map_of, text_colour
from interplay.figures.labels import LABELS, OTHER, Mark, mark
from interplay.figures.places import (
    constant_products,
    number_places,
    other_points,
    place,
    ridge_points,
    theory_lines,
)
from interplay.page.words import metric_value

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
# Names of colours of the style sheet, which has a light and a dark value for each.
COLOURS = tuple(f"var(--c{number})" for number in range(1, 7))
GREY, GRID = "var(--grey)", "var(--line)"
INK, CARD = "var(--ink)", "var(--card)"
# The map is the same in both, and so is what lies on it: 3.4 to 1 against its bright end, 3.9 against its dark one.
RIDGE = "#D55E00"


class CellFinder(Protocol):
    """The runs behind a point of a figure."""

    def index(self, cell: Cell | None) -> int | None:
        """Number of the cell among the rows of the page."""

    def values(self, cell: Cell | None) -> Sequence[float]:
        """The metric of each of its runs."""


# -- axes -------------------------------------------------------------------------------------------------------------


def layout(xaxis: dict[str, Any], yaxis: dict[str, Any]) -> dict[str, Any]:
    """The look that all figures share, with their two axes."""
    return {
        "xaxis": xaxis,
        "yaxis": yaxis,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": CARD, "font": {"family": FONT, "color": INK}},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
    }


def axis(title: str) -> dict[str, Any]:
    """A linear axis."""
    return {"title": {"text": title, "standoff": 10}, "automargin": True, "gridcolor": GRID, "zeroline": False}


def log_axis(values: Sequence[float], title: str) -> dict[str, Any]:
    """A log axis with a tick at each value that was used, and some room beyond the outer ones."""
    ends = [math.log10(min(values)), math.log10(max(values))]
    room = 0.06 * (ends[1] - ends[0]) or 0.3
    return {
        **axis(title),
        "type": "log",
        "range": [ends[0] - room, ends[1] + room],
        "tickvals": list(values),
        "ticktext": [f"{value:g}" for value in values],
        "ticks": "outside",
        "tickcolor": GRID,
    }


def extent(points: Sequence[Point]) -> tuple[float, float]:
    """The range of a metric axis that holds all means with their bars, and some room."""
    ends = [p.mean + side * (p.error or 0.0) for p in points if p.mean is not None for side in (-1, 1)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = 0.05 * (high - low) or 1.0
    return low - room, high + room


# -- traces -----------------------------------------------------------------------------------------------------------


def curve(
    points: Sequence[Point], colour: str, symbol: str, name: str, metric: str, cells: CellFinder, knob: str
) -> dict[str, Any]:
    """Means with bars of one standard error, joined by a line; a point leads to the runs of its cell."""
    there = [p for p in points if p.mean is not None]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [p.x for p in there],
        "y": [p.mean for p in there],
        "error_y": {"type": "data", "array": [p.error or 0.0 for p in there], "thickness": 1.2, "width": 3},
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "symbol": symbol, "size": 8},
        "customdata": [cells.index(p.cell) for p in there],
        "hovertext": [f"<b>{name}</b><br>{knob} = {p.x:g}<br>{numbers(p, metric, cells)}" for p in there],
        "hoverinfo": "text",
    }


def numbers(point: Point, metric: str, cells: CellFinder) -> str:
    """Mean, standard error and the runs of a cell, for the eye that rests on it."""
    if point.mean is None:
        return "diverged"
    error = "" if point.error is None else f" ± {metric_value(metric, point.error)} (SE)"
    values = cells.values(point.cell)
    each = ", ".join(metric_value(metric, value).split()[0] for value in values[:6])
    more = ", …" if len(values) > 6 else ""
    return f"mean {metric_value(metric, point.mean)}{error}<br>{count(point.runs, 'run')}" + (
        f": {each}{more}" if len(values) > 1 else ""
    )


def optimum_lines(
    curve: MethodCurve, colour: str, span: tuple[float, float], rates: Sequence[float]
) -> list[dict[str, Any]]:
    """A dashed line of height ``span`` at the optimum, a band for its interval, open ends to the last of ``rates``."""
    best, (low, high) = curve.optimum, span
    traces: list[dict[str, Any]] = []
    common = {"type": "scatter", "mode": "lines", "legendgroup": curve.method, "showlegend": False}
    left, right = best.interval
    if best.status != "unknown" and (left is not None or right is not None):
        # An open end reaches the edge of what was measured.
        a, b = left or rates[0], right or rates[-1]
        band = {"fill": "toself", "fillcolor": colour, "opacity": 0.14, "line": {"width": 0}, "hoverinfo": "skip"}
        traces.append({**common, **band, "x": [a, b, b, a, a], "y": [low, low, high, high, low]})
    if best.estimate is not None:
        words = f"<b>{curve.method}</b><br>η* = {best.estimate:.3g}<br>90 %: {interval(best.interval)}"
        line = {"line": {"color": colour, "width": 1.2, "dash": "dash"}, "hovertext": words, "hoverinfo": "text"}
        # Several points, because the hover of a line is that of its points.
        traces.append({**common, **line, "x": [best.estimate] * 9, "y": list(np.linspace(low, high, 9))})
    for other in best.others:
        words = f"<b>{curve.method}</b><br>another optimum at {other:.3g}"
        line = {"line": {"color": colour, "width": 1.2, "dash": "dot"}, "hovertext": words, "hoverinfo": "text"}
        traces.append({**common, **line, "x": [other] * 9, "y": list(np.linspace(low, high, 9))})
    return traces


def in_cell(picture: Heatmap, i: int, j: int) -> str:
    """What stands in the cell of decay ``i`` and rate ``j``."""
    value = picture.values[i][j]
    if value is None:
        return ""  # what diverged is written over its hatching
    return f"{value:.1f}" if "acc" in picture.metric else f"{value:.3f}"


def over_cell(picture: Heatmap, cells: CellFinder, i: int, j: int) -> str:
    """What is told of the cell of decay ``i`` and rate ``j`` when the mouse rests on it."""
    lr, wd, point = picture.lrs[j], picture.decays[i], picture.cells[i][j]
    head = f"η = {lr:g}, λ = {wd:g}<br>ηλ = {lr * wd:.3g}<br>"
    if point is None:
        return f"{head}not run"
    some = "<br>half of the runs or more diverged" if (i, j) in picture.diverged and point.runs else ""
    return f"{head}{numbers(point, picture.metric, cells)}{some}"


_OVER = {"type": "scatter", "xaxis": "x2", "yaxis": "y2"}


def hatching(picture: Heatmap) -> list[dict[str, Any]]:
    """Hatching, and the word where a cell has no value."""
    if not picture.diverged:
        return []
    xs: list[float | None] = []
    ys: list[float | None] = []
    for i, j in sorted(picture.diverged):
        for shift in (-0.6, -0.2, 0.2, 0.6):
            a, b = max(-0.5, -0.5 - shift), min(0.5, 0.5 - shift)
            xs += [j + a, j + b, None]
            ys += [i + a + shift, i + b + shift, None]
    line = {"color": GREY, "width": 1.5}
    hatch = {**_OVER, "mode": "lines", "x": xs, "y": ys, "line": line, "name": "diverged", "hoverinfo": "skip"}
    empty = [(i, j) for i, j in sorted(picture.diverged) if picture.values[i][j] is None]
    label = {
        **_OVER,
        "mode": "text",
        "x": [j for _, j in empty],
        "y": [i for i, _ in empty],
        "text": ["<b>div.</b>"] * len(empty),
        "textfont": {"size": 11, "color": INK},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [hatch, label]


def cell_numbers(picture: Heatmap) -> list[dict[str, Any]]:
    """The value of each cell, in black or white by its colour, aside where a marker of the ridge is too near."""
    low, high, _ = limits(picture)
    name = map_of(picture.metric)
    places = number_places(picture, dict(ridge_points(picture)))
    shades = [colour(name, ((picture.values[i][j] or 0.0) - low) / ((high - low) or 1.0)) for i, j in places]
    return [
        {
            **_OVER,
            "mode": "text",
            "x": [x - 0.5 for x, _ in places.values()],
            "y": [y - 0.5 for _, y in places.values()],
            "text": [in_cell(picture, i, j) for i, j in places],
            "textfont": {"color": [text_colour(shade) for shade in shades]},
            "hoverinfo": "skip",
            "showlegend": False,
        }
    ]


def around_numbers(points: Sequence[tuple[float, float]], picture: Heatmap) -> list[tuple[float | None, float | None]]:
    """A line, in cells from the corner, without what would lie over a number; in plotly's places, from the centre."""
    numbers = number_places(picture, dict(ridge_points(picture))).values()
    wide = 0.3 * max(1.0, len(picture.lrs) / 6)
    found: list[tuple[float | None, float | None]] = []
    for x, y in points:
        if all(abs(x - at) > wide or abs(y - level) > 0.32 for at, level in numbers):
            found.append((x - 0.5, y - 0.5))
        elif found and found[-1] != (None, None):
            found.append((None, None))
    return [*found, (None, None)]


def constant_product(picture: Heatmap) -> list[dict[str, Any]]:
    """Lines of constant ηλ, with one entry in the legend."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for line in constant_products(picture, 400):
        points = [(place(lr, picture.lrs), place(wd, picture.decays)) for lr, wd in line]
        pieces = around_numbers(points, picture)
        xs += [x for x, _ in pieces]
        ys += [y for _, y in pieces]
    # Dark dashes on white are seen on the dark end of the map and on the bright one; in the legend they are grey.
    drawn = {**_OVER, "mode": "lines", "x": xs, "y": ys, "hoverinfo": "skip", "showlegend": False}
    entry = {**_OVER, "mode": "lines", "x": [None], "y": [None], "name": "ηλ = const", "hoverinfo": "skip"}
    return [
        {**drawn, "line": {"color": "rgba(255,255,255,0.8)", "width": 2.4}},
        {**drawn, "line": {"color": "#222222", "width": 1.2, "dash": "dash"}},
        {**entry, "line": {"color": GREY, "width": 1.5, "dash": "dash"}, "showlegend": True},
    ]


def ridge(picture: Heatmap) -> list[dict[str, Any]]:
    """The best decay at each rate where it is inside, and further maxima."""
    pairs = [(lr, o) for lr, o in zip(picture.lrs, picture.ridge, strict=True) if o.estimate is not None]
    others = [
        {
            **_OVER,
            "mode": "markers",
            "name": OTHER,
            "x": [j for j, _ in points],
            "y": [y - 0.5 for _, y in points],
            "marker": {"color": RIDGE, "symbol": "diamond-open", "size": 9, "line": {"width": 1.5}},
            "hoverinfo": "skip",
        }
        for points in [other_points(picture)]
        if points
    ]
    if not pairs:
        return others
    at = [(place(lr, picture.lrs), place(o.estimate or 1.0, picture.decays)) for lr, o in pairs]
    dense = np.linspace(at[0][0], at[-1][0], 400)
    places, heights = [x for x, _ in at], [y for _, y in at]
    line = around_numbers([(float(x), float(np.interp(x, places, heights))) for x in dense], picture)
    return [
        {
            **_OVER,
            "mode": "lines",
            "x": [x for x, _ in line],
            "y": [y for _, y in line],
            "line": {"color": RIDGE, "width": 3},
            "hoverinfo": "skip",
            "showlegend": False,
        },
        {
            **_OVER,
            "mode": "markers",
            "name": "best λ at each η",
            "x": [x - 0.5 for x, _ in at],
            "y": [y - 0.5 for _, y in at],
            "marker": {"color": RIDGE, "size": 7, "line": {"color": "#ffffff", "width": 1}},
            # The cell below is what the eye asks for; the numbers of the ridge stand in the table of optima.
            "hoverinfo": "skip",
        },
        *others,
    ]


def theories(pairs: Sequence[tuple[int, Optimum]]) -> list[dict[str, Any]]:
    """The slopes that theories predict, through the centre of the measured optima."""
    batches = [batch for batch, _ in pairs]
    lines = theory_lines(batches, [o for _, o in pairs])
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": batches,
            "y": decays,
            "line": {"color": GREY, "width": 1.5, "dash": dash},
            "hoverinfo": "skip",
        }
        for (name, decays), dash in zip(lines.items(), ("solid", "dash", "dot"), strict=False)
    ]


SHAPES: dict[Mark, str] = {
    "inside": "circle",
    "plateau": "square-open",
    "open below": "triangle-down",
    "open above": "triangle-up",
}


def optima(pairs: Sequence[tuple[int, Optimum]], decays: Sequence[float]) -> list[dict[str, Any]]:
    """One trace for each kind of mark that is there, so that each has its entry in the legend; then further maxima."""
    traces = []
    for kind, name in LABELS.items():
        chosen = [(batch, o) for batch, o in pairs if mark(o) == kind]
        if not chosen:
            continue
        places = [_place_of(o, kind, decays) for _, o in chosen]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": [batch for batch, _ in chosen],
                "y": [middle for middle, _, _ in places],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [top - middle for middle, _, top in places],
                    "arrayminus": [middle - bottom for middle, bottom, _ in places],
                    "thickness": 1.5,
                    "width": 4,
                },
                "marker": {
                    "color": COLOURS[0] if kind == "inside" else GREY,
                    "size": 10,
                    "symbol": SHAPES[kind],
                    "line": {"width": 1.5},
                },
                "hovertext": [
                    f"<b>B = {batch}</b><br>λ*: {place_words(o)}<br>90 %: {interval(o.interval)}" for batch, o in chosen
                ],
                "hoverinfo": "text",
            }
        )
    others = [(batch, value) for batch, o in pairs for value in o.others]
    if others:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": OTHER,
                "x": [batch for batch, _ in others],
                "y": [value for _, value in others],
                "marker": {"color": COLOURS[0], "size": 9, "symbol": "diamond-open", "line": {"width": 1.5}},
                "hovertext": [f"<b>B = {batch}</b><br>another optimum at {value:.3g}" for batch, value in others],
                "hoverinfo": "text",
            }
        )
    return traces


def _place_of(optimum: Optimum, kind: Mark, decays: Sequence[float]) -> tuple[float, float, float]:
    """Marker, lower and upper end of the bar. A bound is marked on the edge beyond which the optimum may lie."""
    low, high = optimum.interval
    if optimum.estimate is not None:
        return optimum.estimate, low or optimum.estimate, high or optimum.estimate
    bottom, top = low or decays[0], high or decays[-1]
    return (top if kind == "open above" else bottom), bottom, top
