"""What to run next: the cheapest runs that are expected to decide, and nothing where nothing helps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from interplay.analysis.conclude import tabulate, verdicts
from interplay.analysis.next_cells import Knobs, between_cells, beyond_ends, counted, further_curves
from interplay.analysis.next_runs import _chosen, _in_band, _Option
from interplay.analysis.observations import from_rows
from interplay.analysis.optimum import Optimum
from interplay.analysis.table import Table
from interplay.analysis.verdict import Verdict
from interplay.study.claims import Claim

ROOT = Claim("lr", "batch_size", 0.5, id="root")


def table(
    lrs: Sequence[float],
    batches: Sequence[int],
    top: Callable[[int], float],
    seeds: int = 2,
    noise: float = 0.2,
    steep: float = 1.5,
    **more: str,
) -> Table:
    """Runs of Adam with their best rate at ``top`` of the batch size; rates above 1 diverge."""
    rng, rows = np.random.default_rng(3), []
    for batch in batches:
        for lr in lrs:
            for seed in range(seeds):
                acc = 90 - steep * math.log(lr / top(batch)) ** 2 + noise * float(rng.standard_normal())
                state = "diverged" if lr > 1 else "finished"
                text = "" if lr > 1 else f"{max(acc, 10):.3f}"
                row = {"optimizer": "adam", "lr": f"{lr:g}", "batch_size": f"{batch}", "seed": f"{seed}"}
                rows.append({**row, "final_test_acc": text, "status": state, **more})
    return tabulate([from_rows(rows, "t", "final_test_acc")])[0]


def verdict(found: Table, claim: Claim = ROOT) -> Verdict:
    return next(each for each in verdicts(found, (claim,)) if each.id == claim.id)


def curves(found: Table, claim: Claim = ROOT) -> list[list]:
    return list(found.slices(claim.optimum).values())


def optima(found: Table, of: str = "lr") -> list[Optimum]:
    return [found.optimum(of, cells, {}) for cells in found.slices(of).values()]


def test_beyond_an_open_end_and_never_on_the_side_that_is_surely_worse() -> None:
    falling = table([1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2], [32, 64], lambda b: 5e-4)
    cells = beyond_ends(falling, ROOT, curves(falling), optima(falling))
    assert {cell["batch_size"] for cell in cells} == {32, 64}
    assert all(cell["lr"] < 1e-3 for cell in cells)
    inside = table([1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2], [32, 64], lambda b: 4e-3, seeds=4)
    assert beyond_ends(inside, ROOT, curves(inside), optima(inside)) == ()


def test_between_unequal_neighbours_of_the_best_and_never_between_equal_cells() -> None:
    coarse = table([1e-4, 1e-3, 1e-2, 1e-1], [64], lambda b: 1.2e-3, seeds=3)
    (cells,), (optimum,) = curves(coarse), optima(coarse)
    rates = [cell["lr"] for cell in between_cells(coarse, ROOT, cells, optimum, Knobs(ROOT, [cells]))]
    assert rates[:2] == pytest.approx([10**-3.5, 10**-2.5], rel=0.01)
    flat = table([1e-4, 1e-3, 1e-2, 1e-1], [64], lambda b: 1e-3, steep=0.0)
    (cells,), (optimum,) = curves(flat), optima(flat)
    assert between_cells(flat, ROOT, cells, optimum, Knobs(ROOT, [cells])) == []


def test_a_further_curve_lies_around_the_law_and_no_batch_is_larger_than_the_data() -> None:
    found = table([5e-4, 1e-3, 2e-3, 4e-3, 8e-3], [256, 512], lambda b: 1e-3 * (b / 128) ** 0.5, dataset="digits")
    from interplay.analysis.claims.exponent import curves as members
    from interplay.analysis.claims.exponent import fitted

    speaking = members(found, ROOT)
    assert speaking is not None
    tops, result, _ = fitted(found, "lr", speaking)
    assert result is not None
    ((value, cells),) = [
        each[0] for each in further_curves(found, ROOT, speaking.members, speaking.along, result, tops)
    ]
    assert value == 128  # 1024 images are more than digits has
    assert {cell["batch_size"] for cell in cells} == {128}
    assert min(cell["lr"] for cell in cells) < 1e-3 < max(cell["lr"] for cell in cells)
    assert further_curves(found, Claim("lr", "steps", 1.0), speaking.members, speaking.along, result, tops) == []


def test_one_seed_of_few_cells_is_told_to_take_a_second_around_the_best() -> None:
    said = verdict(table([1e-3, 2e-3, 4e-3, 8e-3], [32, 64], lambda b: 2e-3, seeds=1))
    assert said.verdict == "inconclusive"
    assert said.plan is not None
    assert said.plan.seeds == 1
    assert len(said.plan.cells) == said.plan.runs == 6
    assert all(cell["lr"] <= 4e-3 for cell in said.plan.cells)


def test_what_is_decided_has_no_plan_and_what_is_not_has_one_with_its_interval() -> None:
    lrs = [2.5e-4 * 2**k for k in range(8)]
    clear = verdict(table(lrs, [16, 64, 256], lambda b: 1e-3 * (b / 64) ** 0.5, seeds=4, noise=0.1))
    assert (clear.verdict, clear.plan) == ("supported", None)
    dull = verdict(table(lrs, [64, 128], lambda b: 1e-3 * (b / 64) ** 0.5, noise=0.6))
    assert dull.verdict == "inconclusive"
    assert dull.plan is not None
    assert dull.plan.interval is not None
    assert dull.plan.interval[1] - dull.plan.interval[0] < dull.interval[1] - dull.interval[0]  # type: ignore[operator]
    assert dull.to_dict()["plan"]["runs"] == dull.plan.runs > 0


def option(runs: int, sd: float) -> _Option:
    return _Option(f"{runs}", ({"lr": 1.0},), 0, runs, sd)


def test_the_cheapest_of_those_that_are_expected_to_decide() -> None:
    chance = _in_band(ROOT, 0.5, 0.3, (0.3, 0.7))
    dear, cheap, useless = option(100, 0.02), option(40, 0.05), option(4, 0.29)
    plan = _chosen([dear, useless, cheap], 0.5, 0.3, chance, 0.1)
    assert plan is not None
    assert plan.runs == 40
    assert plan.interval == pytest.approx((0.5 - 1.645 * 0.05, 0.5 + 1.645 * 0.05))


def test_nothing_where_a_narrow_interval_lies_across_the_edge() -> None:
    edge = _in_band(ROOT, 0.7, 0.05, (0.3, 0.7))
    assert _chosen([option(10, 0.045)], 0.7, 0.05, edge, 0.1) is None
    wide = _in_band(ROOT, 0.7, 0.4, (0.3, 0.7))
    assert _chosen([option(10, 0.2)], 0.7, 0.4, wide, 0.1) is not None
    assert _chosen([], 0.7, 0.4, wide, 0.1) is None


def test_nothing_where_a_wide_interval_would_stay_as_wide() -> None:
    wide = _in_band(ROOT, 0.9, 0.5, (0.3, 0.7))
    assert _chosen([option(144, 0.46)], 0.9, 0.5, wide, 0.1) is None
    near = _in_band(ROOT, 0.54, 0.1, (0.3, 0.7))  # a little is enough here
    assert _chosen([option(144, 0.093)], 0.54, 0.1, near, 0.1) is not None


def test_chances_are_those_of_estimates_that_move() -> None:
    rng = np.random.default_rng(0)
    for estimate, sd, after in ((0.5, 0.2, 0.08), (0.75, 0.15, 0.05), (0.0, 0.3, 0.1)):
        moved = estimate + math.sqrt(sd**2 - after**2) * rng.standard_normal(40_000)
        inside = (moved - 1.645 * after >= 0.3) & (moved + 1.645 * after <= 0.7)
        outside = (moved + 1.96 * after < 0.3) | (moved - 1.96 * after > 0.7)
        assert _in_band(ROOT, estimate, sd, (0.3, 0.7))(after) == pytest.approx(
            float((inside | outside).mean()), abs=0.01
        )


def test_words() -> None:
    assert (counted(1, "cell"), counted(2, "cell")) == ("1 cell", "2 cells")


def level(decays: Sequence[float], below: float = 0.0) -> Table:
    """SGD at three rates: worse in proportion to the decay, and without any by ``below``."""
    rng, rows = np.random.default_rng(5), []
    for lr in (0.05, 0.1, 0.2):
        for decay in decays:
            for seed in (1, 2):
                acc = 80 - 2000 * decay - below * (decay == 0) + 0.2 * float(rng.standard_normal())
                rows.append(
                    {
                        "method": "SGDM+WD",
                        "lr": f"{lr:g}",
                        "wd": f"{decay:g}",
                        "momentum": "0.9",
                        "batch_size": "128",
                        "seed": f"{seed}",
                        "final_test_acc": f"{acc:.3f}",
                    }
                )
    return tabulate([from_rows(rows, "t", "final_test_acc")])[0]


DECAYS = [1e-4 * 2**k for k in range(6)]


def test_level_curves_are_asked_for_runs_without_decay_and_not_for_ever_less_of_it() -> None:
    claim = Claim("weight_decay", "lr", -1.0, id="inverse")
    (found,) = (each for each in verdicts(level(DECAYS), (claim,)) if each.id == "inverse")
    assert "no curve has its optimum inside" in found.reason
    assert {cell["weight_decay"] for cell in found.needed} == {0.0}
    assert len(found.needed) == 3
    (after,) = (each for each in verdicts(level([0.0, *DECAYS]), (claim,)) if each.id == "inverse")
    assert "with λ = 0 as good as any" in after.reason
    assert not any(0 < cell["weight_decay"] < DECAYS[0] for cell in after.needed)
    # Runs without decay that are worse tell that there is a best one.
    worse = level([0.0, *DECAYS], below=3.0)
    assert all(each.without < 1e-6 for each in optima(worse, "weight_decay"))
    assert all(each.topless < -10 for each in optima(worse, "weight_decay"))
