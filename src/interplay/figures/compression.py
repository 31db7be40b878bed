"""Error against stored parameters: hypernetworks and their direct twins."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from interplay.analysis.compression import Compression, Network
from interplay.figures.style import COLOURS, look, size


def draw(picture: Compression) -> Figure:
    """Both axes are logarithmic; a line joins each hypernetwork to its twin. Full symbols are measured here."""
    with look():
        figure = Figure(figsize=size(6.2, 4.6))
        axis = figure.add_subplot()
        for pairs, ours in ((picture.pairs, True), (picture.published, False)):
            for pair in pairs:
                axis.plot([n.parameters for n in pair], [n.error for n in pair], color="0.7", lw=1, zorder=1)
            for network in (network for pair in pairs for network in pair):
                colour = COLOURS[1] if network.generated else COLOURS[0]
                axis.errorbar(
                    [network.parameters],
                    [network.error],
                    yerr=None if network.spread is None else [network.spread],
                    fmt="o" if network.generated else "s",
                    color=colour,
                    mfc=colour if ours else "white",
                    ms=7,
                    capsize=3,
                )
                # Above and below: where the two store alike they lie close together.
                aside = -7 if _crowded(network, [pair[0] for pair in pairs]) else 7
                axis.annotate(
                    _words(network) + ("" if network.generated else f"\n{network.shape}"),
                    (network.parameters, network.error),
                    (aside, 6 if network.generated else -6),
                    textcoords="offset points",
                    ha="left" if aside > 0 else "right",
                    va="bottom" if network.generated else "top",
                    fontsize="small",
                )
        for name, fmt, colour in (("kernels generated", "o", COLOURS[1]), ("direct twin", "s", COLOURS[0])):
            axis.plot([], [], fmt, color=colour, label=name)
        axis.plot([], [], "o", color="0.4", label=f"here: {picture.recipe}")
        axis.plot([], [], "o", color="0.4", mfc="white", label="Ha, Dai, Le (2016): all images")
        axis.set(xscale="log", yscale="log", xlabel="stored parameters", ylabel="final test error (%), best setting")
        errors = [n.error for pair in (*picture.pairs, *picture.published) for n in pair]
        axis.set_ylim(min(errors) / 1.5, max(errors) * 2.6)
        ticks = [tick for tick in (5, 10, 20, 50, 100) if min(errors) / 1.5 < tick < max(errors) * 2.6]
        axis.yaxis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.yaxis.set_ticks([], minor=True)
        low, high = axis.get_xlim()
        axis.set_xlim(low / 1.8, high * 2)
        axis.set_title("Error against stored parameters, CIFAR-10")
        axis.legend(loc="upper right", fontsize="small")
    return figure


def _crowded(network: Network, others: list[Network]) -> bool:
    """Whether one of ``others`` lies so close on the right that two labels there would overlap."""
    return network in others and any(
        network.parameters < other.parameters < 2.5 * network.parameters
        and abs(math.log(other.error / network.error)) < math.log(1.4)
        for other in others
    )


def _words(network: Network) -> str:
    return f"{network.error:.1f}" if network.spread is None else f"{network.error:.1f} ± {network.spread:.1f}"
