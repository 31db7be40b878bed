from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from interplay.cli.main import main
from interplay.cli.run import RunFlags
from interplay.cli.study import StudyFlags
from interplay.errors import SpecError
from interplay.executors.job import Job
from interplay.lab.plan import dry_run
from interplay.lab.run import run_study
from interplay.lab.settings import Settings
from interplay.study.presets import preset
from interplay.trackers.registry import TrackerSettings, require


@pytest.mark.parametrize(
    ("name", "advice"),
    [("wandb", "pip install 'interplay[wandb]'"), ("tensorboard", "pip install 'interplay[tensorboard]'")],
)
def test_an_absent_package_is_named_before_anything_starts(
    name: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)
    for words in (["run", "--dataset", "digits", "--model", "mlp"], ["study", "lr-ordering"]):
        assert main([*words, "--tracker", name]) == 2
        assert advice in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_logs_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(SpecError, match=r"pip install 'interplay\[wandb\]'"):
        require("wandb")


def test_without_wandb_everything_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.chdir(tmp_path)
    assert main("run --dataset digits --model mlp --epochs 1 --threads 1".split()) == 0
    assert not (tmp_path / "outputs" / "wandb").exists()
    assert "Weights & Biases" not in "".join(capsys.readouterr())


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(SpecError, match="did you mean 'wandb'"):
        Settings(tracker="wandbb")  # type: ignore[arg-type]


def test_flags_become_settings_and_no_part_of_a_run() -> None:
    import tyro

    words = "--tracker wandb --wandb_project p --wandb_entity e".split()
    run = tyro.cli(RunFlags, args=[*words, "--wandb_name", "n"], use_underscores=True)
    assert run.settings().tracking() == TrackerSettings("wandb", "p", "e", None, "n")
    assert run.spec() == tyro.cli(RunFlags, args=[], use_underscores=True).spec()
    study = tyro.cli(StudyFlags, args=["lr-ordering", *words], use_underscores=True)
    assert study.settings().tracking("s") == TrackerSettings("wandb", "p", "e", "s")
    assert tyro.cli(RunFlags, args=[], use_underscores=True).settings().tracking() == TrackerSettings()


def test_a_job_keeps_its_tracker_on_the_way_to_another_process() -> None:
    job = Settings(tracker="wandb", wandb_entity="e").job("cpu", group="a study")
    assert job.tracking == TrackerSettings("wandb", "interplay", "e", "a study")
    assert Job.from_dict(job.to_dict()) == job


def test_one_name_is_not_for_the_many_runs_of_a_study(tmp_path: Path) -> None:
    settings = Settings(output_dir=tmp_path, tracker="wandb", wandb_name="mine")
    with pytest.raises(SpecError, match="single run"):
        run_study(preset("lr-ordering"), settings)
    with pytest.raises(SpecError, match="single run"):
        dry_run(preset("lr-ordering"), settings)


def test_sets_side_by_side_are_told_of_the_tracker() -> None:
    from interplay.cli.documented import AllExperimentsFlags

    words = AllExperimentsFlags(tracker="wandb", wandb_project="p", wandb_entity="e")._words(shared=False)
    pairs = set(itertools.pairwise(words))
    assert {("--tracker", "wandb"), ("--wandb_project", "p"), ("--wandb_entity", "e")} <= pairs
    assert "--wandb_entity" not in AllExperimentsFlags()._words(shared=False)
