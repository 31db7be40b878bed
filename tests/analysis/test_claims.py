"""Claims of every kind put to runs: supported, refuted, inconclusive, not asked; and what to run next."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.claims import judged
from interplay.analysis.claims.exponent import inside_of
from interplay.analysis.conclude import Analysis, tabulate
from interplay.analysis.observations import Observation, Observations, from_rows
from interplay.analysis.optimum import Optimum
from interplay.analysis.verdict import Verdict
from interplay.study.claims import Claim

ACC = "final_test_acc"
RATES = (0.025, 0.05, 0.1, 0.2, 0.4)
DECAYS = tuple(1e-4 * 2.0**k for k in range(8))

PROFILE = Claim("weight_decay", "lr", -1.0)
SQUARE_ROOT = Claim("lr", "batch_size", 0.5)
PLAIN_ABOVE = Claim("lr", first={"momentum": 0.0, "weight_decay": 0.0}, second={"momentum": 0.0, "weight_decay": 5e-4})
PRODUCT = Claim(product=("lr", "weight_decay"))
DIRECTION = Claim(product=("lr", "weight_decay"), direction=True)

Level = Callable[[Cell], float]


def measured(cells: Sequence[Cell], level: Level, *, seeds: int = 3, sd: float = 0.15, seed: int = 0) -> Observations:
    rng = np.random.default_rng(seed)
    return Observations(
        ACC,
        tuple(Observation(c, str(n), level(c) + sd * rng.standard_normal()) for c in cells for n in range(seeds)),
    )


def said(claim: Claim, *observations: Observations) -> Verdict:
    return judged(claim, tabulate(observations)[0])


def coupled(k: float = 1.0, curvature: float = 1.0, extra: float = 0.0) -> Level:
    """Best along λ ∝ η^-k, and in η about 0.1 if ``extra``."""

    def level(c: Cell) -> float:
        along = math.log(c.weight_decay / 1e-3) + k * math.log(c.lr / 0.1)
        return 75 - curvature * along**2 - extra * math.log(c.lr / 0.1) ** 2

    return level


def plane(rates: Sequence[float] = RATES, decays: Sequence[float] = DECAYS, **knobs: Any) -> list[Cell]:
    return [Cell.of(lr, wd, 0.9, 128, **knobs) for lr in rates for wd in decays]


def rate_curves(ratio: float, *, seeds: int = 3, sd: float = 0.3, step: float = 2.0, seed: int = 0) -> Observations:
    """Rates of plain SGD, best at 0.1 · ratio, and of SGD with decay, best at 0.1: a slow rise and a cliff each."""

    def level(c: Cell) -> float:
        v = math.log(c.lr / (0.1 * (ratio if c.weight_decay == 0 else 1.0)))
        return 75 - min(2 * (math.exp(min(1.1 * v, 50)) - 1.1 * v - 1) / 1.21, 60.0)

    rates = [0.1 * step**k for k in range(-4, 4)]
    cells = [Cell.of(lr, wd, 0.0, 128) for wd in (0.0, 5e-4) for lr in rates]
    return measured(cells, level, seeds=seeds, sd=sd, seed=seed)


# -- exponents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "word"), [(1.0, "supported"), (0.3, "refuted"), (0.0, "refuted"), (-1.0, "refuted")])
def test_an_exponent_is_supported_or_refuted(k: float, word: str) -> None:
    found = said(PROFILE, measured(plane(), coupled(k)))
    assert found.verdict == word
    assert found.estimate == pytest.approx(-k, abs=0.1)
    low, high = found.interval
    assert low is not None
    assert high is not None
    assert low <= -k <= high
    assert found.p is not None
    assert (found.p == 1.0) == (word == "supported")


def test_noise_that_hides_the_shift_is_inconclusive_and_has_a_plan_with_what_to_expect() -> None:
    found = said(PROFILE, measured(plane(RATES[1:4]), coupled(curvature=0.4), seeds=2, sd=0.6))
    assert found.verdict == "inconclusive"
    assert found.plan is not None
    assert found.plan.runs > 0
    assert found.needed == found.plan.cells != ()
    assert found.plan.interval is not None
    low, high = found.interval
    assert low is not None
    assert high is not None
    assert found.plan.interval[1] - found.plan.interval[0] < high - low


def test_what_was_not_varied_is_not_asked_and_says_what_it_needs() -> None:
    found = said(SQUARE_ROOT, measured(plane(), coupled()))
    assert (found.verdict, found.estimate, found.plan, found.p) == ("not asked", None, None, None)
    assert found.reason == "lr varied (three values) at two values of batch_size"


def test_at_the_edge_of_the_band_more_runs_are_unlikely_to_decide() -> None:
    found = said(PROFILE, measured(plane(), coupled(0.8), seeds=5, sd=0.1))
    assert (found.verdict, found.plan) == ("inconclusive", None)
    assert "the edge of the band: more runs are unlikely to decide" in found.reason
    assert found.estimate == pytest.approx(-0.8, abs=0.06)


def test_optima_off_their_law_ask_for_no_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    off = dict(zip(RATES, (0.6, -0.6, 0.5, -0.5, 0.6), strict=True))

    def level(c: Cell) -> float:
        return 75 - (math.log(c.weight_decay / 4e-4) + math.log(c.lr / 0.1) - off[c.lr]) ** 2

    observed = measured(plane(), level, seeds=3, sd=0.05)
    assert said(PROFILE, observed).plan is not None  # other rates average it out
    monkeypatch.setattr("interplay.analysis.next_runs.further_curves", lambda *_: [])  # as of schedules
    found = said(PROFILE, observed)
    assert (found.verdict, found.plan) == ("inconclusive", None)
    assert re.match(r"the optima lie off the law by 0\.[3-7]\d nats \(SD\): more seeds would not narrow", found.reason)


@pytest.mark.parametrize("claim", [PROFILE, PLAIN_ABOVE, DIRECTION], ids=["exponent", "ordering", "direction"])
def test_whatever_kind_of_claim_has_no_runs_that_would_help_says_so(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    if claim is PLAIN_ABOVE:
        observed = rate_curves(1.35, seeds=3, sd=0.6)
    else:
        observed = measured(plane(), coupled(0.8, curvature=0.4), seeds=2, sd=0.8)
    before = said(claim, observed)
    assert before.verdict == "inconclusive"
    assert before.plan is not None
    assert "unlikely" not in before.reason
    monkeypatch.setattr("interplay.analysis.next_runs._chosen", lambda *_: None)
    monkeypatch.setattr("interplay.analysis.claims.exponent.OFF", 0.0)  # the noise is what is left here
    found = said(claim, observed)
    assert found.plan is None
    assert found.reason.startswith("further runs are unlikely to decide; ")


def test_no_optimum_inside_asks_for_cells_beyond_the_open_ends() -> None:
    cells = plane(decays=DECAYS[5:])
    found = said(PROFILE, measured(cells, lambda c: coupled()(c.replace(weight_decay=c.weight_decay * 30))))
    assert (found.verdict, found.estimate) == ("inconclusive", None)
    assert "inside" in found.reason
    assert found.plan is not None
    assert {cell["weight_decay"] for cell in found.needed} <= {0.0008, 0.0016}
    assert len(found.needed) == 2 * len(RATES)


def test_several_strata_are_pooled() -> None:
    def level(c: Cell) -> float:
        return 75 - (math.log(c.weight_decay / 4e-4) - math.log(c.batch_size / 128) + math.log(c.lr / 0.1)) ** 2

    cells = [Cell.of(lr, wd, 0.9, b) for lr in (0.05, 0.1, 0.2) for b in (64, 128, 256) for wd in DECAYS]
    claim = Claim("weight_decay", "batch_size", 1.0)
    one = [c for c in cells if c.lr == 0.1]
    pooled, single = (said(claim, measured(each, level, seeds=5, sd=0.4)) for each in (cells, one))
    assert pooled.verdict == "supported"
    assert pooled.reason.startswith("from 9 curves")
    width = [high - low for low, high in (pooled.interval, single.interval) if low is not None and high is not None]
    assert width[0] < width[1]


def test_knobs_that_are_tied_move_along() -> None:
    def level(c: Cell) -> float:
        return 75 - math.log(c.weight_decay / 8e-4) ** 2

    cells = [Cell.of(0.1 * b / 128, wd, 0.9, b) for b in (64, 128, 256, 512) for wd in DECAYS]
    tied = Claim("weight_decay", "batch_size", 1.0, tied={"lr": 1.0})
    assert said(tied, measured(cells, level)).verdict == "refuted"
    assert said(Claim("weight_decay", "batch_size", 1.0), measured(cells, level)).verdict == "not asked"


# -- orderings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ratio", "word"), [(3.0, "supported"), (1 / 3, "refuted")])
def test_an_order_by_a_factor_of_three_is_decided(ratio: float, word: str) -> None:
    found = said(PLAIN_ABOVE, rate_curves(ratio))
    assert found.verdict == word
    assert found.estimate == pytest.approx(math.log10(ratio), abs=0.2)


def test_equal_optima_are_never_put_in_an_order() -> None:
    """The programme's own noise on grids two and three apart, where nearly half were once put in one."""
    words = [
        said(PLAIN_ABOVE, rate_curves(1.0, seeds=5, step=step, seed=seed)).verdict
        for step in (2.0, 3.0)
        for seed in range(10)
    ]
    assert words == ["inconclusive"] * 20


