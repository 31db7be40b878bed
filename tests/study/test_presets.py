from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from interplay.errors import SpecError
from interplay.study.files import load
from interplay.study.presets import DIGITS, PRESETS, documented_sets, hypernetwork, preset
from interplay.study.study import distinct

STUDIES = Path(__file__).resolve().parents[2] / "studies"
FILES = sorted(STUDIES.glob("*.toml"))


def test_the_documented_sets_are_83_runs_of_74_configurations() -> None:
    sets = documented_sets()
    assert [len(study.specs) for study in sets] == [24, 35, 24]
    assert [study.experiment for study in sets] == [1, 2, 3]
    assert len(distinct(sets)) == 74
    assert len(distinct(documented_sets(seeds=(1, 2, 3)))) == 222


def test_set_1_as_written_in_the_document() -> None:
    specs = preset("lr-ordering").specs
    assert {(s.momentum, s.weight_decay, s.method) for s in specs} == {
        (0, 0, "SGD"),
        (0, 5e-4, "SGD+WD"),
        (0.9, 5e-4, "SGDM+WD"),
    }
    assert {s.lr for s in specs} == {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.0}
    assert {(s.batch_size, s.epochs, s.model, s.dataset) for s in specs} == {(128, 100, "resnet18", "cifar100")}


def test_set_2_as_written_in_the_document() -> None:
    specs = preset("eta-lambda").specs
    assert {s.lr for s in specs} == {0.01, 0.05, 0.1, 0.2, 0.3}
    assert {s.weight_decay for s in specs} == {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2}
    assert {(s.momentum, s.batch_size) for s in specs} == {(0.9, 128)}


def test_set_3_as_written_in_the_document() -> None:
    specs = preset("batch-scaling").specs
    assert {(s.batch_size, s.lr) for s in specs} == {(64, 0.05), (128, 0.1), (256, 0.2), (512, 0.4)}
    assert {s.weight_decay for s in specs} == {1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3}


@pytest.mark.parametrize("name", PRESETS)
def test_files_of_the_sets_are_the_sets(name: str) -> None:
    assert set(load(STUDIES / f"{name}.toml").specs) == set(preset(name).specs)
    digits = load(STUDIES / f"digits-{name}.toml")
    assert set(digits.specs) == set(PRESETS[name](DIGITS, (42, 43, 44)).specs)


def test_the_digits_sets_share_runs_as_the_documented_ones_do() -> None:
    assert len(distinct(load(STUDIES / f"digits-{name}.toml") for name in PRESETS)) == 3 * 74


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study_file_states_question_claims_cost_and_command(path: Path) -> None:
    study = load(path)
    assert study.name == path.stem
    assert study.question.endswith("?")
    assert study.claims
    assert f"studies/{path.name}" in study.command
    count = re.match(r"(\d+) runs( a seed)?", study.cost)
    assert count is not None
    seeds = len({spec.seed for spec in study.specs})
    assert int(count[1]) == len(study.specs) // (seeds if count[2] else 1)


def test_arms_hold_what_they_name() -> None:
    steps = {-(-50_000 // s.batch_size) * s.epochs for s in load(STUDIES / "batch-step-matched.toml").specs}
    assert max(steps) / min(steps) < 1.01
    assert {s.lr for s in load(STUDIES / "batch-fixed-lr.toml").specs} == {0.1}
    assert len({s.momentum for s in load(STUDIES / "momentum.toml").specs}) == 5
    epochs = sorted({s.epochs for s in load(STUDIES / "duration.toml").specs})
    assert [b / a for a, b in pairwise(epochs)] == [2, 2, 2]


def test_the_schedule_arm_has_equal_peaks_and_equal_sums() -> None:
    from interplay.optim.schedules import all_rates

    specs = [s for s in load(STUDIES / "schedule.toml").specs if s.weight_decay == 5e-4]
    sums = {(s.schedule, s.lr): sum(all_rates(s, 391)) for s in specs}
    assert {schedule for schedule, lr in sums if lr == 0.1} == {"cosine", "constant", "step", "linear"}
    reference = sums["cosine", 0.1]
    equal = {schedule for (schedule, _), total in sums.items() if total == pytest.approx(reference, rel=1e-3)}
    assert equal == {"cosine", "constant", "step", "linear"}


def test_the_recipe_of_the_hypernetworks_halves_the_rate_at_30_60_and_80_per_cent() -> None:
    from interplay.optim.schedules import all_rates

    spec = hypernetwork()
    assert (spec.model, spec.dataset, spec.method, spec.batch_size) == ("hyper_resnet", "cifar10", "Adam+WD", 128)
    assert (spec.lr, spec.weight_decay, spec.epochs, spec.momentum, spec.beta2) == (0.002, 5e-4, 200, 0.9, 0.999)
    assert all_rates(spec, 1) == [0.002] * 60 + [0.001] * 60 + [0.0005] * 40 + [0.00025] * 40
    twin = hypernetwork(model="wide_resnet", epochs=10)
    assert {name for name, value in twin.to_dict().items() if spec.to_dict()[name] != value} == {"model", "epochs"}
    with pytest.raises(SpecError, match="did you mean 'widening'"):
        hypernetwork(widenin=2)


def test_sets_refuse_knobs_that_they_vary() -> None:
    with pytest.raises(SpecError, match=r"lr cannot be set: it is an axis of eta-lambda \(\[0.01"):
        preset("eta-lambda", lr=0.1)
    with pytest.raises(SpecError, match="unknown study 'eta'"):
        preset("eta")


def test_seeds_are_added_setting_by_setting() -> None:
    study = preset("eta-lambda").with_seeds((1, 2))
    assert len(study.specs) == 70
    assert [s.seed for s in study.specs] == [1] * 35 + [2] * 35
    with pytest.raises(SpecError, match="seeds must be different"):
        study.with_seeds((1, 1))
