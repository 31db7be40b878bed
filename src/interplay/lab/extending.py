"""Studies that grow: the runs that are expected to decide what a study claims, added once or again and again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.analysis.cells import Cell, cell_of
from interplay.analysis.conclude import tabulate, verdicts
from interplay.analysis.observations import check_metric, from_records
from interplay.analysis.table import Table
from interplay.analysis.verdict import Verdict
from interplay.errors import SpecError
from interplay.lab.clusters import manifest_of, submits
from interplay.lab.prepare import prepared, ways, with_data
from interplay.lab.run import Say, run_study
from interplay.lab.settings import Budget, InterruptedRunError, Settings
from interplay.notes import notice
from interplay.record import RunRecord, judged_by
from interplay.spec import knob_names
from interplay.speed.estimate import estimate
from interplay.store.manifest import read_extension
from interplay.study.claims import OF_OPTIMISERS, Claim
from interplay.study.study import Study
from interplay.trial import Spec, Trial

DECIDED = ("supported", "refuted")

POOLED = ("train_limit", "precision")
"""Knobs that name no network here: a claim's runs may differ in the number of images."""


@dataclass(frozen=True)
class Proposal:
    """What the runs say of one claim of a study, and the new runs that are expected to decide it, if any would."""

    claim: Claim
    of: str
    """The network, in words, where the study has several; else empty."""
    verdict: Verdict
    specs: tuple[Spec, ...]

    @property
    def decided(self) -> bool:
        """Whether a word was said."""
        return self.verdict.verdict in DECIDED

    def __str__(self) -> str:
        found = self.verdict
        words = f"{self.claim.id}{f' of {self.of}' if self.of else ''}: {found.verdict}{_said(found)}"
        if self.decided:
            return words
        if not self.specs or found.plan is None:
            return f"{words}; nothing that could be run is expected to decide it: {found.reason}"
        words += f"; adding {_count(len(self.specs), 'run')}: {found.plan.words}"
        if found.plan.interval is None:
            return words
        low, high = found.plan.interval
        return f"{words}; the 90 % interval is then expected to be about {low:.2f} to {high:.2f}"


def _said(verdict: Verdict) -> str:
    if verdict.estimate is None:
        return ""
    low, high = ("?" if end is None else f"{end:.2f}" for end in verdict.interval)
    return f", {verdict.estimate:.2f} [{low}, {high}]"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# -- what belongs to a study ------------------------------------------------------------------------------------------


def with_added(study: Study, settings: Settings) -> Study:
    """``study`` with the runs that were added to it before, as the store remembers them.

    A run belongs to it as long as one of the study's own differs from it in nothing but the seed and knobs that the
    claims speak of: with other epochs, data or claims it is another study's.

    Raises:
        SchemaError: the file of the added runs is damaged.
    """
    named = {name for claim in study.own_claims() for name in claim.named}
    left_out = {"seed", "precision", "fingerprint", *named}

    def key(spec: Spec) -> tuple[Any, ...]:
        if isinstance(spec, Trial):
            own_names = {spec.own_name(name) for name in left_out}
            return (spec.trainer, *sorted((n, v) for n, v in spec.knobs.items() if n not in own_names))
        return tuple(getattr(spec, name) for name in knob_names() if name not in left_out)

    own = {key(spec): spec for spec in study.specs}
    added = [
        spec if isinstance(spec, Trial) else spec.replace(precision=like.precision, fingerprint=like.fingerprint)
        for spec in read_extension(settings.store().root, study.name)
        if (like := own.get(key(spec))) is not None
    ]
    return dataclasses.replace(study, specs=(*study.specs, *added), remake=None) if added else study


def _records(study: Study, settings: Settings) -> list[tuple[Spec, RunRecord | None]]:
    """Each run with its record, in whichever precision it was run."""
    store = settings.store()
    there = set(store.run_ids())
    found = []
    for spec in study.specs:
        records = [store.readable_record(way.run_id) for way in ways(spec) if way.run_id in there]
        found.append((spec, next((record for record in records if record is not None), None)))
    return found


# -- what to run next -------------------------------------------------------------------------------------------------


