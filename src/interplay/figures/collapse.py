"""The same cells against several variables: on the right one they fall together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from interplay.analysis.collapse import Collapse, Fall
from interplay.figures.colours import shade
from interplay.figures.labels import metric_label
from interplay.figures.style import MARKERS, log_axis, look, narrow, size, titled, wrapped

MANY = 10
"""More curves than this cannot be told apart: their optima are shown, each with its interval, and nothing else."""

OPTIMA = "bars: 90 % interval of each optimum, dashed where it is not bounded"

POINTS = "points: means over seeds"
SPREAD = "×: the factor of one standard deviation of the optima; scatter: of the points about one curve"
ROWS = "settings, by η, B and E"

LINES = ("-", "--", ":", "-.")
WORDS = {"lr": ("η", "learning rate η (peak)"), "batch_size": ("B", "batch size B"), "epochs": ("E", "epochs E")}
"""Symbol of each knob of a curve, and words for a colour bar."""


class Curve(NamedTuple):
    """The knobs of one curve; along it only the decay changes."""

    lr: float
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Key:
    """How the curves of a picture are told apart."""

    curves: tuple[Curve, ...]

    @property
    def many(self) -> bool:
        """Whether there are too many for a legend."""
        return len(self.curves) > MANY

    def values(self, knob: str) -> list[float]:
        """The values that a knob takes, rising."""
        return sorted({float(getattr(curve, knob)) for curve in self.curves})

    @property
    def coloured(self) -> str:
        """The knob that colours show: the rate; without a legend the batch size; or the next one that varies."""
        first = ("batch_size", "lr", "epochs") if self.many else ("lr", "batch_size", "epochs")
        return next((knob for knob in first if len(self.values(knob)) > 1), first[0])

    def label(self, curve: Curve) -> str:
        """Those knobs that differ between the curves, and no others."""
        differ = [(symbol, knob) for knob, (symbol, _) in WORDS.items() if len(self.values(knob)) > 1]
        return ", ".join(f"{symbol} {getattr(curve, knob):g}" for symbol, knob in differ)

    def style(self, curve: Curve) -> dict[str, Any]:
        """Colour of the coloured knob, marker of the batch size; dashes of the epochs where a legend tells them."""
        epochs = self.values("epochs").index(curve.epochs)
        return {
            "color": shade(getattr(curve, self.coloured), self.values(self.coloured)),
            "marker": MARKERS[self.values("batch_size").index(curve.batch_size) % len(MARKERS)],
            "ls": "-" if self.many else LINES[epochs % len(LINES)],
        }


def draw(picture: Collapse) -> Figure:
    """One panel a variable, one curve a setting. The title of a panel has its scatter.

    Up to ten curves are drawn whole and named in a legend. Of more only the optima are shown, with their 90 %
    intervals, one below the other: where they stand in a column, that variable is what decides.
    """
    key = Key(tuple(sorted({Curve(s.lr, s.get("batch_size", 0), s.epochs) for _, _, s in picture.falls[0].points})))
    with look():
        rows, columns = (4, 1) if narrow() else (2, 2)
        tall = 7.2 if not key.many else 4.4 + 0.16 * len(picture.falls[0].bars)
        width, height = size(9.6, tall)
        figure = Figure(figsize=(width, 2 * height if narrow() else height))
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
        known = [fall.spread for fall in picture.falls if fall.spread is not None]
        for axis, fall, letter in zip(axes.flat, picture.falls, "abcd", strict=False):
            if key.many:
                _columns(axis, fall, key)
            else:
                _panel(axis, picture, fall, key)
            titled(axis, letter, heading(fall, known), "small")
        figure.supylabel(ROWS if key.many else metric_label(picture.metric), fontsize="medium")
        words = picture.falls[0].points[0][2].network.words()
        about = wrapped("; ".join(filter(None, [words, OPTIMA if key.many else POINTS, SPREAD])), 130, 9.6)
        if key.many:
            _bar(figure, axes.flat, key)
            figure.supxlabel(about, fontsize="small", color="0.3")
        else:
            handles = [Line2D([], [], ms=4, lw=1, label=key.label(curve), **key.style(curve)) for curve in key.curves]
            figure.legend(handles=handles, loc="outside lower center", ncols=2 if narrow() else 5, title=about)
    return figure


def _columns(axis: Axes, fall: Fall, key: Key) -> None:
    """One row a setting: its optimum and interval; an end that is not bounded is dashed to the edge."""
    ends = [x for bar in fall.bars for x in (bar.value, bar.low, bar.high) if x is not None]
    if not ends:
        axis.text(0.5, 0.5, "no optimum is bounded", transform=axis.transAxes, ha="center")
        return
    low, high = min(ends) / 1.3, max(ends) * 1.3
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    for row, bar in enumerate(fall.bars):
        style = key.style(Curve(bar.cell.lr, bar.cell.get("batch_size", 0), bar.cell.epochs))
        if bar.low is None and bar.high is None:
            continue
        dashed = ":" if bar.low is None or bar.high is None else "-"
        axis.plot([bar.low or low, bar.high or high], [row, row], color=style["color"], lw=1.4, ls=dashed)
        if bar.value is not None:
            axis.plot(bar.value, row, marker=style["marker"], color=style["color"], ms=5)
    if high < 100 * low:  # powers of ten alone would name one place or two
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(fall.label)
    axis.set_yticks([])
    axis.grid(axis="x", alpha=0.25)


def heading(fall: Fall, spreads: Sequence[float]) -> str:
    """How well the cells fall together, as far as that can be said; ``spreads`` are those of all variables."""
    words = []
    if fall.spread is not None:
        words.append(f"optima within ×{fall.spread:.2f}{' (least)' if fall.spread == min(spreads) else ''}")
    if fall.scatter is not None:
        words.append(f"scatter {fall.scatter:.1f} × noise")
    return "; ".join(words)


def _bar(figure: Figure, axes: Iterable[Axes], key: Key) -> None:
    values = key.values(key.coloured)
    colours = ListedColormap([shade(value, values) for value in values])
    steps = ScalarMappable(BoundaryNorm(range(len(values) + 1), len(values)), colours)
    bar = figure.colorbar(steps, ax=list(axes), label=WORDS[key.coloured][1], aspect=40)
    bar.set_ticks([number + 0.5 for number in range(len(values))], labels=[f"{value:g}" for value in values])
    bar.ax.tick_params(length=0)


def _panel(axis: Axes, picture: Collapse, fall: Fall, key: Key) -> None:
    groups: dict[Curve, list[tuple[float, float]]] = {}
    for value, mean, s in fall.points:
        groups.setdefault(Curve(s.lr, s.get("batch_size", 0), s.epochs), []).append((value, mean))
    for curve, points in groups.items():
        axis.plot([x for x, _ in points], [y for _, y in points], ms=4, lw=1, alpha=0.9, **key.style(curve))
    values = sorted({value for value, _, _ in fall.points})
    if len(values) <= 8:
        log_axis(axis, "x", values, fall.label)
        axis.tick_params(axis="x", rotation=45)  # decays of a grid need not be evenly spaced
    else:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(fall.label)
    axis.grid(alpha=0.25)
    levels = [mean for _, mean, _ in fall.points]
    if "acc" in picture.metric:
        # The rest is a cliff; the question is whether the tops coincide.
        axis.set_ylim(max(min(levels), max(levels) - 15) - 0.5, max(levels) + 0.5)
