"""``[trainer]`` of study files, and studies of functions: what they ask for, and what they refuse."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from interplay.errors import SpecError
from interplay.study import functions
from interplay.study.files import load
from interplay.study.study import Study
from interplay.study.trainer import filled, split
from interplay.trial import Trial, trials

COMMAND = 'command = "python train.py --lr {lr} --alpha {alpha} --seed {seed} --out {run_dir}"'


def study(folder: Path, trainer: str = COMMAND, grid: str = "lr = [0.1, 0.2]\nalpha = 1", top: str = "") -> Study:
    file = folder / "study.toml"
    file.write_text(f"{top}\n[trainer]\n{trainer}\n[[grid]]\n{grid}\n")
    return load(file)


def test_a_grid_of_knobs_of_any_name_and_kind(tmp_path: Path) -> None:
    command = 'command = "t --lr {lr} {act} --deep={deep} {wd} {seed}"'
    grid = 'lr = [0.1, 1]\nact = ["relu", "tanh"]\ndeep = true\nderived = { wd = "0.5 * lr" }'
    found = study(tmp_path, command, grid, "seeds = [1, 2]")
    assert [(s.seed, *s.knobs.values()) for s in trials(found.specs)][:3] == [
        (1, 0.1, "relu", True, 0.05),
        (1, 0.1, "tanh", True, 0.05),
        (1, 1, "relu", True, 0.5),
    ]
    assert len(found.specs) == 8
    assert found.specs[0].weight_decay == 0.05


def test_lists_that_move_together(tmp_path: Path) -> None:
    found = study(tmp_path, grid="zip = { lr = [0.1, 0.2], alpha = [1, 2] }")
    assert [dict(s.knobs) for s in trials(found.specs)] == [{"lr": 0.1, "alpha": 1}, {"lr": 0.2, "alpha": 2}]


def test_it_runs_in_the_folder_of_the_study_file_or_in_cwd(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    assert trials(study(tmp_path).specs)[0].options.folder == str(tmp_path)
    elsewhere = study(tmp_path, f'{COMMAND}\ncwd = "code"\ntimeout = "1h30m"\nretries = 2\nmetric = "f1"\nlower = true')
    options = trials(elsewhere.specs)[0].options
    assert (options.folder, options.timeout, options.retries) == (str(tmp_path / "code"), 5400.0, 2)
    assert elsewhere.specs == study(tmp_path).specs  # none of it is part of a run's identity


@pytest.mark.parametrize(
    ("trainer", "grid", "words"),
    [
        (COMMAND, "lr = 1\nalhpa = 1", "does not use the knob 'alhpa'; did you mean 'alpha'"),
        (
            'command = "train {lrr}"',
            "lr = 1",
            "does not use the knob 'lr'; did you mean 'lrr'? allowed: lrr; "
            "{lrr} is no knob of this study: spell both alike",
        ),
        (COMMAND, "lr = 1", "has {alpha}, which is no knob of this study"),
        (f"{COMMAND}\nmetrix = 'a'", "lr = 1\nalpha = 1", "unknown key 'metrix'; did you mean 'metric'"),
        ('command = ""', "lr = 1", "command must be a text"),
        ('command = "train {lr} && rm {run_dir}"', "lr = 1", "is for a shell, and none is used"),
        ('command = "train \'{lr}"', "lr = 1", "cannot be split"),
        ('command = "train {} {lr}"', "lr = 1", "an empty placeholder"),
        ('command = "train {lr * }"', "lr = 1", "{lr *} is neither a name nor a formula"),
        ('command = "train {batch size}"', "'batch size' = 1", "{batch size} is neither a name nor a formula"),
        ('command = "train {lr * bs}"', "lr = 1", "{bs}, which is no knob of this study"),
        (
            'command = "train {lr-1}"',
            "lr = 1",
            "{lr-1} is no knob of this study: write spaces around a minus: {lr - 1}",
        ),
        ('command = "train {lr * bs}"', "lr = 1\nbs = 'all'", "bs is 'all', not a number"),
        ('command = "train {lr / bs}"', "lr = 1\nbs = 0", "division by zero"),
        (f'{COMMAND}\nmetrics = "../m.jsonl"', "lr = 1\nalpha = 1", "metrics must be a file within run_dir"),
        (f'{COMMAND}\ntimeout = "soon"', "lr = 1\nalpha = 1", "timeout must be a duration"),
        (f"{COMMAND}\nretries = -1", "lr = 1\nalpha = 1", "retries must be a whole number"),
        (f"{COMMAND}\npattern = 'acc ('", "lr = 1\nalpha = 1", "is no regular expression: "),
        (f"{COMMAND}\npattern = ['acc (.*)']", "lr = 1\nalpha = 1", "names no measurement"),
        (f"{COMMAND}\npattern = 3", "lr = 1\nalpha = 1", "pattern must be a text"),
        (f"{COMMAND}\nlower = true", "lr = 1\nalpha = 1", "lower needs metric"),
        (f'{COMMAND}\ncwd = "nowhere"', "lr = 1\nalpha = 1", "is no folder"),
        (f"{COMMAND}\nenvironment = {{ A = 1 }}", "lr = 1\nalpha = 1", "environment must be a table of texts"),
        (COMMAND, "lr = 1\nalpha = 1\nrun_dir = 'x'", "no knob can be called 'run_dir'"),
    ],
)
def test_what_would_be_passed_over_is_refused(tmp_path: Path, trainer: str, grid: str, words: str) -> None:
    with pytest.raises(SpecError) as error:
        study(tmp_path, trainer, grid)
    assert words in str(error.value)
    assert str(error.value).startswith(str(tmp_path))


def test_seeds_that_the_command_has_no_use_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="would all be the same"):
        study(tmp_path, 'command = "t {lr}"', "lr = 1", "seeds = [1, 2]")
    assert study(tmp_path, 'command = "t {lr}"\nenvironment = { SEED = "{seed}" }', "lr = 1", "seeds = [1, 2]")
    assert study(tmp_path, 'command = "t --config {spec}"', "lr = 1\nany = 2", "seeds = [1, 2]")


def test_a_flag_may_be_a_formula_of_knobs(tmp_path: Path) -> None:
    found = study(
        tmp_path,
        'command = "t { lr } {wd * batch_size} {round(lr * 10) + seed} {1 - lr}"',
        "lr = 1\nwd = [0.5, 1]\nbatch_size = 20",
    )
    assert [trial.knobs for trial in found.specs] == [{"lr": 1, "wd": wd, "batch_size": 20} for wd in (0.5, 1)]
    values = {"lr": 1, "wd": 0.5, "batch_size": 20, "seed": 3, "name": "a"}
    template = "t --alpha={wd * batch_size} {round(lr * 10) + seed} '{{lr * 2}}' {1 - wd} { name }"
    assert [filled(each, values) for each in split(template)] == ["t", "--alpha=10.0", "13", "{lr * 2}", "0.5", "a"]


def test_a_value_stays_one_argument_whatever_it_holds() -> None:
    template = 'train --name "{name}" --x={x} {{literal}}'
    values = {"name": 'a "b" c; rm -rf /', "x": "$(ls)"}
    assert [filled(each, values) for each in split(template)] == [
        "train",
        "--name",
        'a "b" c; rm -rf /',
        "--x=$(ls)",
        "{literal}",
    ]


def test_claims_may_speak_of_knobs_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        f'[trainer]\n{COMMAND}\n[[grid]]\nlr = [0.1, 0.2]\nalpha = [1, 2]\n[[claim]]\nproduct = ["lr", "alpha"]\n'
    )
    assert load(file).own_claims()[0].product == ("lr", "alpha")


def test_a_knob_can_be_set_but_not_an_axis(tmp_path: Path) -> None:
    found = study(tmp_path)
    assert {s.knobs["alpha"] for s in trials(found.overridden(alpha=3).specs)} == {3}
    with pytest.raises(SpecError, match="lr cannot be set"):
        found.overridden(lr=3)
    with pytest.raises(SpecError, match="does not use the knob"):
        found.overridden(nothing=3)


def test_further_cells_are_asked_for_by_standard_names(tmp_path: Path) -> None:
    command = 'command = "t {learning_rate} {alpha} {seed}"'
    found = study(tmp_path, command, "learning_rate = [0.1, 0.2]\nalpha = 1", "seeds = [1, 2]")
    more = trials(found.further([{"lr": 0.3, "alpha": 1.0, "momentum": 0.9}], seeds=1))
    assert [(dict(s.knobs), s.seed) for s in more] == [({"learning_rate": 0.3, "alpha": 1}, n) for n in (1, 2, 3)]
    again = trials(found.further([{"lr": 0.1}], seeds=1))
    assert [(s.knobs["learning_rate"], s.seed) for s in again] == [(0.1, 3)]


# -- functions --------------------------------------------------------------------------------------------------------


def train(lr: float, alpha: float = 1.0, seed: int = 0, run_dir: Path | None = None) -> dict[str, float]:
    return {"accuracy": lr * alpha}


def train_any(**knobs: Any) -> Iterator[dict[str, float]]:
    yield {"loss": 1.0}


def test_a_study_of_a_function() -> None:
    found = Study(train=train, grid={"lr": [0.1, 0.2]}, base={"alpha": 2}, seeds=[1, 2], metric="accuracy")
    assert found.name == "train"
    assert [(s.knobs["lr"], s.seed) for s in trials(found.specs)] == [(0.1, 1), (0.2, 1), (0.1, 2), (0.2, 2)]
    trial = trials(found.specs)[0]
    assert trial.trainer.name == f"{__name__}:train"
    assert trial.trainer.version.startswith("source ")
    assert trial.options.pickled is None
    assert functions.found(trial.trainer.name, trial.options) is train
    declared = Study(train=train, grid={"lr": [0.1, 0.2]}, version="2")
    assert trials(declared.specs)[0].trainer.version == "2"


def test_knobs_that_a_function_does_not_take_are_refused() -> None:
    with pytest.raises(SpecError, match="does not use the knob 'alhpa'; did you mean 'alpha'"):
        Study(train=train, grid={"lr": [0.1], "alhpa": 1})
    with pytest.raises(SpecError, match="has lr, which is no knob"):
        Study(train=train, grid={"alpha": 1})
    with pytest.raises(SpecError, match="does not use an argument seed"):
        Study(train=train_any, grid={"x": 1}, seeds=[1, 2])
    with pytest.raises(SpecError, match="did you mean 'metric'"):
        Study(train=train, grid={"lr": 1}, metrik="a")
    with pytest.raises(SpecError, match="are for a function"):
        Study("s", specs=Study(train=train, grid={"lr": 1}).specs, seeds=[1])
    assert Study(train=train_any, grid={"anything": [1, 2]}).specs


def test_a_function_of_this_function_travels_by_cloudpickle() -> None:
    pytest.importorskip("cloudpickle")
    factor = 3

    def inner(lr: float) -> dict[str, float]:
        return {"accuracy": lr * factor}

    (spec,) = Study(train=inner, grid={"lr": 2}).specs
    assert isinstance(spec, Trial)
    assert not functions.is_here_only(spec)
    script = (
        "import pickle, sys; from interplay.study import functions\n"
        "spec = pickle.load(sys.stdin.buffer); print(functions.found(spec.trainer.name, spec.options)(lr=2))"
    )
    done = subprocess.run([sys.executable, "-c", script], input=pickle.dumps(spec), capture_output=True, check=True)
    assert done.stdout.strip() == b"{'accuracy': 6}"


def test_without_cloudpickle_it_stays_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_cloudpickle", lambda: None)

    def inner(lr: float) -> dict[str, float]:
        return {"accuracy": lr}

    (spec,) = Study(train=inner, grid={"lr": 2}).specs
    assert isinstance(spec, Trial)
    assert functions.is_here_only(spec)
    assert functions.found(spec.trainer.name, spec.options) is inner


def test_changed_source_makes_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    ids = []
    for number, body in enumerate(("1.0", "2.0")):
        # A name that no other test imports: modules outlive a test.
        name = f"changed_source_{number}"
        (tmp_path / f"{name}.py").write_text(f"def train(lr):\n    return {{'accuracy': {body}}}\n")
        module = importlib.import_module(name)
        ids.append(trials(Study(train=module.train, grid={"lr": 1}).specs)[0].trainer.version)
    assert len(set(ids)) == 2
