"""Results in words: descriptions of runs, ends of runs, best settings of a set."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable

from interplay.record import RunRecord, Status
from interplay.spec import RunSpec

_GROUPS: dict[int | None, tuple[str, Callable[[RunSpec], object]]] = {
    1: ("method", lambda spec: spec.method),
    2: ("lr", lambda spec: spec.lr),
    3: ("batch size", lambda spec: spec.batch_size),
}


def describe(spec: RunSpec) -> str:
    """The knobs that studies vary, in one line."""
    return (
        f"{spec.model} on {spec.dataset}, {spec.method}, lr {spec.lr:g}, weight decay {spec.weight_decay:g}, "
        f"momentum {spec.momentum:g}, batch {spec.batch_size}, {spec.epochs} epochs, {spec.schedule}, seed {spec.seed}"
    )


def setting(spec: RunSpec) -> str:
    """The same, shorter, for a line among many of one study."""
    return (
        f"{spec.method} lr {spec.lr:g} wd {spec.weight_decay:g} mom {spec.momentum:g} bs {spec.batch_size} "
        f"epochs {spec.epochs} seed {spec.seed}"
    )


def outcome(record: RunRecord) -> str:
    """How a run ended: its accuracies, or why it has none."""
    if record.status is not Status.FINISHED:
        return f"{record.status}: {record.reason}"
    return (
        f"finished: test accuracy {_percent(record.final_test_acc)} (best epoch {_percent(record.best_test_acc)}), "
        f"training loss {_number(record.final_train_loss)}"
    )


def brief(record: RunRecord) -> str:
    """The same in few words, for a line among many."""
    if record.status is not Status.FINISHED:
        return f"{record.status} after epoch {len(record.history)}: {record.reason}"
    return (
        f"test {_percent(record.final_test_acc)}  best {_percent(record.best_test_acc)}  "
        f"train loss {_number(record.final_train_loss)}"
    )


def _percent(value: float | None) -> str:
    return "missing" if value is None else f"{value:.2f} %"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.4f}"


def best_settings(records: Iterable[RunRecord], experiment: int | None) -> list[str]:
    """The setting with the highest mean final test accuracy over seeds, for each method, lr or batch size of a set.

    The choice is made on the test set, as in the documents; the analysis, not this line, says what follows from it.
    """
    title, key = _GROUPS.get(experiment, ("all", lambda spec: ""))
    cells: dict[object, dict[RunSpec, list[float]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.final_test_acc is not None:
            cells[key(record.spec)][record.spec.replace(seed=0)].append(record.final_test_acc)
    lines = []
    for group, settings in sorted(cells.items(), key=lambda item: (isinstance(item[0], str), item[0])):
        spec, found = max(settings.items(), key=lambda item: statistics.fmean(item[1]))
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        seeds = f"{len(found)} seed{'' if len(found) == 1 else 's'}"
        name = f"{title} {group}" if group != "" else title
        lines.append(
            f"{name:>16}: {statistics.fmean(found):.2f}{spread} %  at lr {spec.lr:g}, wd {spec.weight_decay:g}, "
            f"batch {spec.batch_size}  ({seeds})"
        )
    return lines
