from __future__ import annotations

import math

import pytest

from interplay.spec import RunSpec
from interplay.train.timescales import collapse_variables

M = 391


@pytest.mark.parametrize(("schedule", "window"), [("constant", 5), ("cosine", 38), ("linear", 36)])
def test_windows_of_the_stated_example(schedule: str, window: float) -> None:
    spec = RunSpec(lr=0.1, weight_decay=1e-3, momentum=0.9, epochs=100, schedule=schedule)  # type: ignore[arg-type]
    assert collapse_variables(spec, M)["window_epochs"] == pytest.approx(window, abs=0.6)


def test_closed_forms() -> None:
    found = collapse_variables(RunSpec(), M)
    assert found["steps"] == 39_100
    assert found["sum_of_rates"] == pytest.approx(0.1 * M * 101 / 2)
    assert found["decay_per_step"] == pytest.approx(0.1 * 5e-4 / 0.1)
    assert found["e_folds"] == pytest.approx(5e-4 * found["sum_of_rates"] / 0.1)
    assert found["tau_epochs"] == pytest.approx(0.1 / (0.1 * 5e-4 * M))
    assert found["noise_scale"] == pytest.approx(0.1 / (128 * 0.1))
    assert found["rotation_per_step"] == pytest.approx(math.sqrt(2 * 0.1 * 5e-4 / 1.9))
    assert found["decay_per_example"] == pytest.approx(0.1 * 5e-4 / (128 * 0.1))


def test_decoupled_decay_is_not_amplified_by_momentum() -> None:
    coupled, decoupled = (collapse_variables(RunSpec(optimizer=o), M)["e_folds"] for o in ("sgd", "sgdw"))  # type: ignore[arg-type]
    assert coupled == pytest.approx(10 * decoupled)


def test_adam_has_only_what_is_known_of_it() -> None:
    coupled, decoupled = (collapse_variables(RunSpec(optimizer=o), M) for o in ("adam", "adamw"))  # type: ignore[arg-type]
    assert set(coupled) == {"steps", "sum_of_rates"}
    assert decoupled["e_folds"] == pytest.approx(5e-4 * decoupled["sum_of_rates"])
    assert not {"noise_scale", "rotation_per_step"} & set(decoupled)


def test_without_decay_the_window_is_the_whole_schedule_and_tau_is_left_out() -> None:
    constant = collapse_variables(RunSpec(weight_decay=0, schedule="constant", epochs=10), M)
    assert constant["window_epochs"] == pytest.approx(10)
    assert "tau_epochs" not in constant


def test_a_long_constant_run_remembers_two_timescales() -> None:
    # Σc = 1/a, Σc² ≈ 1/(2a) per unit rate: W → 2 τ when the run is much longer than τ.
    found = collapse_variables(RunSpec(schedule="constant", weight_decay=1e-2, epochs=100), M)
    assert found["window_epochs"] == pytest.approx(2 * found["tau_epochs"], rel=0.02)


def test_absurd_decay_stays_finite() -> None:
    found = collapse_variables(RunSpec(lr=100.0, weight_decay=100.0), M)
    assert all(math.isfinite(value) for value in found.values())
