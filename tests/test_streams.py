"""What a command says, where it says it, and how it ends: any terminal, any stream, any nonsense."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interplay import __version__
from interplay.cli.documented import plot_results, run_experiments
from interplay.cli.main import main
from interplay.cli.state import DoctorFlags
from interplay.errors import InterplayError, SpecError
from interplay.lab.settings import Settings

STUDY = """
name = "tiny"
question = "Läuft λ ∝ 1/η?"
claims = ["inverse.profile"]
[base]
dataset = "digits"
model = "mlp"
epochs = 1
train_limit = 200
[[grid]]
lr = [0.1, 0.3]
"""
INLINE = ["--executor", "inline"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(STUDY, encoding="utf-8")


def ended(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_output_survives_the_encoding_of_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study with Greek letters is planned, run and analysed; characters that are not there become question marks."""
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=encoding) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert main(["study", "tiny.toml", "--dry_run", *INLINE]) == 0
    assert main(["study", "tiny.toml", "--path", "single", *INLINE]) == 0
    assert main(["analyze"]) == 0
    assert main(["status", "tiny.toml"]) == 0
    assert main(["status", "läuft-\udcff.toml"]) == 2
    said = {}
    for name, stream in streams.items():
        stream.flush()
        said[name] = stream.buffer.getvalue().decode(encoding)
    question = "Läuft λ ∝ 1/η?".encode(encoding, "replace").decode(encoding)
    assert question in said["stdout"]
    assert question in said["stderr"]
    (log,) = Path("outputs/logs").iterdir()
    assert "Läuft λ ∝ 1/η?" in log.read_text(encoding="utf-8")


def test_results_go_to_standard_output_and_progress_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "tiny.toml", "--path", "single", *INLINE]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("tiny: 2 runs committed")
    assert "[1/2]" in err
    assert "[1/2]" not in out
    assert main(["run", "--dataset", "digits", "--model", "mlp", "--epochs", "1", "--threads", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("finished: test accuracy")
    assert "epoch 1/1" in err


@pytest.mark.parametrize(
    "words",
    [
        ["study", "tiny.toml", "--dry_run", *INLINE],
        ["study", "tiny.toml", "eta-lambda", "--dry_run", "--dataset", "digits", "--model", "mlp"],
        ["plan", "tiny.toml", "--workers", "3"],
        ["status"],
        ["status", "tiny.toml"],
        ["doctor"],
    ],
)
def test_what_reads_has_json_and_nothing_else_on_standard_output(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    match words[0]:
        case "study":
            assert found["studies"][0]["name"] == "tiny"
            assert found["studies"][0]["missing"] == 2
        case "plan":
            assert [queue["workers"] for queue in found["queues"]] == [1, 3, 6]
        case "status":
            assert found["counts"]["missing"] == (2 if "tiny.toml" in words else None)
        case "doctor":
            assert {check["verdict"] for check in found["checks"]} <= {"ok", "note", "problem"}
    assert main(words) == 0


def test_json_of_a_study_is_for_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "tiny.toml", "--json"]) == 2
    assert "--json is for --dry_run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--output_dir", ""], "--output_dir is empty"),
        (["run", "--output-dir="], "--output_dir is empty"),
        (["run", "--data_dir", " \t"], "--data_dir is empty"),
        (["study", ""], "an argument is empty"),
        (["analyze", "", "--json"], "an argument is empty"),
        (["report", "--output", ""], "--output is empty"),
        (["study", "tiny.toml", "--gpus", ""], "--gpus is empty"),
        (["compare", "x.csv", "--with", ""], "--with is empty"),
    ],
)
def test_an_empty_argument_is_refused_by_name(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert [path.name for path in Path().iterdir()] == ["tiny.toml"]


def test_documented_scripts_refuse_empty_paths_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_experiments(["--experiment", "1", "--output_dir", ""]) == 2
    assert plot_results(["--input", ""]) == 2
    with pytest.raises(SpecError, match="output_dir is empty"):
        Settings(output_dir=" ")


HUGE = str(10**18)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--epochs", HUGE], f"epochs must be at most 1000000, not {HUGE}"),
        (["run", "--lr", "1e400"], "lr must be a finite number, not inf"),
        (["run", "--lr", "nan"], "lr must be a finite number, not nan"),
        (["run", "--threads", HUGE], HUGE),
        (["run", "--lapse_seconds", "nan"], "not nan"),
        (["run", "--checkpoint_seconds", "inf"], "not inf"),
        (["study", "tiny.toml", "--hang_seconds", "-1"], "hang_seconds must be greater than 0, not -1"),
        (["run", "--widening", HUGE, "--model", "wide_resnet"], HUGE),
        (["run", "--dataset", "x\x1b[31m.npz"], "U+001B"),
        (["run", "--dataset", "nowhere.npz"], "cannot read nowhere.npz"),
        (["study", "tiny.toml", "--workers", HUGE], HUGE),
        (["study", "tiny.toml", "--epochs", HUGE], HUGE),
        (["study", "tiny.toml", "--train_limit", HUGE], HUGE),
        (["study", "tiny.toml", "--seeds", "-1"], "not -1"),
        (["study", "tiny.toml", "--stack", HUGE], HUGE),
        (["study", "\x1b[31m.toml"], "cannot read \\x1b[31m.toml"),
        (["plan", "tiny.toml", "--workers", HUGE], HUGE),
        (["plan", "tiny.toml", "--per_gpu", HUGE], HUGE),
        (["analyze", "nowhere"], "nowhere"),
        (["status", "--output_dir", "tiny.toml"], "tiny.toml"),
        (["predict", "--lr", "inf"], "not inf"),
        (["verify", "--studies", HUGE], HUGE),
        (["verify", "--studies", "0"], "not 0"),
        (["report", "--interval", "nan", "--watch"], "not nan"),
        (["study", "nowhere.toml"], "cannot read nowhere.toml"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_the_impossible_is_exit_code_2_with_what_was_asked_for_and_starts_nothing(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.process_time()
    assert ended(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in err
    assert not out
    assert time.process_time() - began < 10  # what was asked for would take days, and all memory
    assert [path.name for path in Path().iterdir()] == ["tiny.toml"]


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (MemoryError(), "error: there is not enough memory", 1),
        (RecursionError("maximum"), "error: the input is nested too deeply", 2),
        (OverflowError("int too large"), "error: OverflowError: int too large (test_streams.py, line ", 1),
        (AttributeError("no 'x'\nat all"), "error: AttributeError: no 'x' at all (", 1),
        (FileNotFoundError(2, "No such file", "x.csv"), "error: x.csv: No such file", 2),
        (OSError(28, "No space left on device", "x.csv"), "error: x.csv: No space left on device", 1),
        (SpecError("a\x1b[31m\u202eb"), "error: a\\x1b[31m\\u202eb", 2),
        (InterplayError("it failed"), "error: it failed", 1),
        (KeyboardInterrupt(), "interrupted", 130),
    ],
)
def test_every_error_is_a_line_with_its_exit_code(
    error: BaseException,
    words: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(self: object) -> int:
        raise error

    monkeypatch.setattr(DoctorFlags, "call", call)
    assert main(["doctor"]) == code
    err = capsys.readouterr().err
    assert err.startswith(words)
    assert err.count("\n") == 1


def test_a_termination_is_130_and_is_not_called_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(self: object) -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(DoctorFlags, "call", call)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_module_the_version_and_the_bare_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"interplay {__version__}\n"
    assert ended([]) == 0
    assert "usage: interplay" in capsys.readouterr().out
    done = subprocess.run([sys.executable, "-m", "interplay", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"interplay {__version__}\n")