def proposals(study: Study, larger: Study, settings: Settings, metric: str = "") -> list[Proposal]:
    """Each claim of ``study`` put to the runs of ``larger`` (the study and what was added), network by network.

    Args:
        study: as its file states it.
        larger: the same with the runs that were added.
        settings: where the store is.
        metric: by which runs are judged; the usual one if it is empty.

    Raises:
        SpecError: there is no such metric.
    """
    ended = [(spec, record) for spec, record in _records(larger, settings) if record is not None]
    tables: dict[tuple[str, ...], Table] = {}
    found = []
    for claim in study.own_claims():
        groups: dict[Cell, list[tuple[Spec, RunRecord]]] = {}
        for spec, record in ended:
            network = cell_of(record.spec).network.without(*claim.named, *POOLED)
            groups.setdefault(network, []).append((spec, record))
        for network, members in groups.items():
            key = tuple(record.run_id for _, record in members)
            if key not in tables:
                tables[key] = _table([record for _, record in members], metric)
            verdict = next(each for each in verdicts(tables[key], study.claims) if each.id == claim.id)
            specs = _runs(study, larger, [spec for spec, _ in members], verdict)
            found.append(Proposal(claim, _differing(network, list(groups)), verdict, specs))
    # A network in which a claim was not asked speaks of another claim of the study; one that was asked nowhere is
    # said once.
    asked = {each.claim for each in found if each.verdict.verdict != "not asked"}
    nowhere = {each.claim: dataclasses.replace(each, of="") for each in found if each.claim not in asked}
    return [each for each in found if each.verdict.verdict != "not asked"] + list(nowhere.values())


def _differing(network: Cell, all_of_them: Sequence[Cell]) -> str:
    """What tells a network from the others, in words; empty where it is the only one."""
    names = dict.fromkeys(name for each in (network, *all_of_them) for name in each)
    differ = [name for name in names if len({each.get(name) for each in all_of_them}) > 1]
    return " ".join(
        str(network.get(name)) if name in ("model", "dataset", "optimizer") else f"{name}={network.get(name)}"
        for name in differ
        if network.get(name) is not None and name not in OF_OPTIMISERS
    )


def _table(records: Sequence[RunRecord], metric: str) -> Table:
    return tabulate([from_records(records, metric or judged_by(records))])[0]


def _runs(study: Study, larger: Study, members: Sequence[Spec], verdict: Verdict) -> tuple[Spec, ...]:
    """The new runs of a verdict's plan; cells that cannot be run are named and left out."""
    if verdict.plan is None or verdict.verdict in DECIDED:
        return ()
    found: dict[Spec, None] = {}
    for cell in verdict.plan.cells:
        like = max(members, key=lambda spec: sum(_knob(spec, name) == value for name, value in cell.items()))
        try:
            found |= dict.fromkeys(larger.further([cell], like, seeds=verdict.plan.seeds, usual=study.seeds))
        except SpecError as error:
            notice(f"{verdict.id}: a cell of its plan cannot be run: {error}")
    return tuple(found)


def _knob(spec: Spec, name: str) -> Any:
    """By its own or its standard name; ``None`` where there is none."""
    if isinstance(spec, Trial):
        own = spec.own_name(name)
        return None if own is None else spec.knobs[own]
    return getattr(spec, name, None)


def extended(study: Study, settings: Settings, *, metric: str = "", keep: bool = True) -> Study:
    """``study`` with the runs that were added before, and with those that are expected to decide its claims.

    Runs that several claims ask for are added once. What is added, and why nothing is, is said on standard error.

    Args:
        study: as its file states it; its own claims alone are looked at.
        settings: where the store is, which remembers what was added.
        metric: by which runs are judged; the usual one if it is empty.
        keep: whether the store is to remember it; not for a look ahead.

    Raises:
        SpecError: there is no such metric.
        SchemaError: the file of the runs that were added before is damaged.
    """
    asked = with_data(study, settings)
    larger = with_added(asked, settings)
    records = _records(larger, settings)
    missing = sum(record is None for _, record in records)
    if missing == len(records):
        notice(f"{study.name}: nothing has run yet, so nothing is known to extend it by")
        return larger
    if missing:
        notice(f"{study.name}: {_count(missing, 'run')} of it have not ended: they come before any others")
        return larger
    if not study.claims:
        notice(f"{study.name}: it states no claims, so there is nothing to extend it for")
    found = proposals(asked, larger, settings, metric)
    for each in found:
        notice(str(each))
    return _enlarged(asked, larger, found, settings if keep else None)


def _enlarged(asked: Study, larger: Study, found: Sequence[Proposal], settings: Settings | None) -> Study:
    """``larger`` with the runs of the proposals, and the store told of all that ``asked`` has not."""
    more = dict.fromkeys(spec for each in found for spec in each.specs)
    if not more:
        return larger
    larger = dataclasses.replace(larger, specs=(*larger.specs, *more), remake=None)
    if settings is not None:
        own = set(asked.specs)
        added = tuple(spec for spec in larger.specs if spec not in own)
        dataclasses.replace(manifest_of(asked), specs=added).write_extension(settings.store().root)
    return larger


