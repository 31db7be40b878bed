"""What strangers write into study files: refused at once, in a line, or harmless."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interplay.errors import SpecError
from interplay.executors.slurm.executor import _parameters
from interplay.lab.console import log_path
from interplay.spec import RunSpec
from interplay.store.manifest import Manifest
from interplay.study.claims import CLAIMS, PROGRAMME
from interplay.study.files import load, parse
from interplay.study.grid import evaluate
from interplay.study.presets import preset
from interplay.study.slurm import SlurmOptions
from interplay.study.study import Study
from interplay.text import file_name

BASE = {"dataset": "digits", "model": "mlp", "epochs": 2}
STUDIES = Path(__file__).resolve().parents[2] / "studies"


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


def refused(make: Callable[[], object]) -> str:
    """The one line that it is refused with."""
    with pytest.raises(SpecError) as error:
        make()
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 700
    assert text.isprintable()
    return text


# -- names and texts --------------------------------------------------------------------------------------------------

HARMFUL = [
    "a\nb",
    "a\rb",
    "\x1b[31mred",
    "a\0b",
    "a\tb",
    "a\x9bb",
    "a\u202eb",
    "a\u2066b",
    "a\u2028b",
    "\ufeffa",
    "\ud800",
]


@pytest.mark.parametrize("text", HARMFUL)
def test_a_text_that_steers_a_terminal_or_ends_a_line_is_refused_wherever_it_stands(text: str) -> None:
    named: Any
    for named in (
        {"name": text},
        {"base": {**BASE, "dataset": f"{text}.npz"}},
        {"slurm": {"partition": text}},
        {"slurm": {"setup": [text]}},
        {"slurm": {"sbatch": [f"--qos={text}"]}},
        {"slurm": {"time": text}},
        {"claims": [text]},
        {"experiment": text},
    ):
        refused(lambda named=named: parse({"base": BASE, **named}, Path("x.toml")))
    if "\n" not in text:  # several lines of a question are joined
        for key in ("question", "cost", "command"):
            refused(lambda key=key: parse({"base": BASE, key: text}, Path("x.toml")))
    refused(lambda: Study(text, "?", (), "", "", (RunSpec(),)))


@pytest.mark.parametrize("name", ["", "   ", "n" * 101, "n" * 236, 5, None, True, ["x"]])
def test_a_name_is_a_text_of_at_most_100_characters(name: Any) -> None:
    said = refused(lambda: parse({"base": BASE, "name": name}, Path("x.toml")))
    assert not isinstance(name, str) or not name.strip() or f"has {len(name)} characters; at most 100" in said


@pytest.mark.parametrize(
    "name",
    [
        "../../evil",
        "a/b: c",
        "..\\..\\x",
        "/etc/x",
        "~/x",
        "..",
        ".",
        ".hidden",
        "-rf",
        "NUL",
        "con.txt",
        "λ 研究",
        "x" * 100,
        "a; rm -rf ~",
        "$(x)",
        "`x`",
        "a'b\"c",
        "%n%s",
    ],
)
def test_files_and_jobs_have_a_cleaned_name(name: str, tmp_path: Path) -> None:
    study = parse({"base": BASE, "name": name}, Path("x.toml"))
    assert study.name == name
    log = log_path(tmp_path, study)
    manifest = Manifest(study.name, study.specs).write(tmp_path)
    job = _parameters(SlurmOptions(), study.name, 1)["job_name"]
    assert log.resolve().parent == tmp_path.resolve() / "logs"
    assert manifest.resolve().parent == tmp_path.resolve() / "studies"
    for found in (log.name, manifest.name, job):
        assert len(found) < 200
        assert set(found) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
        assert found[0] not in "-."
    assert file_name(name).split(".")[0].lower() not in ("nul", "con")
    log.parent.mkdir()
    log.touch()


def test_a_question_over_several_lines_is_one_line() -> None:
    study = parse({"base": BASE, "question": "Does it\n  work?\n"}, Path("x.toml"))
    assert study.question == "Does it work?"
    assert "\n".join(study.header().splitlines()[:1]) == "x: Does it work?"


# -- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_is_one_that_the_analysis_knows() -> None:
    assert len(set(CLAIMS)) == len(PROGRAMME) == len({claim.question for claim in PROGRAMME})
    said = refused(lambda: parse({"base": BASE, "claims": ["inverse.profil"]}, Path("x.toml")))
    assert "x.toml: unknown claim 'inverse.profil'; did you mean 'inverse.profile'?" in said
    assert "did you mean 'batch.fixed_lr'" in refused(lambda: Study("s", "?", ("batch.fixed",), "", "", (RunSpec(),)))
    for claims in ("inverse.profile", 5, [5], [["inverse.profile"]], {"a": 1}):
        refused(lambda claims=claims: parse({"base": BASE, "claims": claims}, Path("x.toml")))


# -- sizes ------------------------------------------------------------------------------------------------------------


def test_more_runs_than_a_study_may_have_are_counted_and_not_made() -> None:
    axes = {"lr": [0.1] * 1000, "weight_decay": [0.1] * 1000, "momentum": [0.5] * 1000}
    assert "asks for 1000000000 runs" in refused(lambda: parse({"base": BASE, "grid": [axes]}, Path("x.toml")))
    pairs = {"zip": [{"lr": [0.1] * 1000}, {"momentum": [0.5] * 1000}]}
    assert "asks for 1000000 runs" in refused(lambda: parse({"base": BASE, "grid": [pairs]}, Path("x.toml")))
    study = parse({"base": BASE}, Path("x.toml"))
    for seeds in (range(10**9), range(10**30), range(10**9, 0, -1)):
        assert "seeds asks for 10" in refused(lambda seeds=seeds: study.with_seeds(seeds))
    assert study.with_seeds(range(3)).seeds == (0, 1, 2)
    for wrong in ([], [1, 1], [True], [1.5], [-1], [[1]], ["a"], "12", 5, [10**30], [float("nan")]):
        refused(lambda wrong=wrong: parse({"base": BASE, "seeds": wrong}, Path("x.toml")))


@pytest.mark.parametrize(
    "formula",
    [
        "9**9**9",
        "10**400",
        "9.0**9**9",
        "2**99",
        "9" * 400,
        "1" * 5000,
        "(" * 230 + "1" + ")" * 230,
        "1e308*10",
        "[0]*10**9",
        "'a'*10**9",
        "round(7, -10**9)",
        "(-1)**0.5",
        "0**-1",
        "max()",
        "lr.real",
        "__import__('os')",
        "1if 1 else 2",
        "\x00",
        "1;2",
        "lr[0]",
        "nan",
        "1e999",
        "True",
        "",
        "~1",
        "lr := 2",
        "factorial(99999)",
        5,
        None,
        ["1"],
    ],
)
def test_a_formula_is_small_arithmetic(formula: Any) -> None:
    said = refused(lambda: evaluate(formula, {"lr": 0.1}))
    assert str(formula)[:10].isprintable() is False or str(formula)[:10] in said
    refused(lambda: parse({"base": BASE, "grid": [{"derived": {"lr": formula}}]}, Path("x.toml")))


@pytest.mark.parametrize("knob", ["epochs", "batch_size", "widening", "val_split", "warmup_epochs"])
def test_whole_numbers_have_bounds_and_the_error_has_the_number(knob: str) -> None:
    for value in (10**18, 10**400, 15**20000, 1e300, -1, float("nan"), float("inf"), True, "2", {"a": 2}, None):
        base = {**BASE, "model": "wide_resnet", knob: value}
        said = refused(lambda base=base: parse({"base": base}, Path("x.toml")))
        assert knob in said
        if value == 10**18:
            assert str(value) in said


@pytest.mark.parametrize("knob", ["lr", "weight_decay", "momentum", "label_noise"])
def test_numbers_are_finite(knob: str) -> None:
    for value in (10**400, 15**20000, float("nan"), float("inf"), True, "0.1", None, {"a": 1}):
        base = {**BASE, knob: value}
        assert f"{knob} must be a finite number" in refused(lambda base=base: parse({"base": base}, Path("x.toml")))


def test_no_value_of_any_shape_is_more_than_a_line() -> None:
    deep = nested(100_000)
    for key in ("name", "question", "claims", "seeds", "base", "grid", "slurm", "experiment", "cost"):
        for value in (deep, [deep], {"lr": deep}, 5.5):
            refused(lambda key=key, value=value: parse({key: value}, Path("x.toml")))
    for knob in RunSpec.__dataclass_fields__:
        for value in (deep, {"a": [1]}, b"x", "\x1b" * 9):
            refused(lambda knob=knob, value=value: parse({"base": {**BASE, knob: value}}, Path("x.toml")))
    for option in SlurmOptions.__dataclass_fields__:
        for value in (deep, {"a": [1]}, -1, True, 10**18, 0.5, [5]):
            refused(lambda option=option, value=value: parse({"base": BASE, "slurm": {option: value}}, Path("x.toml")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x = " + b"[" * 100_000, "nested too deeply"),
        (b"x = " + b"{a=" * 5_000 + b"1" + b"}" * 5_000, "nested too deeply"),
        (b"[base]\nlr" + b".a" * 100_000 + b" = 1\n", "nested too deeply"),
        (b"#" * (2**20 + 1), "has 1048577 bytes; a study file has at most 1048576"),
        (b"seeds = [" + b"9" * 5000 + b"]", "4300 digits"),
        (b"name = 'L\xe4uft'", "utf-8"),
        ("name = 'x'".encode("utf-16"), "utf-8"),
        (b"name = '\0'", "character"),
    ],
)
def test_a_file_that_is_no_study_is_refused_naming_it(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    said = refused(lambda: load(path))
    assert str(path) in said
    assert message in said


def test_a_byte_order_mark_is_passed_over_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfname = 'x'\n")
    assert load(path).name == "x"
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zero"):
        assert "not a file" in refused(lambda name=name: load(tmp_path / f"{name}.toml"))
    for name in ("", "  ", "x\0.toml", "n" * 5000 + ".toml"):
        with pytest.raises(SpecError):
            load(name)


# -- overrides --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "knob", "words"),
    [
        ("batch-step-matched", "epochs", "it is derived in .*grid 1, as 'round"),
        ("batch-step-matched", "lr", "it is derived"),
        ("duration", "epochs", r"it is an axis of .*grid 1 \(\[25, 50, 100, 200\]\)"),
        ("digits-arms", "epochs", "it is an axis of .*grid 2, in a zip"),
        ("cifar100-memorised-arms", "epochs", "it is an axis"),
        ("momentum", "momentum", "it is an axis"),
        ("batch-scaling", "batch_size", "it is an axis"),
    ],
)
def test_a_knob_that_a_study_varies_is_not_overridden(name: str, knob: str, words: str) -> None:
    with pytest.raises(SpecError, match=f"{knob} cannot be set: {words}"):
        load(STUDIES / f"{name}.toml").overridden(**{knob: 2})
    if name == "batch-scaling":
        with pytest.raises(SpecError, match="batch_size cannot be set: it is an axis"):
            preset(name).overridden(batch_size=2)


def test_a_knob_that_each_grid_sets_to_a_value_of_its_own_is_an_axis_too() -> None:
    grids = [{"optimizer": name, "epochs": epochs} for name, epochs in (("sgd", 2), ("sgds", 4))]
    study = parse({"base": BASE, "grid": grids}, Path("x.toml"))
    assert "optimizer cannot be set: it is an axis" in refused(lambda: study.overridden(optimizer="sgds"))
    assert "epochs cannot be set: it is an axis of study 'x' ([2, 4])" in refused(lambda: study.overridden(epochs=3))
    longer = study.overridden(lr=0.3).with_seeds([1, 2])
    assert "optimizer cannot be set" in refused(lambda: longer.overridden(optimizer="adam"))
    assert {spec.optimizer for spec in longer.specs} == {"sgd", "sgds"}
    beside = load(STUDIES / "batch-scaling-stable.toml")
    assert "optimizer cannot be set: it is an axis" in refused(lambda: beside.overridden(optimizer="sgd"))


def test_overrides_apply_before_formulas() -> None:
    content = {"base": BASE, "grid": [{"momentum": 0.5, "derived": {"lr": "0.1 * epochs"}, "zip": [{"seed": [1, 2]}]}]}
    study = parse(content, Path("x.toml"))
    assert {spec.lr for spec in study.specs} == {0.2}
    longer = study.overridden(epochs=5)
    assert {(spec.epochs, spec.lr) for spec in longer.specs} == {(5, 0.5)}
    both = longer.overridden(momentum=0.0)  # the first one holds
    assert {(spec.epochs, spec.momentum) for spec in both.specs} == {(5, 0.0)}
    assert both.with_seeds([7]).overridden(epochs=6).seeds == (7,)
    schedule = load(STUDIES / "schedule.toml")
    rates = {spec.lr for spec in schedule.overridden(epochs=50).specs}
    assert any(rate == pytest.approx(0.1 * 51 / 100) for rate in rates)
    assert "did you mean 'epochs'" in refused(lambda: study.overridden(epoch=5))


def test_a_study_put_together_in_python_is_not_overridden_where_it_varies() -> None:
    study = Study("s", "?", (), "", "", tuple(RunSpec(epochs=epochs) for epochs in (1, 2)))
    assert "epochs cannot be set: it is an axis of study 's' ([1, 2])" in refused(lambda: study.overridden(epochs=3))
    assert {spec.lr for spec in study.overridden(lr=0.3).specs} == {0.3}


def test_seeds_that_go_with_other_knobs_are_not_replaced() -> None:
    grid = {"zip": [{"seed": [1, 2], "lr": [0.1, 0.2]}]}
    study = parse({"base": BASE, "grid": [grid]}, Path("x.toml"))
    assert "seed is an axis there" in refused(lambda: study.with_seeds([5, 6]))
    assert "seed is set twice" in refused(lambda: parse({"base": BASE, "grid": [grid], "seeds": [1]}, Path("x.toml")))


def test_the_200_epoch_versions_keep_what_their_arm_keeps() -> None:
    matched = load(STUDIES / "batch-step-matched-wide.toml")
    assert {spec.epochs for spec in matched.specs if spec.batch_size == 128} == {200}
    steps = {spec.epochs * -(-50_000 // spec.batch_size) for spec in matched.specs}
    assert max(steps) / min(steps) < 1.01
    assert sorted({spec.epochs for spec in load(STUDIES / "duration-wide.toml").specs}) == [50, 100, 200, 400]
