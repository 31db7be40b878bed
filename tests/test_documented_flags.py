"""Flags of the documented scripts: what they ask for reaches every run of every set."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from interplay.cli import documented
from interplay.cli.documented import AllExperimentsFlags, ExperimentFlags, run_all_experiments, run_experiments
from interplay.lab import drawing, overview, run
from interplay.spec import RunSpec
from interplay.study.study import Study


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """Studies that would be run."""
    found: list[Study] = []
    monkeypatch.setattr(run, "run_study", lambda study, settings, **words: found.append(study))
    monkeypatch.setattr(run, "run_studies", lambda studies, settings, **words: found.extend(studies))
    monkeypatch.setattr(overview, "overview", lambda studies, settings: "")
    monkeypatch.setattr(drawing, "plot", lambda *words: {})
    return found


def runs(studies: list[Study]) -> set[RunSpec]:
    return {spec for study in studies for spec in study.specs}


@pytest.mark.parametrize("words", [["--no_use_amp"], ["--use_amp", "false"], ["--use_amp=False"], ["--no-use-amp"]])
def test_mixed_precision_can_be_turned_off_for_sets(words: list[str], asked: list[Study], tmp_path: Path) -> None:
    assert run_experiments(["--experiment", "3", *words]) == 0
    assert len(runs(asked)) == 24
    assert run_all_experiments([*words, "--output_dir", str(tmp_path)]) == 0
    assert len(runs(asked)) == 74
    assert {spec.precision for spec in runs(asked)} == {"fp32"}


@pytest.mark.parametrize("words", [[], ["--use_amp"], ["--use_amp", "true"]])
def test_mixed_precision_is_on_by_default(words: list[str], asked: list[Study]) -> None:
    assert run_experiments(["--experiment", "1", *words]) == 0
    assert {spec.precision for spec in runs(asked)} == {"bf16"}


def test_a_set_can_be_run_with_stable_weight_decay(asked: list[Study]) -> None:
    assert run_experiments(["--experiment", "3", "--optimizer", "sgds"]) == 0
    assert {spec.optimizer for spec in runs(asked)} == {"sgds"}
    assert len(runs(asked)) == 24


def test_sets_side_by_side_get_every_flag_that_they_share() -> None:
    """Each flag at another value than its default, so that one that is not passed on is noticed."""
    other = {
        "dataset": "cifar10",
        "model": "resnet20",
        "optimizer": "sgdw",
        "epochs": 7,
        "train_limit": 500,
        "seeds": (1, 2),
        "data_dir": Path("my data"),
        "output_dir": Path("out"),
        "checkpoint_seconds": 1.5,
        "lapse_seconds": 61.0,
        "hang_seconds": 62.0,
        "test_every": 3,
        "tracker": "tensorboard",
        "wandb_project": "p",
        "wandb_entity": "e",
        "per_gpu": 2,
        "path": "single",
        "stack": 4,
        "autotune": "cudnn",
        "executor": "inline",
        "address": "auto",
        "partition": "debug",
        "account": "me",
        "time": "2:00:00",
        "mem": "8G",
        "gpus_per_node": 1,
        "workers_per_gpu": 2,
        "workers_per_node": 3,
        "cpus_per_worker": 4,
        "constraint": "h100",
        "notice_seconds": 60,
        "sbatch": ("--qos=long", "--exclusive"),
        "setup": ("module load cuda",),
    }
    switches = {f.name: not f.default for f in dataclasses.fields(AllExperimentsFlags) if isinstance(f.default, bool)}
    del switches["parallel"]
    flags = AllExperimentsFlags(**other, **switches)  # type: ignore[arg-type]
    untouched = {f.name for f in dataclasses.fields(flags) if getattr(flags, f.name) == f.default}
    assert untouched == {"parallel", "gpus", "workers"}  # each set has its own
    parsed: list[ExperimentFlags] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExperimentFlags, "call", lambda self: parsed.append(self) or 0)
        assert documented.run_experiments(["--experiment", "2", *flags._words(shared=False)]) == 0
    for name in (*other, *switches):
        assert getattr(parsed[0], name) == getattr(flags, name), name
