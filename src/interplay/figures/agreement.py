"""Predicted against measured: each setting left out once, for the rule in use and the baselines."""

from __future__ import annotations

from matplotlib.figure import Figure

from interplay.analysis.predict import Prediction
from interplay.analysis.theories import SYMBOLS
from interplay.figures.style import COLOURS, MARKERS, look


def draw(prediction: Prediction) -> Figure:
    """On the diagonal a rule is right; open ends of a measured interval are drawn to the edge of the picture."""
    shown = [prediction.rule, *(s.rule for s in prediction.scores if s.baseline and s.factor is not None)]
    factors = {score.rule: score.factor for score in prediction.scores}
    with look():
        figure = Figure(figsize=(5.4, 5.0))
        axis = figure.add_subplot()
        known = [c for c in prediction.checks if c.estimate is not None]
        values = [c.estimate or 0.0 for c in known] + [c.said[name] for c in known for name in shown if name in c.said]
        low, high = min(values) / 1.5, max(values) * 1.5
        axis.plot([low, high], [low, high], color="0.6", lw=1)
        axis.fill_between([low, high], [low / 1.5, high / 1.5], [low * 1.5, high * 1.5], color="0.92", lw=0)
        for name, colour, marker in zip(dict.fromkeys(shown), COLOURS, MARKERS, strict=False):
            points = [c for c in known if name in c.said]
            factor = factors.get(name)
            words = "" if factor is None else f" (off by {factor:.2f})"
            x, y = [c.estimate or 0.0 for c in points], [c.said[name] for c in points]
            error = [
                [m - (c.interval[0] or low) for m, c in zip(x, points, strict=True)],
                [(c.interval[1] or high) - m for m, c in zip(x, points, strict=True)],
            ]
            chosen = name == prediction.rule
            axis.errorbar(
                x,
                y,
                xerr=error if chosen else None,
                fmt=marker,
                color=colour,
                ms=7 if chosen else 5,
                alpha=1.0 if chosen else 0.7,
                label=name + words,
                capsize=2,
            )
        axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
        symbol = SYMBOLS[prediction.of]
        axis.set(xlabel=f"measured {symbol}*, 90 % interval", ylabel=f"{symbol}* predicted without that setting")
        axis.set_title("Predicted against measured (band: a factor of 1.5)")
        axis.legend(loc="upper left", fontsize=8)
    return figure
