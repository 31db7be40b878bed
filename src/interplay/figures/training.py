"""Training curves of the best decay at each learning rate."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.figure import Figure

from interplay.analysis.histories import History, Training
from interplay.figures.labels import metric_name
from interplay.figures.style import COLOURS, MARKERS, look, narrow, panels, size, titled, wrapped

BANDS = "lines: means over seeds; bands: from the lowest to the highest of them"


def draw(picture: Training) -> Figure:
    """Left: training loss, on a log axis where it falls far. Right: test accuracy; bands are ranges over seeds."""
    with look():
        figure = Figure(figsize=size(9.6, 4.4, panels=2))
        left, right = panels(figure, 2)
        for history, colour, shape in zip(picture.histories, COLOURS, MARKERS, strict=False):
            s = history.cell
            label = f"η {s.lr:g}, λ {s.weight_decay:g} ({history.runs} run{'s' if history.runs > 1 else ''})"
            # Where few epochs were measured, the points say which; the lines between them are nobody's measurement.
            marker = shape if _sparse(history) else ""
            left.plot(history.epochs, history.train_loss, color=colour, label=label, marker=marker, ms=4)
            right.plot(history.epochs, history.test, color=colour, label=label, marker=marker, ms=4)
            right.fill_between(history.epochs, history.low, history.high, color=colour, alpha=0.2, lw=0)
        losses = [loss for history in picture.histories for loss in history.train_loss]
        if min(losses) > 0 and max(losses) > 5 * min(losses):
            left.set_yscale("log")
        left.set(xlabel="epoch", ylabel="training loss (nats)")
        titled(left, "a", "training loss")
        figure.suptitle(wrapped(f"Best λ at each η, by {metric_name(picture.metric)}", 90, 9.6))
        words = "test loss (nats)" if picture.by_loss else "test accuracy (%)"
        titled(right, "b", words.split(" (")[0])
        right.set(xlabel="epoch", ylabel=words)
        for axis in (left, right):
            axis.grid(alpha=0.25)
        about = "; ".join(filter(None, [picture.histories[0].cell.network.words(), BANDS]))
        entries = right.get_legend_handles_labels()
        columns = 2 if narrow() else 3
        figure.legend(*entries, loc="outside lower center", ncols=columns, title=wrapped(about, 130, 9.6))
    return figure


def _sparse(history: History) -> bool:
    """Whether the epochs are few, or some between them were not measured (every fifth, say, of a long run)."""
    return len(history.epochs) <= 12 or any(later - earlier > 1 for earlier, later in pairwise(history.epochs))
