"""From observations to everything that is said about them: noise, duplicates, optima, claims."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from interplay.analysis import ridge
from interplay.analysis.cells import Cell
from interplay.analysis.claims import NO_REPETITIONS, exponent_claim, ordering
from interplay.analysis.collapse import collapse_picture
from interplay.analysis.duplicates import broken, broken_words, place, without_duplicates, without_scatter
from interplay.analysis.laws import Joint, joint_fit
from interplay.analysis.noise import Noise
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.optimizers import Beside, of_one, optimizers, side_by_side
from interplay.analysis.optimum import Optimum
from interplay.analysis.schedules import compare
from interplay.analysis.table import Table
from interplay.analysis.verdict import BAND, Verdict, holm, judge, undecided
from interplay.errors import InputError
from interplay.record import cleaned

SUFFICIENT = 0.1
"""Share of the variance that ηλ alone may leave to a surface in (η, λ) and still count as sufficient."""

PREDICTIVE = 0.5
"""R² that the surface must reach for the curve to be called sufficient beside it."""

PRIMARY = ("ordering.sgd>sgd_wd", "ordering.sgd_wd>sgdm_wd", "inverse.profile", "batch.linear_rule")
"""Claims of the three questions, over which Holm's correction runs."""


@dataclass(frozen=True)
class Agreement:
    """How the optima of all settings lie on one variable: a factor (one standard deviation), least, greatest."""

    variable: str
    label: str
    factor: float
    least: float
    greatest: float
    optima: int


