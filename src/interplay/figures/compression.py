"""Error against stored parameters: hypernetworks and their direct twins."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from interplay.analysis.compression import Compression, Network
from interplay.figures.style import COLOURS, look, narrow, panels, size, titled, wrapped

Pair = tuple[Network, Network]

KINDS = ("kernels generated", "direct twin")
SOURCE = "published, all images"
ABOUT = "a line joins a hypernetwork to its twin; each at its best setting, chosen on the test set"
"""Of `compression_picture`, for what was measured here."""
PUBLISHED = "b: Ha, Dai, Le, arXiv 1609.09106, another recipe: it has an axis of its own"
ROOM = 0.3
"""Of the range of the errors, above and below them, for the numbers beside the points."""


def draw(picture: Compression) -> Figure:
    """Panel a: what was measured here; b: what others published, on an error axis of its own, full or hollow symbols.

    The number of parameters has a log axis, the same in both. Bars are one standard error.
    """
    with look():
        figure = Figure(figsize=size(9.6, 4.6, panels=2))
        left, right = panels(figure, 2, sharex=True)
        _panel(left, picture.pairs, full=True)
        _panel(right, picture.published, full=False)
        titled(left, "a", "measured here")
        titled(right, "b", SOURCE)
        for axis in (left, right):
            axis.set_ylabel("test error (%)")
            if axis is right or not narrow():
                axis.set_xlabel("stored parameters")
        marks = [
            Line2D([], [], ls="none", marker=fmt, color=colour, label=name)
            for name, fmt, colour in zip(KINDS, "os", (COLOURS[1], COLOURS[0]), strict=True)
        ]
        about = wrapped(f"a: {picture.recipe}; bars: 1 standard error over seeds; {ABOUT}. {PUBLISHED}", 118, 9.6)
        figure.legend(handles=marks, loc="outside lower center", ncols=2, title=about)
        if not narrow():
            figure.suptitle("Error against stored parameters, CIFAR-10")
    return figure


def _panel(axis: Axes, pairs: Sequence[Pair], *, full: bool) -> None:
    every = [network for pair in pairs for network in pair]
    middle = (min(n.parameters for n in every) * max(n.parameters for n in every)) ** 0.5
    # The numbers of upper pairs stand above their points, those of lower ones below: off the lines of the others.
    ordered = sorted(pairs, key=lambda pair: sum(network.error for network in pair))
    for place, pair in enumerate(ordered):
        axis.plot([n.parameters for n in pair], [n.error for n in pair], color="0.7", lw=1, zorder=1)
        first, last = sorted(pair, key=lambda network: network.parameters)
        for network in pair:
            colour = COLOURS[1] if network.generated else COLOURS[0]
            axis.errorbar(
                [network.parameters],
                [network.error],
                yerr=None if network.spread is None else [network.spread],
                fmt="o" if network.generated else "s",
                color=colour,
                mfc=colour if full else "white",
                ms=7,
                capsize=3,
            )
            above = network.generated if len(pairs) == 1 else 2 * place >= len(pairs)
            # Off the line of the pair, too, where it falls to the right; else towards the middle.
            right = above if first.error > last.error else network.parameters <= middle
            aside = 7 if right else -7
            axis.annotate(
                _words(network) + ("" if network.generated else f"\n{network.shape}"),
                (network.parameters, network.error),
                (aside, 6 if above else -6),
                textcoords="offset points",
                ha="left" if aside > 0 else "right",
                va="bottom" if above else "top",
                fontsize="small",
                path_effects=[withStroke(linewidth=2, foreground="white")],
            )
    ends = [network.error + way * (network.spread or 0.0) for network in every for way in (-1, 1)]
    room = ROOM * max(max(ends) - min(ends), 1.0)
    axis.set_ylim(min(ends) - room, max(ends) + room)
    axis.set_xscale("log")
    axis.margins(x=0.2)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(axis="y", alpha=0.25)


def _words(network: Network) -> str:
    return f"{network.error:.1f}" if network.spread is None else f"{network.error:.1f} ± {network.spread:.1f}"
