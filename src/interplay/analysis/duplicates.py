"""Runs that are no measurement: copies of others, and those whose evaluation was broken."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from interplay.analysis.observations import Observation, Setting
from interplay.spec import DATASETS


def without_duplicates(runs: Sequence[Observation]) -> tuple[list[Observation], list[tuple[str, str, int]]]:
    """Runs without those that repeat others to the last digit, and between which repetitions they do.

    Two independent runs agree in all digits of metric and training loss by chance only in trivial cells. So of settings
    that two repetitions both have a value of, the later one's are copies where `COPIES` or more agree and half of all:
    all of them if nine tenths agree, else those that do. One is enough where the seed is the same, too. Where there is
    no training loss, accuracies of a small test set agree by chance: then five must, and nine tenths. What only one of
    the two has measured is never left out.
    """
    runs = list(dict.fromkeys(runs))  # a row that is there twice in one table is one run, too
    order = {name: index for index, name in enumerate(dict.fromkeys(run.repetition for run in runs))}
    listed: dict[str, set[Setting]] = {name: set() for name in order}
    measured: dict[str, set[Setting]] = {name: set() for name in order}
    alike: dict[tuple[Setting, float, float | None], set[str]] = {}
    for run in runs:
        listed[run.repetition].add(run.setting)
        if run.value is not None:
            measured[run.repetition].add(run.setting)
            alike.setdefault((run.setting, run.value, run.train_loss), set()).add(run.repetition)
    same: dict[tuple[str, str], dict[Setting, bool]] = {}
    for (setting, _, loss), names in alike.items():
        for pair in itertools.combinations(sorted(names, key=order.__getitem__), 2):
            same.setdefault(pair, {})[setting] = loss is not None
    copied: dict[str, set[Setting]] = {}
    sources: dict[str, tuple[int, str]] = {}
    for (first, second), settings in same.items():
        shared = measured[first] & measured[second]
        sure = {setting for setting, with_loss in settings.items() if with_loss}
        most = len(settings) >= 0.9 * len(shared)
        one_run = bool(sure) and first.rpartition(" ")[2] == second.rpartition(" ")[2]
        several = len(sure) >= COPIES and 2 * len(sure) >= len(shared)
        if one_run or several or (most and len(settings) >= COPIES_WITHOUT_LOSS):
            found = listed[first] & listed[second] if most else set(settings)
            copied.setdefault(second, set()).update(found)
            sources[second] = max(sources.get(second, (0, "")), (len(found), first))
    kept = [run for run in runs if run.setting not in copied.get(run.repetition, ())]
    left = Counter(run.repetition for run in runs if run.setting in copied.get(run.repetition, ()))
    return kept, [(source, name, left[name]) for name, (_, source) in sources.items()]


COPIES, COPIES_WITHOUT_LOSS = 3, 5
"""Settings that agree to the last digit below which agreement is called chance."""


def broken(run: Observation) -> bool:
    """A network that fits its training images and is at chance on others (twice it, or less): its evaluation is broken.

    Not where wrong labels or few images were learnt by heart, which may do the same; nor where the number of classes is
    not known.
    """
    words = run.setting.rest.split()
    named = [word for word in words if word in DATASETS]
    facts = DATASETS[named[0]] if named else DATASETS["cifar100"] if not words else None
    by_heart = any(word.startswith(("label_noise=", "train_limit=")) for word in words)
    if facts is None or by_heart or run.train_loss is None or run.value is None:
        return False
    return run.train_loss < 0.2 * math.log(facts.classes) and run.value <= 200 / facts.classes


def broken_words(run: Observation) -> str:
    """Which run it is and why it is left out, in one line."""
    s = run.setting
    return (
        f"{run.repetition}: lr {s.lr:g}, wd {s.weight_decay:g}, batch {s.batch_size}: training loss "
        f"{run.train_loss:.3g} but accuracy {run.value:g} %, at chance: its evaluation is broken, and it is left out"
    )
