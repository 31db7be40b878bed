"""A judge put to many simulated studies: how often it is right, false, and how sharp."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom
from tqdm import tqdm

from interplay.analysis.verify.bounds import NINETY, attainable, bound_of, optimum_bound
from interplay.analysis.verify.conditions import draw
from interplay.analysis.verify.extend import extend
from interplay.analysis.verify.judges import Claimed, Judge, Judgement, Located, engine
from interplay.analysis.verify.studies import SimulatedStudy, TrueOptimum, Truth


@dataclass(frozen=True)
class Score:
    """What one study says of one thing, beside the truth. Widths of optima are in nats."""

    condition: str
    index: int
    of: str
    """Claim, or "optimum"."""
    word: str
    said: str
    away: bool
    value: float | None
    estimate: float | None
    interval: tuple[float, float] | None
    bounded: bool
    bound: float | None
    """Least SD that any unbiased estimator could have."""
    attainable: float | None
    runs: int
    note: str = ""
    """Status of an optimum, or how a loop ended."""

    @property
    def decided(self) -> bool:
        """Whether the judge said a word that could be false."""
        return self.said in ("supported", "refuted")

    @property
    def right(self) -> bool:
        """Whether it said what is true."""
        return not self.decided if self.word == "undecided" else self.said == self.word

    @property
    def false(self) -> bool:
        """Whether it said what is not true; undecided is never false."""
        return self.word != "" and self.decided and not self.right

    @property
    def held(self) -> bool:
        """Whether the interval holds the truth."""
        return (
            self.interval is not None and self.value is not None and self.interval[0] <= self.value <= self.interval[1]
        )

    @property
    def width(self) -> float:
        """Of the interval; infinite where an end is open or there is none."""
        return self.interval[1] - self.interval[0] if self.interval is not None else math.inf


@dataclass(frozen=True)
class Result:
    """One thing under one condition, over many studies. Shares are ``None`` where nothing could be counted."""

    condition: str
    of: str
    studies: int
    away: int
    """Things whose truth is far enough from the edge of the band to be decided."""
    right: float | None
    """Share of those that the judge got right."""
    attainable: float | None
    """Share of those that an unbiased normal estimate at the Cramér-Rao bound would get right."""
    false: float | None
    """Share of all on which the judge said something untrue."""
    decided: float | None
    intervals: int
    """Bounded intervals."""
    held: float | None
    """Share of these that hold the truth; they are meant to hold it in 90 %."""
    width: float | None
    """Median width over all studies, infinite where nothing is known; of optima in nats."""
    bounded_width: float | None
    """Median width over bounded intervals."""
    share_of_bound: float | None
    """Median, over bounded intervals, of the width at the bound to the width given."""
    runs: float
    """Median."""
    said: dict[str, int]
    """Words said of a claim, statuses of an optimum, ends of a loop: how often each."""


def scores(condition: str, index: int, seed: int = 0, judge: Judge = engine) -> list[Score]:
    """All scores of one study. Of nested grids, those of the finer ones are named "density.optimum/1" and so on."""
    study = draw(condition, index, seed)
    if condition.startswith("extend."):
        outcome = extend(study, study.truths[0].claim, judge)
        score = _claim_score(study, index, condition, study.truths[0], outcome.said, outcome.runs)
        return [dataclasses.replace(score, note=outcome.stopped)]
    found = []
    for level, cells in enumerate((study.cells, *study.finer)):
        at = dataclasses.replace(study, cells=cells)
        rows = at.rows
        name = f"{condition}/{level}" if study.finer else condition
        judgement = judge(rows, study.metric)
        for truth in study.truths:
            said = judgement.claims.get(truth.claim, Claimed("not asked"))
            found.append(_claim_score(at, index, name, truth, said, len(rows)))
        found += [_optimum_score(at, index, name, true, judgement, len(rows)) for true in study.optima]
    return found


def _claim_score(study: SimulatedStudy, index: int, name: str, truth: Truth, said: Claimed, runs: int) -> Score:
    extending = name.startswith("extend.")
    bound = None if extending else bound_of(study, truth)
    chance = attainable(truth, bound) if bound is not None and truth.role in ("exponent", "ordering") else None
    compared = truth.role in ("exponent", "direction") and not math.isinf(said.estimate or 0.0)
    interval = said.interval if compared else None
    return Score(
        condition=name,
        index=index,
        of="ordering" if truth.role == "ordering" else truth.claim,
        word=truth.word,
        said=said.verdict,
        away=truth.away and truth.word != "",
        value=truth.value,
        estimate=said.estimate,
        interval=interval,
        bounded=interval is not None and all(map(math.isfinite, interval)),
        bound=bound,
        attainable=chance,
        runs=runs,
    )


def _optimum_score(
    study: SimulatedStudy, index: int, name: str, true: TrueOptimum, judgement: Judgement, runs: int
) -> Score:
    given = dict(true.given)
    said = next(
        (o for o in judgement.optima if o.of == true.of and all(o.given.get(k) == v for k, v in given.items())),
        Located(true.of, given, None, "absent"),
    )
    logs = None
    if said.interval is not None:
        low, high = said.interval
        logs = (math.log(low) if low > 0 else -math.inf, math.log(high) if math.isfinite(high) else math.inf)
    bound = optimum_bound(study, str(given["method"]))
    return Score(
        condition=name,
        index=index,
        of="optimum",
        word="",
        said="",
        away=False,
        value=math.log(true.value),
        estimate=None,
        interval=logs,
        bounded=said.bounded,
        bound=bound,
        attainable=None,
        runs=runs,
        note=said.status,
    )


def summarise(found: Iterable[Score]) -> list[Result]:
    """One line for each condition and thing asked, in the order in which they first come."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in found:
        groups.setdefault((score.condition, score.of), []).append(score)
    return [_result(condition, of, group) for (condition, of), group in groups.items()]


