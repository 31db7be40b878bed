"""Simulated studies are what they say: their optima, their noise, their grids."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from interplay.analysis.verify.conditions import CONDITIONS, draw, named
from interplay.analysis.verify.curves import NOISE, SHAPES, Slice, noise_sd
from interplay.analysis.verify.worlds import Cell, Methods, World, cell_of
from interplay.errors import SpecError


@pytest.mark.parametrize("name", SHAPES)
def test_the_only_maximum_of_a_curve_is_where_it_is_said_to_be(name: str) -> None:
    rng = np.random.default_rng(1)
    u = np.linspace(-4, 4, 8001)
    for _ in range(50):
        shape = SHAPES[name](rng)
        lost = shape.lost(u)
        assert lost[4000] == 0
        assert (np.diff(lost[:4001]) < 0).all()
        assert (np.diff(lost[4000:]) > 0).all()
        curve = Slice(shape, math.log(0.3), 75.0, rng.uniform(0.7, 1.3))
        near = math.log(0.3) + np.array([-1e-3, 0, 1e-3])
        assert np.argmax(curve.accuracy(near)) == 1
        assert curve.accuracy(math.log(0.3)) == pytest.approx(75.0, abs=1e-12)
        assert (curve.accuracy(near + 100) >= 1).all()


def test_a_shape_is_made_again_from_its_parameters() -> None:
    rng = np.random.default_rng(0)
    for draw_shape in SHAPES.values():
        shape = draw_shape(rng)
        assert shape.with_parameters(shape.parameters()) == shape


def test_noise_of_one_run_is_that_of_its_level() -> None:
    for lost, sd in NOISE:
        assert noise_sd(lost) == pytest.approx(sd)
    assert noise_sd(-1.0) == pytest.approx(0.31)
    assert noise_sd(60.0) == pytest.approx(2.7)
    curve = Slice(SHAPES["cliff"](np.random.default_rng(3)), math.log(0.1), 75.0)
    world = World(Methods((("SGD", curve),)), 5)
    for lr in (0.1, 0.02, 0.3):
        cell = Cell(lr, 0.0, 0.0)
        values = [float(row["final_test_acc"]) for row in world.run([cell], range(1500))]
        expected = noise_sd(75.0 - curve.accuracy(math.log(lr)))
        assert np.std(values) == pytest.approx(expected, rel=0.06)
        assert np.mean(values) == pytest.approx(float(curve.accuracy(math.log(lr))), abs=0.12 * float(expected))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_the_same_name_index_and_seed_give_the_same_study(condition: str) -> None:
    first, again, other = draw(condition, 3, 1), draw(condition, 3, 1), draw(condition, 4, 1)
    assert first.rows == again.rows
    assert (first.truths, first.optima) == (again.truths, again.optima)
    assert first.rows != other.rows
    assert draw(condition, 3, 2).rows != first.rows


def test_a_world_gives_the_same_run_whenever_it_is_asked() -> None:
    study = draw("extend.coupling", 0)
    cell = study.cells[3]
    (alone,) = study.world.run([cell], [42])
    assert alone in study.rows
    named_knobs = {"lr": cell.lr, "weight_decay": cell.weight_decay, "momentum": 0.9, "batch_size": 128, "epochs": 100}
    assert cell_of(named_knobs) == cell
    assert study.world.run([named_knobs], [42]) == [alone]


@pytest.mark.parametrize("condition", [name for name in CONDITIONS if name.startswith("density.")])
def test_finer_grids_hold_the_runs_of_coarser_ones(condition: str) -> None:
    grids = draw(condition, 0).nested()
    assert len(grids) >= 3
    for coarse, fine in itertools.pairwise(grids):
        assert len(fine) > 1.5 * len(coarse)
        assert {tuple(row.items()) for row in coarse} < {tuple(row.items()) for row in fine}


def test_no_two_runs_look_like_copies() -> None:
    for condition in CONDITIONS:
        rows = [row for row in draw(condition, 0).rows if row["status"] == "finished"]
        assert len({row["final_train_loss"] for row in rows}) == len(rows), condition
        assert all(float(row["final_train_loss"]) > 0 for row in rows)
        assert all(float(row["best_test_acc"]) >= float(row["final_test_acc"]) for row in rows)


def test_the_slices_of_an_exponent_study_follow_its_law() -> None:
    for condition, axis in (("exponent.lr.seeds", "lr"), ("exponent.linear_rule.seeds", "batch_size")):
        study = draw(condition, 1)
        points = {getattr(cell, axis): study.world.surface.slice_of(cell).log_optimum for cell in study.cells}
        slope = np.polyfit(np.log(list(points)), list(points.values()), 1)[0]
        assert slope == pytest.approx(study.truths[0].value, abs=1e-9)


def test_optima_scatter_about_the_law_by_what_is_said() -> None:
    offsets = []
    for index in range(60):
        study = draw("exponent.lr.scatter.one_seed", index)
        surface = study.world.surface
        points = {(cell.lr, cell.batch_size): surface.slice_of(cell).log_optimum for cell in study.cells}
        offsets += [found - surface.law(*point) for point, found in points.items()]
    assert np.std(offsets) == pytest.approx(0.15, rel=0.15)


def test_words_follow_from_the_band() -> None:
    for index in range(60):
        truth = draw("exponent.lr.seeds", index).truths[0]
        assert truth.value is not None
        assert (truth.word == "supported") == (-1.2 < truth.value < -0.8)
        assert truth.away == (min(abs(truth.value + 1.2), abs(truth.value + 0.8)) >= 0.15 - 1e-9)
    assert dataclasses.replace(truth, value=-1.0, band=(-1.2, -0.8)).distance == pytest.approx(0.2)


def test_conditions_are_named_by_their_first_words() -> None:
    assert named(["density"]) == ["density.optimum", "density.exponent", "density.ordering"]
    assert named([]) == list(CONDITIONS)
    with pytest.raises(SpecError, match="no condition 'densty'; did you mean 'density'"):
        named(["densty"])


def test_the_test_loss_has_the_same_optimum_and_noise_of_its_level() -> None:
    study = draw("exponent.lr.loss", 0)
    assert study.metric == "final_test_loss"
    surface = study.world.surface
    cell = max(study.cells, key=surface.accuracy)
    worse = max((c for c in study.cells if surface.accuracy(c) < surface.best - 5), key=surface.accuracy)
    losses = [
        np.array([float(row["final_test_loss"]) for row in study.world.run([c], range(400))]) for c in (cell, worse)
    ]
    assert losses[0].mean() < losses[1].mean()
    for found, at in zip(losses, (cell, worse), strict=True):
        assert found.mean() == pytest.approx(0.95 + 0.035 * (surface.best - surface.accuracy(at)), abs=0.005)
        assert found.std() == pytest.approx(0.035 * surface.sd(at), rel=0.15)