def test_optima_known_to_be_within_the_margin_are_the_same_and_nothing_is_planned() -> None:
    wide = Claim(PLAIN_ABOVE.optimum, first=PLAIN_ABOVE.first, second=PLAIN_ABOVE.second, margin=0.8)
    found = said(wide, rate_curves(1.0, seeds=8, sd=0.1))
    assert (found.verdict, found.plan) == ("inconclusive", None)
    assert "the same within 80 %: more runs will not tell them apart" in found.reason
    narrow = said(PLAIN_ABOVE, rate_curves(1.0, seeds=8, sd=0.1))
    assert "the same within" not in narrow.reason


def test_a_bound_confirms_an_order() -> None:
    """Plain SGD is best beyond the last rate: at least that, against 0.1."""
    found = said(PLAIN_ABOVE, rate_curves(30.0))
    assert found.verdict == "supported"
    assert found.interval[1] is None
    assert "at least" in found.reason


def test_one_method_only_is_not_asked() -> None:
    plain = measured([Cell.of(lr, 0.0, 0.0, 128) for lr in RATES], lambda c: 75 - math.log(c.lr / 0.1) ** 2)
    assert said(PLAIN_ABOVE, plain).verdict == "not asked"


def test_a_pair_of_which_all_diverged_leaves_the_others_to_decide() -> None:
    lost = tuple(Observation(Cell.of(lr, wd, 0.0, 512), "0", None) for wd in (0.0, 5e-4) for lr in (0.1, 0.2, 0.4, 0.8))
    two = tuple(
        Observation(Cell.of(lr, wd, 0.0, 64), "0", 70.0 + lr) for wd in (0.0, 5e-4) for lr in (0.1, 0.2, 0.4, 0.8)
    )[:2]
    found = said(PLAIN_ABOVE, rate_curves(3.0), Observations(ACC, lost + two))
    assert found.verdict == "supported"


