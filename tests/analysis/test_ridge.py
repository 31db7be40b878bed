"""The direction along which a surface is constant, whatever that direction is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from interplay.analysis import ridge


def _plane(degrees: float, noise: float = 0.3) -> ridge.Plane:
    """7 by 7 cells in which what they reach hangs on cos θ log η + sin θ log λ alone."""
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(-3, 3, 7), np.linspace(-3, 3, 7)))
    u = math.cos(math.radians(degrees)) * x + math.sin(math.radians(degrees)) * y
    scatter = np.random.default_rng(int(degrees)).standard_normal(len(x))
    return ridge.Plane(x, y, 90 - u**2 + noise * scatter, np.full(len(x), noise))


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_direction_is_bounded_wherever_it_points(degrees: int) -> None:
    found = ridge.direction(_plane(degrees))
    assert found is not None
    low, high = found.interval95
    assert (low, high) != (-math.inf, math.inf)
    outside = high < 0.8 or low > 1.2
    assert outside != (degrees == 45)
    if degrees < 85:
        assert low - 1e-9 <= math.tan(math.radians(degrees)) <= high + 1e-9


def test_a_direction_that_nothing_tells_has_no_bounds() -> None:
    found = ridge.direction(_plane(45, noise=300))
    assert found is not None
    assert found.interval95 == (-math.inf, math.inf)


def test_a_curve_that_predicts_worse_than_the_mean_loses_no_more_than_all() -> None:
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(-3, 3, 5), np.linspace(-3, 3, 5)))
    noise = np.random.default_rng(0).standard_normal(len(x))
    plane = ridge.Plane(x, y, 90 - 3 * (x - y) + 0.3 * noise, np.full(len(x), 0.3))  # ηλ tells nothing of it
    found = ridge.sufficiency(plane, np.random.default_rng(0))
    assert found is not None
    assert found.curve == 0
    assert found.surface > 0.95
    assert 0.95 < found.loss <= 1
    assert found.draws.min() > 0.9
    assert found.draws.max() <= 1
