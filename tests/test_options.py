"""An option is declared once: from there it has its flag, its help, its check, and its way to the worker."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from interplay.cli import options as flags_of
from interplay.cli.documented import AllExperimentsFlags, ExperimentFlags
from interplay.cli.flags import Command, line_of, names_of, parse, words_of
from interplay.cli.main import COMMANDS, command, main
from interplay.cli.options import options_of
from interplay.errors import SpecError
from interplay.executors import registry
from interplay.executors.job import Job
from interplay.executors.options import WorkerOptions
from interplay.lab.settings import Settings
from interplay.options import Where, option

LIKE_STUDY = ("study", "retry")
OPTIONS = [field for field in dataclasses.fields(Settings) if field.name != "slurm"]
OTHER: dict[str, Any] = {
    "data_dir": "d",
    "output_dir": "o",
    "device": "cpu",
    "instruments": ("angle",),
    "gpus": "0-3",
    "wandb_entity": "us",
    "wandb_name": "mine",
    "address": "auto",
    "tracker": "tensorboard",
    "path": "single",
    "autotune": "both",
    "executor": "inline",
    "wandb_project": "p",
}
"""Another value than the default, where the type does not tell one."""


def other(field: dataclasses.Field[Any]) -> Any:
    if field.name in OTHER:
        return OTHER[field.name]
    assert isinstance(field.default, bool | int | float), f"say another value of {field.name} in OTHER"
    return (not field.default) if isinstance(field.default, bool) else field.default + 3


def offered_by(name: str) -> tuple[Where, ...]:
    return ("study",) if name in LIKE_STUDY else (name,)  # type: ignore[return-value]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def help_of(kind: type[Command], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        parse(kind, "x", ["--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def unframed(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("field", OPTIONS, ids=lambda field: field.name)
def test_an_option_says_what_it_is(field: dataclasses.Field[Any]) -> None:
    assert field.metadata["help"]
    assert field.metadata["group"]
    assert set(field.metadata["on"]) <= set(get_args(Where))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_the_options_that_mean_something_there_and_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = command(name)
    text = help_of(kind, capsys)
    own = {
        n
        for base in kind.__mro__
        for n in vars(base).get("__annotations__", {})
        if not base.__name__.endswith("Options")
    }
    for field in OPTIONS:
        is_offered = set(offered_by(name)) & set(field.metadata["on"])
        if is_offered:
            assert f"--{field.name}" in text
            assert field.metadata["help"] in unframed(text)
        elif field.name not in own:
            assert f"--{field.name} " not in text
    assert text.splitlines()[-1] == f"example: {kind.EXAMPLE}"
    assert kind.EXAMPLE.startswith(f"interplay {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_is_understood(name: str) -> None:
    _, _, *words = command(name).EXAMPLE.split()
    assert isinstance(parse(command(name), name, words), command(name))


@pytest.mark.parametrize("kind", [ExperimentFlags, AllExperimentsFlags])
def test_documented_scripts_have_the_options_of_a_study(kind: type[Command]) -> None:
    assert {field.name for field in OPTIONS if "study" in field.metadata["on"]} <= set(names_of(kind).values())


@pytest.mark.parametrize("name", ["run", "study"])
def test_a_flag_becomes_its_setting(name: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = command(name)
    for field in (field for field in OPTIONS if name in field.metadata["on"]):
        words = ["lr-ordering"] if name == "study" else []
        value = other(field)
        if isinstance(value, bool):
            words.append(f"--{field.name}" if value else f"--no_{field.name}")
        else:
            words += [f"--{field.name}", *(value if isinstance(value, tuple) else [str(value)])]
        if field.name in registry.OPTIONS:
            takes = next(each for each, entry in registry.EXECUTORS.items() if field.name in entry.options)
            words += ["--executor", takes]
        found = parse(kind, "x", words)
        settings = found.settings()  # type: ignore[attr-defined]
        said = getattr(settings, field.name)
        assert (str(said) if isinstance(said, Path) else said) == value, field.name


@pytest.mark.parametrize("field", dataclasses.fields(WorkerOptions), ids=lambda field: field.name)
def test_what_concerns_a_worker_arrives_there(field: dataclasses.Field[Any]) -> None:
    settings = Settings(**{field.name: other(field)})
    job = Job.from_dict(settings.job("cuda:1", 2, "a study").to_dict())
    assert (job.device, job.experiment, job.group) == ("cuda:1", 2, "a study")
    if field.name != "device":
        assert getattr(job, field.name) == other(field)
    assert job == settings.job("cuda:1", 2, "a study")


def test_a_new_option_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A field that is added has its flag, its help, its limits and its setting."""

    @dataclass(frozen=True)
    class More(Settings):
        patience: int = option(4, "a new option", group="timing", on=("study",), least=1, most=9)

    monkeypatch.setattr(flags_of, "Settings", More)
    options = options_of.__wrapped__("study")

    @dataclass(kw_only=True)
    class Flags(options):  # type: ignore[misc, valid-type]
        """A command."""

        EXAMPLE = "x --patience 5"

    assert "a new option (default: 4)" in unframed(help_of(Flags, capsys))
    assert parse(Flags, "x", ["--patience", "5"]).settings().patience == 5  # type: ignore[attr-defined]
    with pytest.raises(SpecError, match="patience must be a whole number, at most 9, not 10"):
        parse(Flags, "x", ["--patience", "10"]).settings()  # type: ignore[attr-defined]
    assert "--patience" not in names_of(options_of("run"))