@dataclass(frozen=True)
class Analysis:
    """The result for one metric. ``notes`` name outliers and what was set aside."""

    metric: str
    duplicates: tuple[tuple[str, str, int], ...]
    """Pairs of repetitions that agree to the last digit, and how many runs of the second one were left out."""
    optima: tuple[Optimum, ...]
    claims: tuple[Verdict, ...]
    joint: Joint | None
    """Exponents of λ* over all axes together, where the runs determine them."""
    notes: tuple[str, ...]
    runs: int
    repetitions: tuple[str, ...]
    noises: tuple[tuple[Cell, Noise | None], ...] = ()
    """By network and data (`Cell.network`), that with the most runs first."""
    agreement: tuple[Agreement, ...] = ()
    """On which variable the optima of the settings fall together, the closest first."""
    beside: tuple[Beside, ...] = ()
    """Other optimisers against the one that the claims speak of."""

    @property
    def noise(self) -> Noise | None:
        """Of the network with the most runs; ``None`` without repetitions of it."""
        return self.noises[0][1] if self.noises else None

    def named_noises(self) -> list[tuple[str, Noise]]:
        """The noise of each network that was repeated, with `` of NETWORK`` before it where there are several."""
        several = len(self.noises) > 1
        return [
            (f" of {network_words(network)}" if several else "", each)
            for network, each in self.noises
            if each is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON types, under the documented names."""
        noise = None
        if self.noise is not None:
            levels = [{"level": a, "sd": b} for a, b in zip(self.noise.levels, self.noise.sds, strict=True)]
            noise = {"dof": self.noise.dof, "levels": levels}
        return {
            "metric": self.metric,
            "runs": self.runs,
            "repetitions": list(self.repetitions),
            "noise": noise,
            "duplicates": [{"kept": a, "left_out": b, "runs": n} for a, b, n in self.duplicates],
            "notes": list(self.notes),
            "optima": [
                {
                    "of": o.of,
                    "given": o.given,
                    "estimate": o.estimate,
                    "interval": list(o.interval),
                    "status": o.status,
                }
                for o in self.optima
            ],
            "joint": None if self.joint is None else cleaned(self.joint.to_dict()),
            "agreement": [asdict(each) for each in self.agreement],
            "optimizers": [cleaned(each.to_dict()) for each in self.beside],
            "claims": [cleaned(v.to_dict()) for v in self.claims],
        }


def tabulate(observations: Sequence[Observations], seed: int = 0) -> tuple[Table, list[tuple[str, str, int]]]:
    """All observations as one table, without those that repeat others; and which those are.

    Raises:
        ValueError: no observations, or of different metrics.
        InputError: rows of tables that repeat each other have no scatter at all.
    """
    if not observations or len({each.metric for each in observations}) != 1:
        raise ValueError("analyze needs at least one set of observations, all of the same metric")
    runs, duplicates = without_duplicates([run for each in observations for run in each.runs])
    notes = [note for each in observations for note in each.notes]
    if "acc" in observations[0].metric:
        notes += broken_words([run for run in runs if broken(run)])
        runs = [run for run in runs if not broken(run)]
    notes += [note for same in without_scatter(runs) if (note := _no_scatter(same))]
    return Table(Observations(observations[0].metric, tuple(runs)), seed, notes), duplicates


def _no_scatter(runs: Sequence[Observation]) -> str:
    """A line for repeated runs that do not scatter: their noise is not known. Rows of tables are an error."""
    first = runs[0]
    second = next(run for run in runs[1:] if run.cell == first.cell)
    what = f"all {len(runs)} repeated runs have the same value as another of their settings"
    where = f"{place(first)} and {place(second)}: {first.value:g}"
    if any(run.line is not None for run in runs):
        raise InputError(f"{what} ({where}): these are copies and no repetitions, so remove one of each")
    return f"{what} ({where}): nothing is known of their noise, and they are not counted as repetitions"


def analyze(observations: Sequence[Observations], seed: int = 0) -> Analysis:
    """Analyse repeated batches of runs of one metric together.

    Args:
        observations: one item a table or store; repetitions are told apart by their names.
        seed: of the bootstrap; the same measurements give the same intervals.

    Raises:
        ValueError: no observations, or of different metrics.
    """
    return replace(conclude(*tabulate(observations, seed), seed), beside=side_by_side(observations, seed))


def conclude(table: Table, duplicates: Sequence[tuple[str, str, int]], seed: int = 0) -> Analysis:
    """`analyze` of what `tabulate` gave, for those who need the table, too; other optimisers are not compared.

    Claims speak of one optimiser, that with the most runs: the decay of another is another knob.
    """
    runs, names = table.runs, optimizers(table.runs)
    if len(names) > 1:
        table = Table(of_one(Observations(table.metric, runs), names[0]), seed, (*table.notes, _spoken_of(names)))
    repetitions = tuple(dict.fromkeys(run.repetition for run in runs))
    claims = [
        *ordering(table),
        *_inverse(table, np.random.default_rng(seed)),
        *_batch(table),
        _schedule(table),
        _duration(table),
    ]
    primary = [c for c in claims if c.id in PRIMARY]
    corrected = {c.id: c for c in holm(primary)}
    claims = [corrected.get(c.id, c) for c in claims]
    if table.metric == "best_test_acc":
        claims = [undecided(c.id, SELECTED) for c in claims]
    optima = tuple({(o.of, str(o.given)): o for o in table.optima}.values())
    return Analysis(
        metric=table.metric,
        duplicates=tuple(duplicates),
        optima=optima,
        claims=tuple(claims),
        joint=joint_fit(table),
        notes=(*table.notes, *_networks(table)),
        runs=len(runs),
        repetitions=repetitions,
        noises=tuple((network, table.noise_in(network)) for network in table.networks()),
        agreement=_agreement(table),
    )


def _spoken_of(names: Sequence[str]) -> str:
    return f"{len(names)} optimisers: {', '.join(names)}; claims and optima are those of {names[0]}"


SELECTED = "the best epoch was chosen on the test set: decide by final_test_acc"


def network_words(network: Cell) -> str:
    """A network and its data for people; a table of eight columns names neither."""
    return network.words() or "the documented network"


def _networks(table: Table) -> list[str]:
    """Where there are several networks or data: which one has how many runs, since a claim speaks of one of them."""
    counts = table.networks()
    if len(counts) < 2:
        return []
    words = ", ".join(f"{network_words(name)} ({runs} runs)" for name, runs in counts.items())
    return [f"{len(counts)} networks or data: {words}; each claim speaks of the one with the largest grid for it"]


def _agreement(table: Table) -> tuple[Agreement, ...]:
    picture = collapse_picture(table)
    found = [
        Agreement(fall.variable, fall.label, fall.spread, fall.optima[0], fall.optima[-1], len(fall.optima))
        for fall in (picture.falls if picture is not None else ())
        if fall.spread is not None
    ]
    return tuple(sorted(found, key=lambda each: each.factor))


# -- which runs speak to which claim ----------------------------------------------------------------------------------


def _largest(
    settings: Iterable[Cell], key: Callable[[Cell], tuple[Any, ...]], varies: Callable[[Cell], object]
) -> list[Cell]:
    """The largest group of settings with the same ``key`` in which ``varies`` takes two values or more.

    A value counts if three decays or more were measured there; where none does, the largest group is taken as it is.
    """
    groups: dict[tuple[Any, ...], dict[object, list[Cell]]] = {}
    for s in settings:
        if s.weight_decay > 0:
            groups.setdefault(key(s), {}).setdefault(varies(s), []).append(s)
    for least in (3, 1):
        found = [[each for each in group.values() if len(each) >= least] for group in groups.values()]
        fitting = [each for each in found if len(each) > 1]
        if fitting:
            most = max(fitting, key=lambda each: (len(each), sum(map(len, each))))
            return sorted(s for members in most for s in members)
    return []


def plane(table: Table) -> list[Cell]:
    """The largest grid of learning rates and decays: set 2. A rate with fewer than three decays is of another set."""
    members = _largest(
        table.all_cells(), lambda s: (s.momentum, s.batch_size, s.epochs, s.schedule, s.network), lambda s: s.lr
    )
    rates = Counter(s.lr for s in members)
    return [s for s in members if rates[s.lr] >= 3]


def linear_rule(table: Table) -> list[Cell]:
    """The largest grid of batch sizes and decays in which η ∝ B: set 3. A decay at one batch size only is of set 2."""
    members = _largest(
        table.all_cells(),
        lambda s: (s.momentum, s.epochs, s.schedule, s.network, round(math.log(s.lr / s.batch_size), 6)),
        lambda s: s.batch_size,
    )
    decays = Counter(s.weight_decay for s in members)
    return [s for s in members if decays[s.weight_decay] > 1]


def _inverse(table: Table, rng: np.random.Generator) -> list[Verdict]:
    members = plane(table)
    profile = exponent_claim("inverse.profile", table, members, lambda s: s.lr, "lr", -1.0, "η", {"lr": 1})
    cells = [s for s in members if s in table.cells]
    reason = ""
    if not cells:
        reason = "no grid of learning rates and decays"
    elif not table.repeated(cells):
        reason = NO_REPETITIONS
    elif len(cells) < MIN_CELLS:
        reason = f"a grid of {len(cells)} cells; {MIN_CELLS} are needed"
    if reason:
        return [undecided("inverse.direction", reason), profile, undecided("inverse.sufficiency", reason)]
    mean = np.array([table.sign * float(np.mean(table.cells[s])) for s in cells])
    error = np.array([table.error(s) for s in cells])
    surface = ridge.Plane(
        np.log([s.lr for s in cells]), np.log([s.weight_decay for s in cells]), mean, np.maximum(error, 1e-9)
    )
    reach, words = ridge.within(table.metric)
    near = ridge.chosen(surface, reach)
    return [_direction(near, words), profile, _sufficiency(near, rng)]


MIN_CELLS = 8
"""Cells of the (η, λ) grid below which neither its direction nor sufficiency is spoken of."""


def _direction(plane: ridge.Plane, within: str) -> Verdict:
    found = ridge.direction(plane)
    if found is None:
        return undecided("inverse.direction", f"only {len(plane.mean)} cells within {within}")
    reason = (
        f"k of f(log η + k log λ) over {found.cells} cells within {within} of the best, "
        f"scatter {found.scatter:.1f} times the noise"
    )
    return judge("inverse.direction", found.estimate, found.interval90, found.interval95, (1 - BAND, 1 + BAND), reason)


def _sufficiency(plane: ridge.Plane, rng: np.random.Generator) -> Verdict:
    claim = "inverse.sufficiency"
    found = ridge.sufficiency(plane, rng)
    if found is None:
        return undecided(claim, f"only {len(plane.mean)} cells near the best one")
    if found.least <= 0:
        return undecided(claim, "the cells near the best one differ by no more than the noise")
    both = f"R² of a curve in ηλ {found.curve:.2f}, of a surface in (η, λ) {found.surface:.2f}"
    if max(found.curve, found.surface) <= 0:
        return undecided(claim, f"neither predicts a cell left out better than their mean: cross-validated {both}")
    q = [float(x) for x in np.quantile(found.draws, [0.05, 0.95, 0.025, 0.975])]
    reason = f"cross-validated {both}, without the noise; sufficient if the curve leaves less than {SUFFICIENT:g}"
    verdict = judge(claim, found.loss, (q[0], q[1]), (q[2], q[3]), (-math.inf, SUFFICIENT), reason)
    if verdict.verdict == "supported" and found.surface < PREDICTIVE:
        reason = f"{reason}; a surface that predicts less than {PREDICTIVE:g} is no measure of it"
        return replace(verdict, verdict="inconclusive", reason=reason)
    return verdict


def _batch(table: Table) -> list[Verdict]:
    def batch(s: Cell) -> float:
        return float(s.batch_size)

    linear = linear_rule(table)
    fixed = _largest(table.all_cells(), lambda s: (s.momentum, s.epochs, s.schedule, s.network, s.lr), batch)
    matched = _one_length(
        _largest(
            [s for s in table.all_cells() if s.epochs > 1],
            lambda s: (s.momentum, s.schedule, s.network, s.lr, round(20 * math.log(s.epochs / s.batch_size))),
            batch,
        )
    )
    arms: tuple[tuple[str, list[Cell], dict[str, float]], ...] = (
        ("batch.linear_rule", linear, {"batch_size": 1, "lr": 1}),
        ("batch.fixed_lr", fixed, {"batch_size": 1}),
        ("batch.step_matched", matched, {"batch_size": 1, "epochs": 1}),
    )
    return [
        exponent_claim(name, table, members, batch, "batch_size", 1.0, "B", direction)
        for name, members, direction in arms
    ]


def _one_length(settings: Sequence[Cell]) -> list[Cell]:
    """Of settings with about the same number of steps, one number of epochs a batch size: that with the most cells."""
    lengths: dict[int, Counter[int]] = {}
    for s in settings:
        lengths.setdefault(s.batch_size, Counter())[s.epochs] += 1
    chosen = {batch: max(counts, key=lambda epochs: (counts[epochs], -epochs)) for batch, counts in lengths.items()}
    return [s for s in settings if s.epochs == chosen[s.batch_size]]


def _schedule(table: Table) -> Verdict:
    sums = {run.cell: float(f"{run.sum_of_rates:.6g}") for run in table.runs if run.sum_of_rates}
    windows = {run.cell: run.window_epochs for run in table.runs if run.window_epochs}
    known = [s for s in table.all_cells() if s in sums]
    members = _largest(known, lambda s: (s.momentum, s.batch_size, s.epochs, s.network, s.lr), lambda s: s.schedule)
    verdict = exponent_claim("schedule.sum_of_rates", table, members, lambda s: sums[s], "sum_of_rates", -1.0, "S")
    comparison = compare(table, members, sums, windows)
    return verdict if comparison is None else replace(verdict, reason=f"{verdict.reason}; {comparison.words()}")


def _duration(table: Table) -> Verdict:
    members = _largest(
        table.all_cells(), lambda s: (s.momentum, s.batch_size, s.schedule, s.network, s.lr), lambda s: s.epochs
    )
    return exponent_claim(
        "duration.horizon", table, members, lambda s: float(s.epochs), "epochs", -1.0, "T", {"epochs": 1}
    )
