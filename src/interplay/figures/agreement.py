"""Predicted against measured: each setting left out once, for the rule in use and the baselines, as factors."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from interplay.analysis.predict import Prediction
from interplay.analysis.theories import SYMBOLS
from interplay.figures.labels import metric_name
from interplay.figures.style import COLOURS, MARKERS, look, narrow, size, wrapped

BAND = 1.5
"""Factor of the band around what was measured."""
FARTHEST = 6.0
"""Factor at which the axis ends at the latest; what is further out lies there, hollow."""

FAR = "hollow, on the edge: so many are further out"


def draw(prediction: Prediction) -> Figure:
    """A row a rule, a point a setting: by what factor the rule, fitted to the others, misses what was measured there.

    The bar of a point is the 90 % interval of what was measured, as a factor, too. Rules that are far off would press
    all that is to be compared together: those beyond the axis are counted at its edge.
    """
    shown = _shown(prediction)
    factors = {score.rule: score.factor for score in prediction.scores}
    known = [c for c in prediction.checks if c.estimate is not None]
    end = limit(prediction)
    with look():
        figure = Figure(figsize=size(6.4, 1.9 + 0.62 * len(shown)))
        axis = figure.add_subplot()
        axis.axvspan(1 / BAND, BAND, color="0.92", lw=0)
        axis.axvline(1, color="0.5", lw=1)
        far = False
        for row, (name, colour, marker) in enumerate(zip(shown, COLOURS, MARKERS, strict=False)):
            points = [c for c in known if name in c.said]
            beyond = {False: 0, True: 0}
            for number, check in enumerate(points):
                assert check.estimate is not None
                height = row + 0.5 * ((number + 0.5) / len(points) - 0.5)
                factor = check.said[name] / check.estimate
                inside = 1 / end <= factor <= end
                if not inside:
                    beyond[factor > 1] += 1
                    continue
                low, high = check.interval
                if name == prediction.rule and low and high:
                    axis.plot(
                        [check.said[name] / high, check.said[name] / low], [height] * 2, color=colour, lw=1, alpha=0.6
                    )
                axis.plot(factor, height, ls="none", marker=marker, color=colour, ms=5, zorder=3)
            for above, count in beyond.items():
                if count:
                    far, at = True, end if above else 1 / end
                    edge: Any = {"ls": "none", "marker": marker, "color": colour, "ms": 6, "mfc": "white", "zorder": 4}
                    axis.plot(at, row, clip_on=False, **edge)
                    aside: Any = {"textcoords": "offset points", "va": "center", "fontsize": "small", "zorder": 5}
                    shift, side = (-7, "right") if above else (7, "left")
                    halo = [withStroke(linewidth=2, foreground="white")]
                    axis.annotate(f"{count}", (at, row), (shift, 0), ha=side, path_effects=halo, **aside)
        labels = [name + ("" if factors.get(name) is None else f"\noff by {factors[name]:.2f}") for name in shown]
        axis.set_yticks(range(len(shown)), labels)
        axis.set_ylim(len(shown) - 0.5, -0.5)
        axis.set(xscale="log", xlim=(1 / end, end))
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow() else (1, 1.5, 2, 3, 5, 7)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())
        symbol = SYMBOLS[prediction.of]
        # The setting itself is left out of what predicts it.
        axis.set_xlabel(f"{symbol}*, predicted / measured")
        figure.suptitle("Would the rule have predicted it?")
        whose = f"{prediction.network}; " if prediction.network else ""
        about = (
            f"{whose}best {symbol} by {metric_name(prediction.metric)}; a point a setting, predicted without it; "
            f"bars: 90 % interval of what was measured; grey: within a factor of {BAND:g}{f'; {FAR}' if far else ''}"
        )
        figure.supxlabel(wrapped(about, 84, 6.4), fontsize="small", color="0.3")
    return figure


def limit(prediction: Prediction) -> float:
    """The factor at which the axis ends on both sides: the rule in use lies inside, others as far as `FARTHEST`."""
    known = [c for c in prediction.checks if c.estimate]
    own = [c.said[prediction.rule] / (c.estimate or 1.0) for c in known if prediction.rule in c.said]
    others = [c.said[name] / (c.estimate or 1.0) for c in known for name in _shown(prediction) if name in c.said]
    near = [factor for factor in others if 1 / FARTHEST <= factor <= FARTHEST]
    return 1.15 * math.exp(max([abs(math.log(factor)) for factor in (*own, *near)] + [math.log(BAND)]))


def _shown(prediction: Prediction) -> list[str]:
    """The rule in use, and the baselines that say something."""
    baselines = [score.rule for score in prediction.scores if score.baseline and score.factor is not None]
    return list(dict.fromkeys([prediction.rule, *baselines]))