def test_the_rate_with_momentum_is_also_told_over_one_minus_momentum() -> None:
    def level(c: Cell) -> float:
        return 75 - 2 * math.log(c.lr / (0.02 if c.momentum else 0.2)) ** 2

    cells = [Cell.of(0.1 * 2.0**k, 5e-4, mu, 128) for mu in (0.0, 0.9) for k in range(-5, 4)]
    claim = Claim("lr", first={"momentum": 0.0}, second={"momentum": 0.9})
    found = said(claim, measured(cells, level))
    assert found.verdict == "supported"
    assert "in η/(1-μ)" in found.reason
    assert found.reason.endswith(")")


# -- products ----------------------------------------------------------------------------------------------------------


def test_the_direction_of_a_product() -> None:
    assert said(DIRECTION, measured(plane(), coupled(1.0))).verdict == "supported"
    assert said(DIRECTION, measured(plane(), coupled(2.5))).verdict == "refuted"
    assert said(DIRECTION, measured(plane(), coupled(1.0), sd=8.0)).verdict == "inconclusive"
    assert said(DIRECTION, measured([c for c in plane() if c.lr == 0.1], coupled())).verdict == "not asked"


def test_the_sufficiency_of_a_product() -> None:
    assert said(PRODUCT, measured(plane(), coupled(1.0), sd=0.1)).verdict == "supported"
    assert said(PRODUCT, measured(plane(), coupled(1.0, 0.5, 1.5), sd=0.1)).verdict == "refuted"
    assert said(PRODUCT, measured(plane(), lambda c: 75.0, sd=1.0)).verdict == "inconclusive"
    assert said(PRODUCT, measured([c for c in plane() if c.lr == 0.1], coupled())).verdict == "not asked"


# -- of a study --------------------------------------------------------------------------------------------------------


def test_claims_of_the_study_come_first_and_are_marked() -> None:
    found = analyze([measured(plane(), coupled())], own=[SQUARE_ROOT, PROFILE, "inverse.direction"])
    assert [v.id for v in found.claims if v.own] == [PROFILE.id, "inverse.direction", SQUARE_ROOT.id]
    assert [v.own for v in found.claims][:2] == [True, True]
    assert all(v.plan is None for v in found.claims if v.verdict != "inconclusive")
    asked = [v.verdict != "not asked" for v in found.claims]
    assert asked == sorted(asked, reverse=True)
    (square_root,) = (v for v in found.claims if v.id == SQUARE_ROOT.id)
    assert (square_root.verdict, square_root.question) == ("not asked", "Is the best lr ∝ batch_size^0.5?")
    assert not any(v.own for v in analyze([measured(plane(), coupled())]).claims)


