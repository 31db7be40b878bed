"""One exponent from all curves at once: exact on power laws, whatever the shape, and wide where optima scatter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from interplay.analysis.joint import Exponent, exponent
from interplay.analysis.shape import WINDOW_SDS, Curve, lattice, likelihood

Array = NDArray[np.float64]
Law = Callable[[float], float]
"""Logarithm of the best decay at a rate."""

DECAYS = np.geomspace(1e-5, 1e-1, 13)
RATES = (0.02, 0.04, 0.08, 0.16, 0.32)


def power(b: float, at: float = 1e-3, lr: float = 0.08) -> Law:
    return lambda x: b * math.log(x / lr) + math.log(at)


def fitted(
    law: Law,
    rates: Sequence[float] = RATES,
    *,
    a: float = 0.0,
    steep: Law = lambda lr: 1.0,
    decays: Array = DECAYS,
    sd: float = 0.1,
    noise: np.random.Generator | None = None,
    strata: Sequence[int] | None = None,
    offsets: Sequence[float] = (),
) -> Exponent | None:
    """The joint fit of a curve in decay at each rate: LINEX of asymmetry ``a``, three runs a cell."""
    curves = []
    for index, lr in enumerate(rates):
        v = np.log(decays) - law(lr) - (offsets[index] if offsets else 0.0)
        lost = v**2 if a == 0 else 2 * (np.exp(np.minimum(a * v, 60)) - a * v - 1) / a**2
        mean = 80 - np.minimum(steep(lr) * lost, 60)
        if noise is not None:
            mean = mean + sd / math.sqrt(3) * noise.standard_normal(len(v))
        curves.append(Curve(np.log(decays), mean, np.full(len(v), sd / math.sqrt(3)), WINDOW_SDS * sd))
    step = lattice(curves)
    tops = [likelihood(curve, step) for curve in curves]
    return exponent(tops, [math.log(lr) for lr in rates], strata or [0] * len(rates))


def sure(found: Exponent | None) -> Exponent:
    assert found is not None
    low, high = found.interval(0.9)
    assert low <= found.estimate <= high
    assert found.probability.sum() == pytest.approx(1)
    return found


def holds(found: Exponent, truth: float) -> bool:
    low, high = found.interval(0.9)
    return low <= truth <= high


@pytest.mark.parametrize("b", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("a", [0.0, 2.0, -1.1])
def test_the_exponent_of_a_power_law_without_noise_is_exact(b: float, a: float) -> None:
    """To half a step of the grid of tops over the two nats of the axis or so."""
    found = sure(fitted(power(b), a=a))
    assert found.estimate == pytest.approx(b, abs=0.04)
    assert holds(found, b)
    assert found.shared > 0.9
    assert found.curves == 5


def test_a_steepness_that_changes_along_the_axis_does_no_harm() -> None:
    found = sure(fitted(power(-1), a=1.0, steep=lambda lr: (lr / 0.08) ** 0.7))
    assert found.estimate == pytest.approx(-1, abs=0.05)
    assert holds(found, -1)


def test_curves_whose_optimum_lies_beyond_the_cells_count_by_their_slopes() -> None:
    """At low rates the optimum is one to two nats beyond; with their slopes the exponent is known as well or better."""
    rates, decays = (0.001, 0.005, 0.05, 0.1, 0.2, 0.3), np.geomspace(1e-5, 1e-2, 10)
    law = power(-1, lr=0.1)
    found = sure(fitted(law, rates, a=1.0, decays=decays, sd=0.3, noise=np.random.default_rng(0)))
    inside = sure(fitted(law, rates[2:], a=1.0, decays=decays, sd=0.3, noise=np.random.default_rng(0)))
    assert found.estimate == pytest.approx(-1, abs=0.12)
    assert holds(found, -1)
    assert found.sd < 1.3 * inside.sd


@pytest.mark.parametrize("beyond", [2.5, 4.0, 6.0])
def test_an_optimum_far_beyond_the_cells_biases_nothing(beyond: float) -> None:
    """At 0.001 and 0.005 the curve still rises at its end, its optimum so many nats beyond it: no law says where."""
    rates, decays = (0.001, 0.005, 0.05, 0.1, 0.2, 0.3), np.geomspace(1e-5, 1e-2, 10)

    def law(lr: float) -> float:
        return power(-1, lr=0.1)(lr) if lr >= 0.05 else math.log(1e-2) + beyond

    found = sure(fitted(law, rates, a=1.0, decays=decays, sd=0.1))
    assert found.estimate == pytest.approx(-1, abs=0.2)
    assert holds(found, -1)


def test_strata_share_the_exponent_and_have_intercepts_of_their_own() -> None:
    rates = (0.05, 0.1, 0.2) * 3
    strata = [0] * 3 + [1] * 3 + [2] * 3
    offsets = [0.0] * 3 + [2.0] * 3 + [-1.5] * 3
    pooled = sure(fitted(power(-1), rates, a=1.0, strata=strata, offsets=offsets))
    assert pooled.estimate == pytest.approx(-1, abs=0.05)
    single = sure(fitted(power(-1), rates[:3], a=1.0))
    assert pooled.sd < single.sd
    mixed = sure(fitted(power(-1), rates, a=1.0, offsets=offsets))
    assert mixed.scatter > 0.3 > pooled.scatter


def test_the_order_of_the_curves_does_not_matter() -> None:
    rates, strata, offsets = (0.05, 0.1, 0.2, 0.05, 0.1, 0.2), [0, 0, 0, 1, 1, 1], [0.0, 0.0, 0.0, 2.0, 2.0, 2.0]
    one = sure(fitted(power(-1), rates, strata=strata, offsets=offsets))
    turned = [[*reversed(each)] for each in (rates, strata, offsets)]
    other = sure(fitted(power(-1), turned[0], strata=turned[1], offsets=turned[2]))
    assert one.estimate == pytest.approx(other.estimate, abs=1e-3)
    assert one.sd == pytest.approx(other.sd, rel=0.01)


def test_optima_that_scatter_about_the_law_widen_the_interval() -> None:
    exact = sure(fitted(power(-1), a=1.0))
    scattered = sure(fitted(power(-1), a=1.0, offsets=[0.3, -0.3, 0.3, -0.3, 0.3]))
    assert scattered.sd > 2 * exact.sd
    assert scattered.scatter > 0.15
    assert scattered.measured < 0.6 * scattered.sd
    assert holds(scattered, -1)


def test_noise_and_scatter_are_covered() -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(20):
        offsets = list(0.15 * rng.standard_normal(5))
        held += holds(sure(fitted(power(-1), a=1.0, offsets=offsets, sd=0.3, noise=rng)), -1)
    assert held >= 15


def test_less_noise_and_a_longer_axis_tell_more() -> None:
    loud, quiet = (sure(fitted(power(-1), sd=sd, noise=np.random.default_rng(0))) for sd in (1.0, 0.2))
    assert quiet.sd < loud.sd
    short, long = (sure(fitted(power(-0.5), rates)) for rates in ((0.06, 0.08, 0.1), (0.02, 0.08, 0.32)))
    assert long.sd < 0.5 * short.sd


def test_what_does_not_vary_gives_no_exponent() -> None:
    assert fitted(power(-1), (0.1,)) is None
    assert fitted(power(-1), (0.1, 0.1)) is None
    assert fitted(power(-1), (0.05, 0.1), strata=[0, 1]) is None  # each in a stratum of its own
    assert sure(fitted(power(-1), (0.05, 0.1, 0.3), strata=[0, 0, 1])).curves == 2


def test_flat_curves_leave_the_exponent_open() -> None:
    found = fitted(power(-1), steep=lambda lr: 0.0)
    assert found is not None
    low, high = found.interval(0.95)
    assert low < -1.5
    assert high > 1.5
    assert found.within(-0.2, 0.2) < 0.5


@pytest.mark.parametrize("sd", [0.3, 0.03])
def test_optima_that_scatter_are_no_better_known_where_cells_beside_them_bound_them(sd: float) -> None:
    # Little noise puts walls near each top, beyond which the law's place is the less likely the further it is.
    offsets = (0.35, -0.3, 0.0, -0.35, 0.3)
    found = sure(fitted(power(-1), offsets=offsets, sd=sd))
    z = np.log(RATES)
    assert found.scatter == pytest.approx(0.3, rel=0.25)
    straight = found.scatter / math.sqrt(float(((z - z.mean()) ** 2).sum()))
    assert found.sd == pytest.approx(straight, rel=0.25)
    assert found.estimate == pytest.approx(-1 + float(np.polyfit(z, offsets, 1)[0]), abs=0.03)