def _result(condition: str, of: str, group: Sequence[Score]) -> Result:
    away = [s for s in group if s.away]
    claim = of != "optimum"
    bounded = [s for s in group if s.bounded]
    known = [s.attainable for s in away if s.attainable is not None]
    compared = any(s.interval is not None for s in group)
    limits = [(s.bound, s.width) for s in bounded if s.bound is not None and s.width > 0]
    shares = [2 * NINETY * bound / width for bound, width in limits if math.isfinite(bound)]
    return Result(
        condition=condition,
        of=of,
        studies=len({s.index for s in group}),
        away=len(away),
        right=_mean([s.right for s in away]),
        attainable=_mean(known),
        false=_mean([s.false for s in group]) if claim else None,
        decided=_mean([s.decided for s in group]) if claim else None,
        intervals=len(bounded),
        held=_mean([s.held for s in bounded]),
        width=float(np.median([s.width for s in group])) if compared else None,
        bounded_width=float(np.median([s.width for s in bounded])) if bounded else None,
        share_of_bound=float(np.median(shares)) if shares else None,
        runs=float(np.median([s.runs for s in group])),
        said=dict(Counter(s.note or s.said for s in group).most_common()),
    )


def _mean(values: Sequence[float | bool]) -> float | None:
    return float(np.mean(values)) if values else None


# -- many studies -----------------------------------------------------------------------------------------------------


def measure(
    conditions: Sequence[str],
    studies: int,
    seed: int = 0,
    judge: Judge = engine,
    processes: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """The scores of studies 0 to ``studies`` - 1 of each condition; the same whatever the number of processes.

    Args:
        processes: 0 takes one a core; 1 stays in this process. Others are started anew (spawn), with one thread each.
        progress: called with the number of studies done, and of all.
    """
    tasks = [(condition, index, seed, judge) for condition in conditions for index in range(studies)]
    found: list[list[Score]] = []
    workers = min(processes or os.cpu_count() or 1, len(tasks))
    with _mapping(workers) as mapping:
        for done, each in enumerate(mapping(_scored, tasks), start=1):
            found.append(each)
            if progress is not None:
                progress(done, len(tasks))
    return [score for each in found for score in each]


def shown(conditions: Sequence[str], studies: int, seed: int = 0, processes: int = 0) -> list[Score]:
    """`measure` of the lab's engine, with a bar on standard error where that is a terminal."""
    with tqdm(total=studies * len(conditions), desc="simulated studies", disable=None, leave=False) as bar:

        def progress(done: int, _: int) -> None:
            bar.update(done - bar.n)

        return measure(conditions, studies, seed, processes=processes, progress=progress)


def surely_false(result: Result) -> bool:
    """Whether false words are more than 5 %, and more than chance makes of 5 % once in a hundred times."""
    if result.false is None:
        return False
    return float(binom.sf(round(result.false * result.studies) - 1, result.studies, 0.05)) < 0.01


Task = tuple[str, int, int, Judge]


def _scored(task: Task) -> list[Score]:
    return scores(*task)


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[[Callable[[Task], list[Score]], list[Task]], Iterable[list[Score]]]]:
    """`map`, over as many processes; libraries read their number of threads when they are loaded there."""
    if workers <= 1:
        yield map
        return
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            yield lambda function, tasks: pool.imap(function, tasks, chunksize=4)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
