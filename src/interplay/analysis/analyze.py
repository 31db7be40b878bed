"""What the measurements say: the claims of one optimiser, and every other optimiser beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from interplay.analysis.compare import compare
from interplay.analysis.conclude import Analysis, conclude, tabulate
from interplay.analysis.observations import Observations
from interplay.analysis.optimizers import Beside, of_one, optimizers
from interplay.study.claims import Claim


def analyze(observations: Sequence[Observations], seed: int = 0, own: Sequence[str | Claim] = ()) -> Analysis:
    """Analyse repeated batches of runs of one metric together.

    Args:
        observations: one item a table or store; repetitions are told apart by their names.
        seed: of the bootstrap; the same measurements give the same intervals.
        own: claims that a study states, by identifier or as `Claim`; they come first.

    Raises:
        ValueError: no observations, or of different metrics.
    """
    return replace(conclude(*tabulate(observations, seed), own), beside=side_by_side(observations, seed))


def side_by_side(observations: Sequence[Observations], seed: int = 0) -> tuple[Beside, ...]:
    """Every other optimiser against the first of `optimizers`; empty where there is one only."""
    names = optimizers([run for each in observations for run in each.runs])
    if len(names) < 2:
        return ()
    parts = {name: [part for each in observations if (part := of_one(each, name)).runs] for name in names}
    unnamed = {name: [_unnamed(each) for each in part] for name, part in parts.items()}
    # Verdicts keep the name: what a theory says depends on how the optimiser decays.
    verdicts = {
        name: {claim.id: str(claim.verdict) for claim in conclude(*tabulate(part, seed)).claims}
        for name, part in parts.items()
    }
    first, *others = names
    found = []
    for name in others:
        both = compare(unnamed[name], unnamed[first], seed)
        claims = tuple((claim, verdict, verdicts[first][claim]) for claim, verdict in verdicts[name].items())
        decided = tuple(row for row in claims if set(row[1:]) & {"supported", "refuted"})
        found.append(Beside(name, first, len(both.pairs), both.mean, both.interval90, decided))
    return tuple(found)


def _unnamed(observations: Observations) -> Observations:
    """The same runs as if their optimiser were no part of their setting, so that cells of two can be paired."""
    return observations.where(replace(run, cell=run.cell.without("optimizer")) for run in observations.runs)
