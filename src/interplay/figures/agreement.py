"""Predicted against measured: each setting left out once, for the rule in use and the baselines."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from interplay.analysis.predict import Prediction
from interplay.analysis.theories import SYMBOLS
from interplay.figures.style import COLOURS, MARKERS, look, metric_name

BAND = 1.5
"""Factor of the band around the diagonal."""
MARGIN = 0.1
"""Room around what is shown, as a share of its range on the log axis."""

FAR = "hollow, on the edge: further out"


def draw(prediction: Prediction) -> Figure:
    """On the diagonal a rule is right; open ends of a measured interval are drawn to the edge of the picture.

    Baselines that are far off lie on the edge, too, with hollow markers: otherwise one bad rule would press all that is
    to be compared into a corner.
    """
    shown = _shown(prediction)
    factors = {score.rule: score.factor for score in prediction.scores}
    known = [c for c in prediction.checks if c.estimate is not None]
    low, high = limits(prediction)
    with look():
        figure = Figure(figsize=(5.4, 6.0))
        axis = figure.add_subplot()
        axis.plot([low, high], [low, high], color="0.6", lw=1)
        axis.fill_between([low, high], [low / BAND, high / BAND], [low * BAND, high * BAND], color="0.92", lw=0)
        far = False
        for name, colour, marker in zip(shown, COLOURS, MARKERS, strict=False):
            chosen, factor = name == prediction.rule, factors.get(name)
            words = "" if factor is None else f" (off by {factor:.2f})"
            size, alpha = (7, 1.0) if chosen else (5, 0.7)
            points = [c for c in known if name in c.said]
            inside = [c for c in points if low <= c.said[name] <= high]
            x = [c.estimate or 0.0 for c in inside]
            error = [
                [m - (c.interval[0] or low) for m, c in zip(x, inside, strict=True)],
                [(c.interval[1] or high) - m for m, c in zip(x, inside, strict=True)],
            ]
            axis.errorbar(
                x,
                [c.said[name] for c in inside],
                xerr=error if chosen else None,
                fmt=marker,
                color=colour,
                ms=size,
                alpha=alpha,
                label=name + words,
                capsize=2,
            )
            outside = [(c.estimate or 0.0, low if c.said[name] < low else high) for c in points if c not in inside]
            for at in outside:
                axis.plot(*at, ls="none", marker=marker, color=colour, ms=size, mfc="white", clip_on=False, zorder=4)
            far = far or bool(outside)
        if far:
            axis.plot([], [], ls="none", marker="o", color="0.5", ms=5, mfc="white", label=FAR)
        axis.set_box_aspect(1)
        axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        symbol = SYMBOLS[prediction.of]
        for ruler in (axis.xaxis, axis.yaxis):
            ruler.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 8 * low else (1, 2, 3, 5, 7)))
            ruler.set_major_formatter(lambda value, _: f"{value:g}")
            ruler.set_minor_formatter(NullFormatter())
        axis.set(
            xlabel=f"measured {symbol}* (of {metric_name(prediction.metric)}), 90 % interval",
            ylabel=f"{symbol}* predicted without that setting",
        )
        axis.set_title("Predicted against measured (band: a factor of 1.5)")
        handles, labels = axis.get_legend_handles_labels()
        entries = sorted(zip(handles, labels, strict=True), key=lambda entry: entry[1] == FAR)
        figure.legend(*zip(*entries, strict=True), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def limits(prediction: Prediction) -> tuple[float, float]:
    """Ends of both axes: what was measured and what the rule in use says of it, with a tenth of room on either side.

    Baselines widen them by no more than the width of the band.
    """
    known = [c for c in prediction.checks if c.estimate is not None]
    core = [x for c in known for x in (c.estimate, *c.interval, c.said.get(prediction.rule)) if x is not None]
    said = [c.said[name] for c in known for name in _shown(prediction) if name in c.said]
    near = [x for x in said if min(core) / BAND <= x <= max(core) * BAND]
    low, high = math.log(min(core + near)), math.log(max(core + near))
    # Optima that all agree still have a picture, as wide as the band.
    room = max(MARGIN * (high - low), (2 * math.log(BAND) - (high - low)) / 2)
    return math.exp(low - room), math.exp(high + room)


def _shown(prediction: Prediction) -> list[str]:
    """The rule in use, and the baselines that say something."""
    baselines = [score.rule for score in prediction.scores if score.baseline and score.factor is not None]
    return list(dict.fromkeys([prediction.rule, *baselines]))
