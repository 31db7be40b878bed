from __future__ import annotations

import math
from pathlib import Path

import pytest

from interplay.analysis.compression import PUBLISHED, compression_picture
from interplay.figures import compression
from interplay.figures.style import save
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec

BASE = RunSpec(dataset="cifar10", model="hyper_resnet", blocks_per_stage=1, train_limit=2000, epochs=1)


def record(model: str, acc: float, status: Status = Status.FINISHED, **knobs: float | str) -> RunRecord:
    spec = BASE.replace(model=model, **knobs)
    size = {"hyper_resnet": 90_000, "wide_resnet": 120_000}[model]
    return RunRecord(spec, status, (EpochMetrics(1, 0.1, 1.0, 50.0, 1.0, acc),), parameters=size)


def test_each_network_stands_at_its_best_setting_over_seeds() -> None:
    runs = [
        record("hyper_resnet", 50.0, lr=0.1, seed=1),
        record("hyper_resnet", 46.0, lr=0.1, seed=2),
        record("hyper_resnet", 49.0, lr=0.2, seed=1),
        record("hyper_resnet", 49.0, lr=0.2, seed=2),
        record("hyper_resnet", 99.0, Status.DIVERGED, lr=0.4),
        record("wide_resnet", 60.0, lr=0.1, seed=1),
        record("wide_resnet", 30.0, lr=0.2, seed=1),
    ]
    picture = compression_picture(runs)
    assert picture is not None
    ((hyper, twin),) = picture.pairs
    assert (hyper.error, hyper.runs, hyper.where) == (51.0, 2, "η 0.2, λ 0.0005")
    # 50 and 46, 49 and 49: squares of 8 on two degrees of freedom, a mean of two.
    assert hyper.spread == pytest.approx(math.sqrt(8 / 2 / 2))
    assert (twin.error, twin.spread, twin.runs, twin.parameters) == (40.0, None, 1, 120_000)
    assert hyper.generated
    assert not twin.generated
    assert picture.recipe == "cifar10, 2,000 images, 1 epochs, B = 128, sgd"
    assert picture.published == PUBLISHED


def test_a_network_without_its_twin_of_the_same_recipe_makes_no_picture() -> None:
    assert compression_picture([record("hyper_resnet", 50.0)]) is None
    assert compression_picture([record("hyper_resnet", 50.0), record("wide_resnet", 60.0, train_limit=1000)]) is None
    assert compression_picture([record("hyper_resnet", 50.0), record("wide_resnet", 60.0, widening=2)]) is None
    assert compression_picture([record("hyper_resnet", 50.0), record("wide_resnet", 60.0, augment="flip")]) is None


def test_runs_of_another_momentum_are_another_setting_not_another_seed() -> None:
    runs = [record("hyper_resnet", 50.0), record("hyper_resnet", 20.0, momentum=0.0), record("wide_resnet", 60.0)]
    picture = compression_picture(runs)
    assert picture is not None
    ((hyper, twin),) = picture.pairs
    assert (hyper.error, hyper.runs, twin.error) == (50.0, 1, 40.0)


def test_pairs_of_two_depths_stand_in_one_picture() -> None:
    shallow = [record("hyper_resnet", 50.0), record("wide_resnet", 60.0)]
    deep = [record(model, 40.0, blocks_per_stage=6) for model in ("hyper_resnet", "wide_resnet")]
    alone = [record(model, 40.0, epochs=2) for model in ("hyper_resnet", "wide_resnet")]
    picture = compression_picture([*alone, *deep, *shallow])
    assert picture is not None
    assert [pair[0].name for pair in picture.pairs] == [
        "hypernetwork, 1 block a stage",
        "hypernetwork, 6 blocks a stage",
    ]
    assert "1 epochs" in picture.recipe


def test_published_numbers_have_an_axis_of_their_own_and_their_source(tmp_path: Path) -> None:
    picture = compression_picture([record("hyper_resnet", 50.0), record("wide_resnet", 60.0)])
    assert picture is not None
    figure = compression.draw(picture)
    ours, theirs = figure.axes
    assert {text.get_text() for text in ours.texts} == {"50.0", "40.0\n1 block a stage"}
    assert {text.get_text() for text in theirs.texts} == {"8.0", "6.7\nWRN 40-1", "7.2", "5.7\nWRN 40-2"}
    # Each axis holds its own numbers and ends before those of the other: nothing invites to compare them.
    (low, high), (below, above) = ours.get_ylim(), theirs.get_ylim()
    assert below < 5.66 < 8.02 < above < low < 40 < 50 < high
    assert ours.get_xlim() == theirs.get_xlim()
    about = figure.legends[0].get_title().get_text().replace("\n", " ")
    assert "2,000 images" in about
    assert "Ha, Dai, Le" in about
    assert save(figure, tmp_path / "f.png")[0].stat().st_size > 10_000


@pytest.mark.parametrize("pair", PUBLISHED)
def test_published_hypernetworks_store_less_and_err_more(pair: tuple[compression.Network, compression.Network]) -> None:
    hyper, twin = pair
    assert hyper.parameters < twin.parameters / 5
    assert hyper.error > twin.error