# -- until decided ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """Why a loop stopped; as text."""

    study: Study
    rounds: int
    reason: str
    found: tuple[Proposal, ...]

    def __str__(self) -> str:
        rounds, runs = _count(self.rounds, "round"), _count(len(self.study.specs), "run")
        lines = [f"{self.study.name}: stopped after {rounds} and {runs}: {self.reason}"]
        return "\n".join([*lines, *(f"  {each.claim.id}: {_ending(each)}" for each in self.found)])


def _ending(each: Proposal) -> str:
    words = f"{each.verdict.verdict}{_said(each.verdict)}"
    return words if each.decided else f"{words}; {each.verdict.reason}"


def until_decided(
    study: Study,
    settings: Settings,
    budget: Budget | None = None,
    *,
    metric: str = "",
    say: Say = lambda line: None,
) -> Ended:
    """Run ``study``, add the runs that are expected to decide its claims, and again, until nothing is left to do.

    It stops when all claims are decided, when nothing would help, or when the budget is spent; the cheapest plans come
    first. Added runs are remembered in the store before they begin, so the same call goes on after an interruption.
    One line a round to the logger "interplay"; the results of each round to ``say``.

    Runs are judged by ``metric``, the usual one if it is empty.

    Raises:
        SpecError: no claims, no such metric, fewer runs than the study has, or Slurm without waiting.
        InterruptedRunError: stopped by a signal.
        RunFailedError: runs failed.
    """
    budget = budget or Budget()
    if metric:
        check_metric(metric)
    if not study.claims:
        raise SpecError(
            f"study {study.name!r} states no claims, so there is nothing to decide: add claims or [[claim]]"
        )
    if submits(study, settings):
        raise SpecError("a study that grows until it is decided follows its jobs: say --wait")
    if budget.runs is not None and budget.runs < len(study.specs):
        runs = len(study.specs)
        raise SpecError(f"a budget of {budget.runs} runs in all is too small: study {study.name!r} has {runs} itself")
    end = None if budget.seconds is None else time.monotonic() + budget.seconds
    asked = with_data(study, settings)
    larger, number = with_added(asked, settings), 0
    while True:
        report = run_study(larger, settings, say=say, asked=asked, first=number == 0)
        if report.stopped:
            raise InterruptedRunError(f"stopped with {study.name} undecided; the same command goes on")
        number += 1
        found = tuple(proposals(asked, larger, settings, metric))
        chosen, reason = _chosen(larger, found, budget.runs, end, settings)
        if not chosen:
            return Ended(larger, number, reason, found)
        before = len(larger.specs)
        larger = _enlarged(asked, larger, chosen, settings)
        of = f" of {budget.runs}" if budget.runs is not None else ""
        words = "; ".join(map(str, chosen))
        notice(f"round {number}: {before}{of} runs, {sum(e.decided for e in found)} of {len(found)} decided; {words}")


def _chosen(
    larger: Study, found: Sequence[Proposal], runs: int | None, end: float | None, settings: Settings
) -> tuple[list[Proposal], str]:
    """The plans that the budget has room for, the cheapest first; without any, the reason."""
    undecided = [each for each in found if not each.decided]
    if not undecided:
        return [], "every claim is decided"
    wanted = sorted((each for each in undecided if each.specs), key=lambda each: len(each.specs))
    if not wanted:
        return [], "no further runs are expected to decide the rest"
    chosen: list[Proposal] = []
    for each in wanted:
        more = dict.fromkeys(spec for one in (*chosen, each) for spec in one.specs)
        if runs is not None and len(larger.specs) + len(more) > runs:
            continue
        if end is not None and time.monotonic() + _seconds(larger, list(more), settings) > end:
            continue
        chosen.append(each)
    if chosen:
        return chosen, ""
    least = _count(len(wanted[0].specs), "run")
    return [], f"the budget is spent: {least} more would be the next step"


def _seconds(larger: Study, more: Sequence[Spec], settings: Settings) -> float:
    """Wall time that ``more`` may take, from the runs that have ended; 0 where these do not tell."""
    ready, slots = prepared(dataclasses.replace(larger, specs=tuple(more), remake=None), settings)
    records = [record for _, record in _records(larger, settings) if record is not None]
    expected = estimate(ready.specs, records, len(slots))
    return 0.0 if expected is None else expected.wall_seconds
