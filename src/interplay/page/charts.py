"""The figures as plotly's JSON: plain lists and dictionaries, the same results and colours as the printed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interplay.analysis.collapse import Collapse
from interplay.analysis.importance import Importance
from interplay.analysis.phrases import place
from interplay.analysis.pictures import Heatmap, Ordering, Scaling, at_batch
from interplay.analysis.predict import Prediction
from interplay.analysis.theories import SYMBOLS
from interplay.figures.colours import shade
from interplay.figures.labels import metric_label
from interplay.page import traces
from interplay.page.traces import CellFinder
from interplay.page.words import metric_value


@dataclass(frozen=True)
class Chart:
    """One figure with its words; charts of one ``group`` stand under one title."""

    id: str
    group: str
    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def ordering(picture: Ordering, cells: CellFinder) -> list[Chart]:
    """Set 1: the metric against the learning rate of each method, with its optimum and interval."""
    points = [p for curve in picture.curves for p in curve.points]
    rates = sorted({p.x for p in points})
    low, high = traces.extent(points)
    data: list[dict[str, Any]] = []
    for number, curve in enumerate(picture.curves):
        data += traces.optimum_lines(curve, traces.COLOURS[number % len(traces.COLOURS)], (low, high), rates)
    row = 0  # of crosses, one for each method that diverged somewhere: on one line they would hide each other
    for number, curve in enumerate(picture.curves):
        colour, symbol = traces.COLOURS[number % len(traces.COLOURS)], traces.SYMBOLS[number % len(traces.SYMBOLS)]
        best = curve.optimum
        words = f"η* {'= ' if best.estimate is not None else ''}{place(best)}"
        trace = traces.curve(curve.points, colour, symbol, f"{curve.method} ({words})", picture.metric, cells, "η")
        data.append({**trace, "legendgroup": curve.method})
        if lost := [p for p in curve.points if p.mean is None]:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": f"{curve.method}: diverged",
                    "legendgroup": curve.method,
                    "x": [p.x for p in lost],
                    "y": [low + 0.035 * row * (high - low)] * len(lost),
                    "marker": {"symbol": "x", "color": colour, "size": 8},
                    "customdata": [cells.index(p.cell) for p in lost],
                    "hovertext": [f"<b>{curve.method}</b><br>η = {p.x:g}<br>diverged" for p in lost],
                    "hoverinfo": "text",
                    "cliponaxis": False,
                }
            )
            row += 1
    layout = traces.layout(traces.log_axis(rates, "learning rate η (peak)"), traces.axis(metric_label(picture.metric)))
    layout["yaxis"]["range"] = [low, high]
    return [
        Chart(
            "ordering",
            "ordering",
            f"Which learning rate for which method?{at_batch(picture.batch_size)}",
            "Look for the order of the dashed lines: the claim puts SGD to the right of SGD+WD, and that to the right "
            "of SGDM+WD. Shaded is the 90 % interval of each optimum; where two of them overlap, their order is open. "
            "Bars are one standard error of the mean.",
            data,
            layout,
        )
    ]


def heatmap(picture: Heatmap, cells: CellFinder) -> list[Chart]:
    """Set 2: values in their cells over learning rate and decay; lines of constant ηλ and the ridge over them."""
    xs, ys = [f"{lr:g}" for lr in picture.lrs], [f"{wd:g}" for wd in picture.decays]
    accuracy = "acc" in picture.metric
    known = [v for row in picture.values for v in row if v is not None]
    best = (max if accuracy else min)(known, default=0.0)
    grid: dict[str, Any] = {
        "type": "heatmap",
        "name": picture.metric,
        "x": xs,
        "y": ys,
        "z": [list(row) for row in picture.values],
        "hovertext": [[traces.over_cell(picture, cells, i, j) for j in range(len(xs))] for i in range(len(ys))],
        "hoverinfo": "text",
        "customdata": [[cells.index(p.cell) if p else None for p in row] for row in picture.cells],
        "colorscale": "Cividis",
        "reversescale": not accuracy,
        "showscale": True,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "title": {"text": metric_label(picture.metric), "side": "right"},
            "thickness": 12,
            "outlinewidth": 0,
        },
    }
    if accuracy and known:
        # As in the printed figure: 15 points below the best everything is equally bad.
        grid |= {"zmin": max(min(known), best - 15.0), "zmax": best}
    lines = [*traces.constant_product(picture), *traces.ridge(picture)]
    data = [grid, *traces.hatching(picture), *lines, *traces.cell_numbers(picture)]
    xaxis, yaxis = traces.axis("learning rate η (peak)"), traces.axis("weight decay λ")
    for axis, words in ((xaxis, xs), (yaxis, ys)):
        axis |= {"type": "category", "categoryarray": words, "range": [-0.5, len(words) - 0.5], "showgrid": False}
        axis |= {"categoryorder": "array", "fixedrange": True, "zeroline": False, "ticks": ""}
    layout = traces.layout(xaxis, yaxis)
    # Lines run between the centres of the categories, which only a number can say: a second pair of axes over them.
    for name, words in (("xaxis2", xs), ("yaxis2", ys)):
        layout[name] = {
            "overlaying": name[0],
            "range": [-0.5, len(words) - 0.5],
            "visible": False,
            "fixedrange": True,
        }
    return [
        Chart(
            "heatmap",
            "heatmap",
            f"Do good settings lie along ηλ = const?{at_batch(picture.batch_size)}",
            "Look whether the orange ridge (best λ at each η, where it lies inside the grid) runs along the dashed "
            "lines, on which ηλ is constant. Hatched cells diverged, blank ones have not run. Click one for its runs.",
            data,
            layout,
        )
    ]


def scaling(picture: Scaling, cells: CellFinder) -> list[Chart]:
    """Set 3: the best decay at each batch size with the slopes of theories, and the curves it comes from."""
    decays = sorted({p.x for curve in picture.curves for p in curve if p.x > 0})
    pairs = list(zip(picture.batches, picture.optima, strict=True))
    data = [*traces.theories(pairs), *traces.optima(pairs, decays)]
    layout = traces.layout(
        traces.log_axis(picture.batches, "batch size B"), traces.log_axis(decays, "optimal weight decay λ*")
    )
    curves = [
        traces.curve(
            [p for p in curve if p.x > 0],
            traces.COLOURS[n % 6],
            traces.SYMBOLS[n % 6],
            f"B = {batch}",
            picture.metric,
            cells,
            "λ",
        )
        for n, (batch, curve) in enumerate(zip(picture.batches, picture.curves, strict=True))
    ]
    return [
        Chart(
            "scaling",
            "scaling",
            "Is λ* ∝ B under the linear rule?",
            "Look which of the grey lines the measured optima follow. Bars are 90 % intervals; a triangle points to "
            "where an optimum may lie that the grid does not bound, an open square is a plateau: an interval wider "
            "than a factor of 4.",
            data,
            layout,
        ),
        Chart(
            "scaling-curves",
            "scaling",
            "The curves these optima come from",
            "Look for a maximum inside the range of λ (a minimum, for losses): a curve that still rises at its end has "
            "its optimum beyond it.",
            curves,
            traces.layout(traces.log_axis(decays, "weight decay λ"), traces.axis(metric_label(picture.metric))),
        ),
    ]


def collapse(picture: Collapse, cells: CellFinder) -> list[Chart]:
    """All cells against the variables on which they might fall together; λ alone first, for comparison."""
    settings = [s for _, _, s in picture.falls[0].points]
    rates, batches = sorted({s.lr for s in settings}), sorted({s.get("batch_size", 0) for s in settings})
    charts = []
    for fall in picture.falls:
        if fall.variable not in ("weight_decay", "tau_epochs"):
            continue  # ηλ and the e-folds are in the printed figure
        groups: dict[tuple[float, int, int], list[tuple[float, float, Any]]] = {}
        for x, mean, s in fall.points:
            groups.setdefault((s.lr, s.get("batch_size", 0), s.epochs), []).append((x, mean, s))
        data: list[dict[str, Any]] = [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"η {lr:g}",
                "legendgroup": f"{lr:g}",
                "showlegend": (batch, epochs) == min((b, e) for rate, b, e in groups if rate == lr),
                "x": [x for x, _, _ in points],
                "y": [mean for _, mean, _ in points],
                "line": {"color": shade(lr, rates), "width": 1},
                "marker": {"symbol": traces.SYMBOLS[batches.index(batch) % 6], "size": 7},
                "customdata": [cells.index(s) for _, _, s in points],
                "hovertext": [
                    f"η = {lr:g}, λ = {s.weight_decay:g}, B = {batch}, E = {epochs}<br>"
                    f"{fall.label}: {x:.3g}<br>{mean:.2f}"
                    for x, mean, s in points
                ],
                "hoverinfo": "text",
            }
            for (lr, batch, epochs), points in groups.items()
        ]
        spread = "" if fall.spread is None else f": optima within a factor of {fall.spread:.2f}"
        levels = [mean for _, mean, _ in fall.points]
        layout = traces.layout(
            {**traces.axis(fall.label), "type": "log", "exponentformat": "power", "dtick": 1},
            traces.axis(metric_label(picture.metric)),
        )
        if "acc" in picture.metric:
            layout["yaxis"]["range"] = [max(min(levels), max(levels) - 15) - 0.5, max(levels) + 0.5]
        caption = (
            "Every setting by itself, against the decay. Colours are learning rates, markers batch sizes."
            if fall.variable == "weight_decay"
            else "The same cells against the memory of the weights in epochs: where the optima come to lie above each "
            "other, that variable is what decides. The curves need not have the same height."
        )
        charts.append(Chart(f"collapse-{fall.variable}", "collapse", fall.label + spread, caption, data, layout))
    return charts


SHARES = 12
"""Knobs and pairs that the figure of what matters shows, and the share below which it shows none."""
LEAST_SHARE = 0.01
KNOB_SYMBOLS = {**SYMBOLS, "momentum": "μ"}


def importance(found: Importance, metric: str) -> list[Chart]:
    """The share of the variance that each knob has, and each pair beyond its two, with intervals."""
    shown = [each for each in found.shares if each.share >= LEAST_SHARE][:SHARES]
    names = [" × ".join(f"{KNOB_SYMBOLS.get(name, '')} {name}".strip() for name in each.knobs) for each in shown]
    words = [
        f"{100 * e.share:.0f} %, 90 % interval {100 * e.interval[0]:.0f} to {100 * e.interval[1]:.0f}" for e in shown
    ]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [100 * each.share for each in shown if (len(each.knobs) > 1) == pair],
            "y": [label for label, each in zip(names, shown, strict=True) if (len(each.knobs) > 1) == pair],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [100 * (e.interval[1] - e.share) for e in shown if (len(e.knobs) > 1) == pair],
                "arrayminus": [100 * (e.share - e.interval[0]) for e in shown if (len(e.knobs) > 1) == pair],
                "thickness": 1.5,
                "width": 4,
                "color": colour,
            },
            "marker": {"color": colour, "symbol": symbol, "size": 10},
            "hovertext": [
                f"<b>{label}</b><br>{told}"
                for label, told, each in zip(names, words, shown, strict=True)
                if (len(each.knobs) > 1) == pair
            ],
            "hoverinfo": "text",
        }
        for name, pair, colour, symbol in (
            ("one knob alone", False, traces.COLOURS[0], traces.SYMBOLS[0]),
            ("two together, beyond both alone", True, traces.COLOURS[1], traces.SYMBOLS[3]),
        )
    ]
    xaxis = {**traces.axis("share of the variance (%)"), "rangemode": "tozero"}
    yaxis = {**traces.axis(""), "type": "category", "categoryorder": "array", "categoryarray": names[::-1]}
    return [
        Chart(
            "importance",
            "importance",
            "Which knob matters?",
            f"Shares of the variance of a surface fitted to {found.cells} settings of {found.network.words()}, with "
            f"90 % intervals. What is worse than {metric_value(metric, found.worst)} counts as that. A knob matters "
            "more where more of it was varied, so shares speak of this grid. Of settings that it has not seen the "
            f"surface explains {100 * found.explained:.0f} % (R²).",
            data,
            traces.layout(xaxis, yaxis),
        )
    ]


def agreement(prediction: Prediction) -> list[Chart]:
    """Each setting predicted from the others, by the rule in use and the baselines."""
    shown = dict.fromkeys([prediction.rule, *(s.rule for s in prediction.scores if s.baseline and s.factor)])
    known = [c for c in prediction.checks if c.estimate is not None]
    factors = {score.rule: score.factor for score in prediction.scores}
    values = [c.estimate or 0.0 for c in known] + [c.said[n] for c in known for n in shown if n in c.said]
    ends = [min(values) / 1.5, max(values) * 1.5]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "predicted = measured",
            "x": ends,
            "y": ends,
            "line": {"color": traces.GREY, "width": 1},
            "hoverinfo": "skip",
        }
    ]
    symbol = SYMBOLS[prediction.of]
    for number, name in enumerate(shown):
        points = [c for c in known if name in c.said]
        factor = factors.get(name)
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name + ("" if factor is None else f" (off by {factor:.2f})"),
                "x": [c.estimate for c in points],
                "y": [c.said[name] for c in points],
                "marker": {
                    "color": traces.COLOURS[number % 6],
                    "symbol": traces.SYMBOLS[number % 6],
                    "size": 11 if number == 0 else 8,
                },
                "hovertext": [
                    f"<b>{name}</b><br>"
                    + ", ".join(f"{SYMBOLS[k]} {v:g}" for k, v in c.at.items())
                    + f"<br>measured {c.estimate:.3g}, predicted {c.said[name]:.3g}"
                    for c in points
                ],
                "hoverinfo": "text",
            }
        )
    axes = [
        {**traces.axis(words), "type": "log", "exponentformat": "power", "dtick": 1}
        for words in (f"measured {symbol}*", f"{symbol}* predicted without that setting")
    ]
    return [
        Chart(
            "agreement",
            "agreement",
            "Would the rule have predicted it?",
            "Each setting is left out once and predicted from the others. Look how far the points are from the line: "
            "a factor of 1.1 is as good as the grid can tell.",
            data,
            traces.layout(axes[0], axes[1]),
        )
    ]