# -- misspelt words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stdy"], "no command 'stdy'; did you mean 'study'?"),
        (["--gpus", "0"], "--gpus comes after a command"),
        (["run", "--weight_dcay", "1"], "interplay run has no --weight_dcay; did you mean --weight_decay?"),
        (["study", "x.toml", "--worker", "2"], "interplay study has no --worker; did you mean --workers?"),
        (["status", "--no-jsn"], "interplay status has no --no_jsn; did you mean --no_json?"),
        (["rebuild", "--gpus", "0"], "interplay rebuild has no --gpus;"),
        (["run", "--model", "resnet19"], "did you mean 'resnet18'?"),
        (["study", "eta-lamda"], "did you mean 'eta-lambda'?"),
    ],
)
def test_the_nearest_is_named(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(SystemExit):
        assert main(words) == 2
    assert message in unframed(capsys.readouterr().err)


# -- the command that goes on -----------------------------------------------------------------------------------------


def lines() -> Iterator[list[str]]:
    yield ["a b.toml"]
    yield ["lr-ordering", "x.toml", "--epochs", "3", "--seeds", "1", "2", "--no_use_amp"]
    yield ["lr-ordering", "--output_dir", "my outputs", "--no_log", "--save_checkpoints", "--workers", "2"]
    yield ["lr-ordering", "--executor", "slurm", "--sbatch=--qos=long", "--sbatch=--exclusive", "--wait"]


@pytest.mark.parametrize("words", list(lines()), ids=" ".join)
def test_the_flags_of_a_command_are_its_words_again(words: list[str]) -> None:
    found = parse(command("study"), "interplay study", words)
    assert parse(command("study"), "interplay study", words_of(found)) == found


def test_the_command_that_a_study_prints_carries_the_flags_that_were_given() -> None:
    kind = command("study")
    words = ["lr-ordering", "--epochs", "3", "--output_dir", "my outputs", "--dry_run"]
    (study,) = parse(kind, "x", words).studies()  # type: ignore[attr-defined]
    assert study.command == "interplay study lr-ordering --output_dir 'my outputs' --epochs 3"
    assert study.command in study.header()
    asked = parse(ExperimentFlags, "x", ["--experiment", "2", "--gpus", "0,1"])
    assert line_of("python run_experiments.py", asked) == "python run_experiments.py --gpus 0,1 --experiment 2"


def test_every_option_is_checked_by_its_type() -> None:
    types = get_type_hints(Settings)
    for field in OPTIONS:
        if types[field.name] in (int, float):
            assert field.metadata["least"] is not None, field.name
            with pytest.raises(SpecError, match=field.name):
                Settings(**{field.name: -1})
            with pytest.raises(SpecError, match=field.name):
                Settings(**{field.name: 10**30})
