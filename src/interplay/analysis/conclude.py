"""From observations to everything that is said about them: noise, duplicates, optima, claims, exponents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from interplay.analysis.cells import Cell
from interplay.analysis.claims import exponent as powers
from interplay.analysis.claims import judged
from interplay.analysis.collapse import collapse_picture
from interplay.analysis.duplicates import broken, broken_words, place, without_duplicates, without_scatter
from interplay.analysis.joint import Exponent
from interplay.analysis.laws import Joint, joint_fit
from interplay.analysis.noise import Noise
from interplay.analysis.observations import Observation, Observations
from interplay.analysis.optimizers import Beside
from interplay.analysis.optimum import Optimum
from interplay.analysis.phrases import spoken
from interplay.analysis.schedules import across_schedules
from interplay.analysis.table import TUNED, Table
from interplay.analysis.verdict import Verdict, holm, undecided
from interplay.errors import InputError
from interplay.frames import Framed
from interplay.record import cleaned
from interplay.study.claims import PRIMARY, PROGRAMME, Claim

SELECTED = "the best epoch was chosen on the test set: decide by final_test_acc"


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
class Measured:
    """An exponent that no claim speaks of: the optimum of one knob as a power of another, from so many curves.

    ``measured`` is the number of curves that there are; of very many some are taken (`FEW`).
    """

    optimum: str
    along: str
    estimate: float
    interval: tuple[float, float]
    curves: int
    network: str
    measured: int = 0


@dataclass(frozen=True)
class Analysis(Framed):
    """The result for one metric. ``notes`` name outliers and what was set aside."""

    metric: str
    duplicates: tuple[tuple[str, str, int], ...]
    """Pairs of repetitions that agree, and how many runs of the second one were left out."""
    optima: tuple[Optimum, ...]
    claims: tuple[Verdict, ...]
    """Those that the study states first, those that were not asked last."""
    joint: Joint | None
    """Theories of λ* against the exponents of all axes together, where the runs determine these."""
    notes: tuple[str, ...]
    runs: int
    repetitions: tuple[str, ...]
    noises: tuple[tuple[Cell, Noise | None], ...] = ()
    """By network and data (`Cell.network`), that with the most runs first."""
    agreement: tuple[Agreement, ...] = ()
    """On which variable the optima of the settings fall together, the closest first."""
    exponents: tuple[Measured, ...] = ()
    """Exponents besides those of the claims."""
    beside: tuple[Beside, ...] = ()
    """Other optimisers against the one that the claims speak of."""

    @property
    def noise(self) -> Noise | None:
        """Of the network with the most runs; ``None`` where nothing tells it."""
        return self.noises[0][1] if self.noises else None

    @property
    def asked(self) -> tuple[Verdict, ...]:
        """The claims that the runs can speak to."""
        return tuple(claim for claim in self.claims if claim.verdict != "not asked")

    def heading(self) -> str:
        """How many runs say so, of which metric."""
        return f"{self.runs} runs, by {self.metric}"

    def rows(self) -> list[dict[str, Any]]:
        """A row for each claim."""
        return [
            {
                "claim": claim.id,
                "verdict": claim.verdict,
                "estimate": claim.estimate,
                "low": claim.interval[0],
                "high": claim.interval[1],
                "reason": claim.reason,
            }
            for claim in self.claims
        ]

    def remarks(self) -> tuple[str, ...]:
        """Outliers and what was set aside."""
        return self.notes

    def named_noises(self) -> list[tuple[str, Noise]]:
        """The noise of each network, with `` of NETWORK`` before it where there are several."""
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
            noise = {
                "dof": self.noise.dof,
                "from_residuals": self.noise.residual,
                "of_seeds": self.noise.of_seeds,
                "levels": [
                    {"level": self.noise.worst, "sd": self.noise.sd_worst},
                    {"level": self.noise.best, "sd": self.noise.sd_best},
                ],
            }
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
                    "plateau": o.plateau,
                    "other_maxima": list(o.others),
                }
                for o in self.optima
            ],
            "joint": None if self.joint is None else cleaned(self.joint.to_dict()),
            "exponents": [cleaned(asdict(each)) for each in self.exponents],
            "agreement": [asdict(each) for each in self.agreement],
            "claims": [cleaned(v.to_dict()) for v in self.claims],
            "optimizers": [cleaned(each.to_dict()) for each in self.beside],
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


def conclude(table: Table, duplicates: Sequence[tuple[str, str, int]], own: Sequence[str | Claim] = ()) -> Analysis:
    """`analyze` of what `tabulate` gave, for those who need the table, too."""
    found = verdicts(table, own)
    exponents = _exponents(table, found)
    for of in TUNED:
        for members in table.slices(of).values():
            table.optimum(of, members, powers.given(members, of))
    return Analysis(
        metric=table.metric,
        duplicates=tuple(duplicates),
        optima=tuple(table.optima),
        claims=tuple(found),
        joint=joint_fit(table),
        notes=(*table.notes, *_networks(table), *map(_some, (e for e in exponents if e.measured > FEW))),
        runs=len(table.runs),
        repetitions=tuple(dict.fromkeys(run.repetition for run in table.runs)),
        noises=tuple((each, table.noise_in(each)) for each in table.kinds()),
        agreement=_agreement(table),
        exponents=exponents,
    )


def verdicts(table: Table, own: Sequence[str | Claim] = ()) -> list[Verdict]:
    """Of the claims in ``own`` and of all others, as `Analysis.claims` has them.

    One of the programme that is stated in ``own`` under another name has that name.
    """
    stated = [claim for claim in own if isinstance(claim, Claim)]
    names = {claim.id if isinstance(claim, Claim) else claim for claim in own}
    renamed = {known.id: claim.id for claim in stated for known in PROGRAMME if claim.repeats(known)}
    kept = (known for known in PROGRAMME if known.id not in renamed or known.id in names)
    claims = {claim.id: claim for claim in (*stated, *kept)}
    primary = {renamed.get(name, name) for name in PRIMARY}
    found = []
    for claim in claims.values():
        verdict = judged(claim, table)
        if claim.along == "sum_of_rates" and verdict.verdict != "not asked":
            words = across_schedules(table, claim)
            verdict = replace(verdict, reason=f"{verdict.reason}; {words}") if words else verdict
        found.append(replace(verdict, own=claim.id in names, claim=claim))
    corrected = {v.id: v for v in holm([v for v in found if v.id in primary])}
    found = [corrected.get(v.id, v) for v in found]
    found = [v if v.verdict == "inconclusive" else replace(v, plan=None) for v in found]
    if table.metric == "best_test_acc":
        found = [v if v.verdict == "not asked" else _kept(undecided(v.id, SELECTED), v) for v in found]
    return sorted(found, key=lambda v: (v.verdict == "not asked", not v.own))


OTHER_METRIC = {"final_test_acc": "final_test_loss", "final_test_loss": "final_test_acc"}
"""What the same runs are judged by, too, since accuracy and loss need not agree."""


def beside_other_metric(
    analysis: Analysis, observations: Sequence[Observations], own: Sequence[str | Claim] = ()
) -> Analysis:
    """``analysis`` with `Verdict.other_metric` where another metric gives another word and one of both is decided.

    Args:
        analysis: of one metric.
        observations: the same runs by the other metric.
        own: claims that a study states, as `analyze` took them.

    Raises:
        ValueError, InputError: as `tabulate`.
    """
    if not observations:
        return analysis
    table, _ = tabulate(observations)
    words = {verdict.id: verdict.verdict for verdict in verdicts(table, own)}
    claims = []
    for claim in analysis.claims:
        both = {claim.verdict, words.get(claim.id, "not asked")}
        # What the other metric was not measured for says nothing of the first.
        if len(both) == 2 and "not asked" not in both:
            claim = replace(claim, other_metric=f"by {table.metric}: {words[claim.id]}")
        claims.append(claim)
    return replace(analysis, claims=tuple(claims))


def _kept(verdict: Verdict, of: Verdict) -> Verdict:
    return replace(verdict, question=of.question, own=of.own, claim=of.claim)


def _exponents(table: Table, verdicts: Sequence[Verdict]) -> tuple[Measured, ...]:
    """Exponents along every knob that was varied, of which no claim has spoken."""
    stated = {pair for verdict in verdicts if (pair := spoken(verdict)) is not None}
    found = []
    for of in TUNED:
        for name in table.numeric_knobs():
            if name in TUNED or (of, name) in stated:
                continue
            claim = Claim(of, name, 0.0)
            members = powers.curves(table, claim)
            if members is None or not table.repeated(cell for cells in members.members for cell in cells):
                continue
            measured, members = len(members), _few(members)
            optima, result, used = powers.fitted(table, of, members)
            if isinstance(result, Exponent) and powers.inside_of([optima[i] for i in used]):
                network = members.members[0][0].without(name).network
                found.append(
                    Measured(
                        of, name, result.estimate, result.interval(0.9), len(used), network_words(network), measured
                    )
                )
    return tuple(found)


def _some(each: Measured) -> str:
    return (
        f"exponent of {each.optimum} over {each.along}: {each.curves} of {each.measured} curves, those with most cells"
    )


FEW = 40
"""Curves that an exponent without a claim rests on, at most: its interval hardly gains by more, and time does."""


def _few(members: powers.Curves) -> powers.Curves:
    """The strata with the most cells, until they have `FEW` curves: chosen by what was run and not by what came out."""
    strata: dict[int, list[int]] = {}
    for curve, stratum in enumerate(members.strata):
        strata.setdefault(stratum, []).append(curve)
    kept: list[int] = []
    for curves in sorted(strata.values(), key=lambda each: -sum(len(members.members[curve]) for curve in each)):
        if len(kept) < FEW:
            kept += curves
    kept.sort()
    return powers.Curves(
        tuple(members.members[curve] for curve in kept),
        tuple(members.along[curve] for curve in kept),
        tuple(members.strata[curve] for curve in kept),
    )


def network_words(network: Cell) -> str:
    """A network and its data for people; a table of eight columns names neither."""
    return network.words() or "the documented network"


def _networks(table: Table) -> list[str]:
    """Where there are several networks or data: which one has how many runs, since a claim speaks of one of them."""
    counts = table.kinds()
    if len(counts) < 2:
        return []
    words = ", ".join(f"{network_words(name)} ({runs} runs)" for name, runs in list(counts.items())[:6])
    more = f" and {len(counts) - 6} more" if len(counts) > 6 else ""
    return [f"{len(counts)} networks or data: {words}{more}; each claim speaks of the one with the most curves for it"]


def _agreement(table: Table) -> tuple[Agreement, ...]:
    picture = collapse_picture(table)
    found = [
        Agreement(fall.variable, fall.label, fall.spread, fall.optima[0], fall.optima[-1], len(fall.optima))
        for fall in (picture.falls if picture is not None else ())
        if fall.spread is not None
    ]
    return tuple(sorted(found, key=lambda each: each.factor))
