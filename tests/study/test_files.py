from __future__ import annotations

from pathlib import Path

import pytest

from interplay.errors import SpecError
from interplay.study.files import claims_of, load

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
name = "mine"
question = "Which?"
claims = ["inverse.profile"]
seeds = [1, 2]
[base]
dataset = "digits"
model = "mlp"
[[grid]]
lr = [0.1, 0.2]
weight_decay = [1e-4, 1e-3]
[[grid]]
lr = [0.1, 0.4]
weight_decay = 1e-4
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["digits-arms", "studies/digits-arms.toml"])
def test_studies_of_the_project_are_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(name).specs == load(ROOT / "studies" / "digits-arms.toml").specs
    assert claims_of(name) == load(name).claims
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "digits-arms.toml").write_text('name = "mine"\n[[grid]]\nlr = 0.1\n')
    assert load("studies/digits-arms.toml").name == "mine"  # a file of one's own goes first
    with pytest.raises(SpecError, match="did you mean 'digits-arms'"):
        load("digits-arsm")


def test_grids_add_up_and_a_run_named_twice_is_one(tmp_path: Path) -> None:
    study = load(written(tmp_path, GOOD))
    assert len(study.specs) == 2 * (4 + 2 - 1)
    assert (study.name, study.question, study.claims) == ("mine", "Which?", ("inverse.profile",))
    assert study.command == f"interplay study {tmp_path / 'mine.toml'}"


def test_enlarging_a_file_keeps_the_runs_it_had(tmp_path: Path) -> None:
    before = {s.run_id for s in load(written(tmp_path, GOOD)).specs}
    after = {s.run_id for s in load(written(tmp_path, GOOD.replace("[0.1, 0.2]", "[0.1, 0.2, 0.3]"))).specs}
    assert before < after
    assert len(after - before) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[base]", "[bases]", "unknown key 'bases'; did you mean 'base'"),
        ("seeds", "seed", "unknown key 'seed'; did you mean 'seeds'"),
        ('model = "mlp"', 'modle = "mlp"', "grid 1: unknown key 'modle'; did you mean 'model'"),
        ("lr = [0.1, 0.4]", "lrr = [0.1, 0.4]", "grid 2: unknown key 'lrr'"),
        ('model = "mlp"', 'model = "mpl"', "unknown model 'mpl'; did you mean 'mlp'"),
        ("[[grid]]\nlr = [0.1, 0.2]", "[grid]\nlr = [0.1, 0.2]", r"mine\.toml: "),
        ("1e-3]", "1e-3", r"mine\.toml: .*line 12"),
        ("lr = [0.1, 0.4]", 'lr = "0.1"', "lr must be a finite number, not '0.1'"),
    ],
)
def test_faulty_files_are_refused_naming_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(SpecError, match=message):
        load(written(tmp_path, GOOD.replace(old, new, 1)))


def test_absent_files_and_unknown_names() -> None:
    with pytest.raises(SpecError, match=r"cannot read none\.toml"):
        load("none.toml")
    with pytest.raises(SpecError, match="did you mean 'eta-lambda'"):
        load("eta-lamda")
