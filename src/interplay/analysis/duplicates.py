"""Runs that are no measurement: copies of others, and those whose evaluation was broken."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from interplay.analysis.cells import Cell
from interplay.analysis.observations import Observation
from interplay.dataset_facts import DATASETS
from interplay.tables import values as rounding


def without_duplicates(runs: Sequence[Observation]) -> tuple[list[Observation], list[tuple[str, str, int]]]:
    """Runs without those that repeat others, and between which repetitions they do.

    Two independent runs agree in all digits of metric and training loss by chance only in trivial cells. So of settings
    that two repetitions both have a value of, the later one's are copies where `COPIES` or more agree and half of all:
    all of them if nine tenths agree, else those that do. One is enough where the seed is the same, too. Where there is
    no training loss, accuracies of a small test set agree by chance: then five must, and nine tenths. What only one of
    the two has measured is never left out.

    Numbers agree if they are equal once both are rounded as the coarser of their sources is: a copy that went through a
    spreadsheet has fewer digits.
    """
    runs = list(dict.fromkeys(runs))  # a row that is there twice in one table is one run, too
    order = {name: index for index, name in enumerate(dict.fromkeys(run.repetition for run in runs))}
    listed: dict[str, set[Cell]] = {name: set() for name in order}
    measured: dict[str, set[Cell]] = {name: set() for name in order}
    by_setting: dict[Cell, list[Observation]] = {}
    for run in runs:
        listed[run.repetition].add(run.cell)
        if run.value is not None:
            measured[run.repetition].add(run.cell)
            by_setting.setdefault(run.cell, []).append(run)
    same: dict[tuple[str, str], dict[Cell, bool]] = {}
    agreement = Agreement(runs)
    for cell, members in by_setting.items():
        for one, other in agreement.pairs(members):
            pair = sorted((one.repetition, other.repetition), key=order.__getitem__)
            if pair[0] != pair[1]:
                with_loss = agreement.sure(one, other)
                found = same.setdefault((pair[0], pair[1]), {})
                found[cell] = found.get(cell, False) or with_loss
    copied: dict[str, set[Cell]] = {}
    sources: dict[str, tuple[int, str]] = {}
    for (first, second), settings in same.items():
        shared = measured[first] & measured[second]
        sure = {cell for cell, with_loss in settings.items() if with_loss}
        most = len(settings) >= 0.9 * len(shared)
        one_run = bool(sure) and first.rpartition(" ")[2] == second.rpartition(" ")[2] and agreement.fine(first, second)
        several = len(sure) >= COPIES and 2 * len(sure) >= len(shared)
        if one_run or several or (most and len(settings) >= COPIES_WITHOUT_LOSS):
            left_out = listed[first] & listed[second] if most else set(settings)
            copied.setdefault(second, set()).update(left_out)
            sources[second] = max(sources.get(second, (0, "")), (len(left_out), first))
    kept = [run for run in runs if run.cell not in copied.get(run.repetition, ())]
    left = Counter(run.repetition for run in runs if run.cell in copied.get(run.repetition, ()))
    return kept, [(source, name, left[name]) for name, (_, source) in sources.items()]


COPIES, COPIES_WITHOUT_LOSS = 3, 5
"""Settings that agree to the last digit below which agreement is called chance."""


def without_scatter(runs: Sequence[Observation]) -> list[list[Observation]]:
    """For each network and its data: the repeated runs, if no setting of it scatters at all beyond rounding.

    A training that is repeated with another seed gives another number, so these are copies of each other.
    """
    agreement = Agreement(runs)
    networks: dict[Cell, dict[Cell, list[Observation]]] = {}
    for run in runs:
        if run.value is not None:
            networks.setdefault(run.cell.network, {}).setdefault(run.cell, []).append(run)
    found = []
    for cells in networks.values():
        repeated = [members for members in cells.values() if len(members) > 1]
        if repeated and all(agreement.equal(m[0], each) for m in repeated for each in m[1:]):
            found.append([run for members in repeated for run in members])
    return found


class Agreement:
    """Which numbers are equal but for the digits that they were written with, by the source of each run.

    The digits of a source are the most that any of its numbers has: a column of 70.84, 70.8 and 71 has two decimals.
    """

    def __init__(self, runs: Iterable[Observation]) -> None:
        numbers: dict[str, tuple[list[float], list[float]]] = {}
        self._source = {run.repetition: run.source for run in runs}
        for run in runs:
            values, losses = numbers.setdefault(self._source[run.repetition], ([], []))
            values += [] if run.value is None else [run.value]
            losses += [] if run.train_loss is None else [run.train_loss]
        self._digits = {source: (_digits(values), _digits(losses)) for source, (values, losses) in numbers.items()}

    def pairs(self, runs: Sequence[Observation]) -> Iterator[tuple[Observation, Observation]]:
        """Pairs of runs of one setting that agree in value, and in training loss where both have one."""
        ordered = sorted(runs, key=lambda run: run.value or 0.0)
        sources = {self._source[run.repetition]: run for run in ordered}.values()
        largest = max(map(abs, (run.value or 0.0 for run in runs)))
        widest = max(self._tolerance(0, one, other, largest) for one in sources for other in sources)
        for index, one in enumerate(ordered):
            for other in ordered[index + 1 :]:
                if (other.value or 0.0) - (one.value or 0.0) > widest:
                    break
                if self.values(one, other) and self._losses(one, other):
                    yield one, other

    def values(self, one: Observation, other: Observation) -> bool:
        """Whether two runs have the same value."""
        return one.value == other.value or self._close(0, one, other)

    def equal(self, one: Observation, other: Observation) -> bool:
        """Whether two runs have the same value, and digits enough that a difference would have shown."""
        close = self._tolerance(0, one, other) <= 1e-3 * abs(one.value or 0.0)
        return one.value == other.value or (close and self._close(0, one, other))

    def sure(self, one: Observation, other: Observation) -> bool:
        """Whether two runs that agree do so in a training loss that has digits enough to tell runs apart."""
        if one.train_loss is None or other.train_loss is None:
            return False
        return one.train_loss == other.train_loss or self._significant(1, one.repetition, other.repetition) >= 3

    def fine(self, first: str, second: str) -> bool:
        """Whether two repetitions have so many digits of the loss that one agreement cannot be chance."""
        return self._significant(1, first, second) >= 5

    def _losses(self, one: Observation, other: Observation) -> bool:
        if one.train_loss is None or other.train_loss is None:
            return True
        return one.train_loss == other.train_loss or self._close(1, one, other)

    def _significant(self, which: int, first: str, second: str) -> int:
        return min(self._digits[self._source[name]][which][1] for name in (first, second))

    def _close(self, which: int, one: Observation, other: Observation) -> bool:
        a, b = (one.value, other.value) if which == 0 else (one.train_loss, other.train_loss)
        return a is not None and b is not None and abs(a - b) <= self._tolerance(which, one, other)

    def _tolerance(self, which: int, one: Observation, other: Observation, least: float = 0.0) -> float:
        """Half a unit of the last digit of the coarser source, counted after the point or from the first digit."""
        digits = [self._digits[self._source[run.repetition]][which] for run in (one, other)]
        decimals, significant = min(d for d, _ in digits), min(*(s for _, s in digits), rounding.DIGITS)
        numbers = (one.value, other.value) if which == 0 else (one.train_loss, other.train_loss)
        size = max(least, *(abs(number or 0.0) for number in numbers))
        leading = math.floor(math.log10(size)) + 1 if size else 0
        return 0.5000001 * max(10.0**-decimals, 10.0 ** (leading - significant))


def _digits(numbers: Iterable[float]) -> tuple[int, int]:
    """The most decimals and the most significant digits that any of the numbers has."""
    found = [Decimal(repr(float(number))).normalize().as_tuple() for number in numbers if math.isfinite(number)]
    decimals = max((-each.exponent for each in found if isinstance(each.exponent, int)), default=0)
    return max(decimals, 0), max((len(each.digits) for each in found), default=0)


def broken(run: Observation) -> bool:
    """A network that fits its training images and is at chance on others (twice it, or less): its evaluation is broken.

    Not where wrong labels or few images were learnt by heart, which may do the same; nor where the number of classes is
    not known.
    """
    cell = run.cell
    dataset = cell.get("dataset", "" if cell.network else "cifar100")  # a table of eight columns names none
    facts = DATASETS.get(dataset)
    by_heart = "train_limit" in cell or bool(cell["label_noise"])
    if facts is None or by_heart or run.train_loss is None or run.value is None:
        return False
    return run.train_loss < 0.2 * math.log(facts.classes) and run.value <= 200 / facts.classes


def broken_words(runs: Sequence[Observation]) -> list[str]:
    """Which runs have a broken evaluation and are left out: a line each; one line where there are many."""
    if len(runs) <= FEW_BROKEN:
        return [_one_broken(run) for run in runs]
    first = runs[0]
    return [
        f"{len(runs)} runs are left out: their training loss is low but their accuracy at chance (the first is "
        f"{place(first)}: training loss {first.train_loss:.3g}, accuracy {first.value:g} %). So many broken "
        "evaluations are unlikely: look for a wrong column, or for fractions among per cent"
    ]


FEW_BROKEN = 3
"""Broken evaluations above which the table is likelier wrong than the runs."""


def place(run: Observation) -> str:
    """Where a run stands, for messages."""
    return f"{run.source}, line {run.line}" if run.line is not None else f"seed {run.repetition}"


def _one_broken(run: Observation) -> str:
    s = run.cell
    return (
        f"{run.repetition}: lr {s.lr:g}, wd {s.weight_decay:g}, batch {s.batch_size}: training loss "
        f"{run.train_loss:.3g} but accuracy {run.value:g} %, at chance: its evaluation is broken, and it is left out"
    )