ADAM = ("optimizer", "batch_size", "lr", "final_test_acc", "seed")


def adam(exponent: float, data: Sequence[int] = ()) -> Analysis:
    """A table of another laboratory: Adam over rate and batch size (and images), no decay and no momentum in it."""
    rng, rows = np.random.default_rng(0), []
    for images in data or (0,):
        for b in (32, 64, 128, 256):
            for lr in np.geomspace(1e-4, 1e-2, 7):
                for seed in range(2):
                    level = 80 - math.log(lr / (1e-3 * (b / 64) ** exponent)) ** 2 + 0.1 * rng.standard_normal()
                    row = dict(zip(ADAM, ("adam", str(b), f"{lr:.5g}", f"{level:.4f}", str(seed)), strict=True))
                    rows.append(row | ({"train_limit": str(images)} if images else {}))
    return analyze([from_rows(rows, "adam.csv")], own=[SQUARE_ROOT])


@pytest.mark.parametrize(("exponent", "word"), [(0.5, "supported"), (1.0, "refuted")])
def test_a_sweep_without_decay_or_momentum_has_its_optima_and_exponents(exponent: float, word: str) -> None:
    found = adam(exponent)
    assert (found.claims[0].id, found.claims[0].verdict) == (SQUARE_ROOT.id, word)
    assert found.claims[0].estimate == pytest.approx(exponent, abs=0.1)
    rates = {o.given["batch_size"]: o.estimate for o in found.optima if o.of == "lr"}
    assert rates[256] == pytest.approx(1e-3 * 4**exponent, rel=0.25)
    assert all(o.given["optimizer"] == "adam" for o in found.optima)


def test_numbers_of_images_are_strata_of_one_network() -> None:
    found = adam(0.5, (1000, 4000))
    assert found.claims[0].verdict == "supported"
    assert found.claims[0].reason.startswith("from 8 curves")
    (images,) = found.exponents  # that of the batch size has the claim for its one number
    assert (images.optimum, images.along) == ("lr", "train_limit")
    assert images.estimate == pytest.approx(0, abs=0.15)


def test_single_seeds_decide_and_are_marked() -> None:
    found = said(PROFILE, measured(plane(decays=[5e-5 * 2.0**k for k in range(10)]), coupled(), seeds=1))
    assert found.verdict == "supported"
    assert "from residuals, since nothing was repeated" in found.reason
    refuted = said(PROFILE, measured(plane(decays=[5e-5 * 2.0**k for k in range(10)]), coupled(0.0), seeds=1))
    assert refuted.verdict == "refuted"


def test_too_few_single_runs_tell_no_noise_and_ask_for_a_second_seed() -> None:
    found = said(PROFILE, measured(plane(RATES[:4], DECAYS[:4]), coupled(), seeds=1))
    assert (found.verdict, found.estimate) == ("inconclusive", None)
    assert "a second seed is needed" in found.reason


def test_of_several_networks_a_claim_speaks_of_the_one_with_the_most_curves() -> None:
    many = measured(plane(model="cnn", dataset="digits"), coupled(0.0))
    few = measured(plane(RATES[:3], model="mlp", dataset="digits"), coupled(1.0), seed=1)
    both = tabulate([many, few])[0]
    assert judged(PROFILE, both).estimate == judged(PROFILE, tabulate([many])[0]).estimate
    assert judged(PROFILE, both).verdict == "refuted"
    assert {network.get("model") for network in both.networks()} == {"cnn", "mlp"}


def _optimum(topless: float, inside_if_any: bool) -> Optimum:
    return Optimum("weight_decay", {}, None, (None, 1.0), "open below", topless=topless, inside_if_any=inside_if_any)


def test_curves_tell_together_that_there_are_optima() -> None:
    # Each by itself may have none.
    assert not inside_of([_optimum(0.2, True)])
    assert inside_of([_optimum(-0.5, True)] * 4 + [_optimum(0.2, True)]) == 5
    # One that is inside by luck among many that are level below tells nothing.
    assert not inside_of([_optimum(-1.5, True), *[_optimum(2.0, False)] * 4])
    # One that surely has a top outweighs them: then the others have theirs below.
    assert inside_of([_optimum(-math.inf, True), *[_optimum(2.0, False)] * 4]) == 1
