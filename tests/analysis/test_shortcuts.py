"""What makes the analysis fast gives the same numbers as the long way."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from interplay.analysis import predict as predictions
from interplay.analysis import rules
from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import FEW, tabulate
from interplay.analysis.exponents import regress
from interplay.analysis.joint import _add
from interplay.analysis.observations import Observations
from interplay.analysis.table import Table
from interplay.analysis.verify.problems import study


def observed(places: list[tuple[float, int, int]], decays: int = 5) -> Observations:
    decay = [2e-4 * 4**i for i in range(decays)]
    cells = [Cell.of(lr, wd, 0.9, batch, train_limit=n) for (lr, batch, n), wd in itertools.product(places, decay)]

    def risk(cell: Cell) -> float:
        return 1 + 0.05 * math.log(cell.weight_decay * cell.lr / 3e-4) ** 2

    return study(cells, risk, np.random.default_rng(0), 0.01)


def test_slices_of_a_padded_table_are_its_rows_by_interpolation() -> None:
    rng = np.random.default_rng(0)
    log = rng.standard_normal((12, 2))
    start = np.array([-7.3, 0.0, 2.25, 8.9])
    total = np.ones((4, 9, 2))
    _add(total, log, start)
    at = start[:, None] + np.arange(9)
    for column in range(2):
        assert total[..., column] == pytest.approx(1 + np.interp(at, np.arange(12), log[:, column]))


def test_a_cell_without_knobs_is_the_cell_made_anew() -> None:
    cell = Cell.of(0.1, 5e-4, 0.9, 64, model="mlp", nesterov=True)
    assert cell.without("lr", "epochs") == Cell((k, v) for k, v in cell.knobs if k not in ("lr", "epochs"))
    assert cell.without("lr").without("model") == cell.without("model", "lr")
    assert cell.without("lr").replace(lr=0.1) == cell


def test_an_exponent_without_a_claim_rests_on_some_of_very_many_curves_and_says_so() -> None:
    places = list(itertools.product([0.02 * 2**i for i in range(5)], (64, 256), (1000, 2000, 3000, 5000, 8000)))
    found = analyze([observed(places)])
    images = next(e for e in found.exponents if (e.optimum, e.along) == ("weight_decay", "train_limit"))
    assert images.measured == 50
    assert images.curves == FEW
    assert images.interval[0] < 0 < images.interval[1]
    assert f"exponent of weight_decay over train_limit: {FEW} of 50 curves, those with most cells" in found.notes


def test_a_prediction_fits_each_rule_once_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    table: Table = tabulate([observed([(0.02 * 2**i, 128, 1000) for i in range(7)])])[0]
    count = 0

    def counted(*args: Any) -> object:
        nonlocal count
        count += 1
        return regress(*args)

    monkeypatch.setattr(rules, "regress", counted)
    predictions.predict(table, "weight_decay", {"lr": 0.1, "batch_size": 128, "epochs": 100, "momentum": 0.9})
    # Leaving out by fitting anew, the choice of the rule included, would take rules times settings squared: over 300.
    assert count < 120
