"""The engine on simulated studies that it was not made for: nothing false, and intervals that hold the truth.

The quick part is twenty studies or so; `interplay verify` has hundreds of each condition.
"""

from __future__ import annotations

import pytest

from interplay.analysis.verify.conditions import CONDITIONS
from interplay.analysis.verify.measure import Result, measure, summarise
from interplay.analysis.verify.problems import PROBLEMS, verify


def results(*conditions: str, studies: int, processes: int = 1) -> dict[tuple[str, str], Result]:
    return {(r.condition, r.of): r for r in summarise(measure(conditions, studies, seed=1, processes=processes))}


def test_exponents_orders_and_optima_of_some_studies() -> None:
    found = results("exponent.lr.seeds", "ordering.equal.programme", "optimum.x5", studies=8)
    exponent = found["exponent.lr.seeds", "inverse.profile"]
    assert exponent.false == 0
    assert exponent.right is not None
    assert exponent.right >= 0.75
    assert exponent.held is not None
    assert exponent.held >= 0.75
    assert exponent.width is not None
    assert exponent.width < 0.25
    equal = found["ordering.equal.programme", "ordering"]
    assert equal.decided is not None
    assert equal.decided <= 0.1
    for condition in ("ordering.equal.programme", "optimum.x5"):
        optimum = found[condition, "optimum"]
        assert optimum.intervals >= 5
        assert optimum.held is not None
        assert optimum.held >= 0.8


@pytest.mark.slow
def test_every_condition_over_fifteen_studies() -> None:
    """False words and misses may be no more than chance makes of 5 and 10 per cent; that of all together is sharper."""
    found = results(*(name for name in CONDITIONS if not name.startswith("extend.")), studies=15, processes=0)
    claims = [r for (_, of), r in found.items() if of != "optimum"]
    for result in claims:
        assert result.false is not None
        assert result.false * result.studies <= 3, result
    assert sum((r.false or 0) * r.studies for r in claims) <= 0.05 * sum(r.studies for r in claims)
    exponents = [r for r in claims if r.condition.startswith("exponent")]
    assert sum((r.right or 0) * r.away for r in exponents) >= 0.6 * sum(r.away for r in exponents)
    for kind in ("exponent", "optimum"):
        some = [r for r in found.values() if r.condition.startswith(kind) and r.held is not None]
        assert sum((r.held or 0) * r.intervals for r in some) >= 0.85 * sum(r.intervals for r in some)


@pytest.mark.slow
def test_problems_with_closed_forms_over_fifteen_studies() -> None:
    lines = verify(studies=15)
    assert {line.problem for line in lines} == {problem.name for problem in PROBLEMS}
    for line in lines:
        assert line.false <= 1, line
        if line.expected != "inconclusive":
            assert line.found.get(line.expected, 0) >= 0.75 * line.studies, line
        if line.covered is not None:
            assert line.covered >= 0.7, line
