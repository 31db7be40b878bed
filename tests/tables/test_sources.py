"""Runs of other tools, written by these tools and read by their own libraries."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest

from interplay.analysis.analyze import analyze
from interplay.cli.main import main
from interplay.errors import InputError, SpecError, UnreadableError
from interplay.lab.imports import import_table
from interplay.lab.read import observations
from interplay.tables.mapping import ColumnMap
from interplay.tables.measurements import Parsed
from interplay.tables.read import TextTable, parse
from interplay.tables.sources import load, written

GRID = [(lr, wd) for lr in (0.025, 0.05, 0.1, 0.2, 0.4) for wd in (2.5e-4, 5e-4, 1e-3, 2e-3)]


def accuracy(lr: float, wd: float, seed: int = 0) -> float:
    """Best at a product of 1e-4, with a little noise."""
    noise = 0.002 * math.sin(1000 * lr + 7e5 * wd + 3 * seed)
    return 0.9 - 0.01 * math.log(lr * wd / 1e-4) ** 2 + noise


def rows(table: TextTable, metric: str = "final_test_acc", columns: ColumnMap | None = None) -> list[dict[str, Any]]:
    found = Parsed((columns or ColumnMap()).applied(table)).by(metric)
    return [{**row.knobs, "seed": row.seed, "value": row.metrics[metric]} for row in found.rows]


@pytest.fixture
def optuna() -> Any:
    module = pytest.importorskip("optuna")
    module.logging.set_verbosity(module.logging.ERROR)
    return module


def optimise(optuna: Any, storage: Any, name: str = "sweep", direction: str = "maximize") -> None:
    study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    for lr, wd in GRID:
        study.enqueue_trial({"lr": lr, "weight_decay": wd})

    def objective(trial: Any) -> float:
        lr = trial.suggest_float("lr", 1e-4, 10, log=True)
        wd = trial.suggest_float("weight_decay", 1e-6, 1, log=True)
        trial.set_user_attr("batch_size", 128)
        trial.set_user_attr("seed", 3)
        if trial.number == 5:
            raise optuna.TrialPruned
        return accuracy(lr, wd) if direction == "maximize" else 1 - accuracy(lr, wd)

    study.optimize(objective, n_trials=len(GRID))


@pytest.mark.parametrize("kind", ["url", "file", "journal"])
def test_a_study_of_optuna(optuna: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sweep.db"
    url = f"sqlite:///{path}"
    if kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        optimise(optuna, optuna.storages.JournalStorage(backend))
    else:
        optimise(optuna, url)
    table = load("optuna", url if kind == "url" else str(path))
    found = rows(table)
    assert len(found) == len(GRID) - 1  # the pruned one has no result
    assert {(row["lr"], row["weight_decay"]) for row in found} == set(GRID) - {GRID[5]}
    for row in found:
        assert row["value"] == pytest.approx(100 * accuracy(row["lr"], row["weight_decay"]))
        assert row["batch_size"] == 128
        assert row["seed"] == "3"
    assert any("maximises" in note for note in table.notes)


def test_an_objective_that_is_minimised_is_a_loss(optuna: Any, tmp_path: Path) -> None:
    optimise(optuna, f"sqlite:///{tmp_path / 'a.db'}", direction="minimize")
    found = rows(load("optuna", str(tmp_path / "a.db")), "final_test_loss")
    assert found[0]["value"] == pytest.approx(1 - accuracy(*GRID[0]))


def test_of_several_studies_one_must_be_named(optuna: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    optimise(optuna, url, "one")
    optimise(optuna, url, "two")
    with pytest.raises(InputError, match="one, two: name one with --study"):
        load("optuna", url)
    with pytest.raises(InputError, match="no study 'tow'; did you mean 'two'"):
        load("optuna", url, "tow")
    assert len(rows(load("optuna", url, "two"))) == len(GRID) - 1


def test_an_absent_data_base_is_not_made(optuna: Any, tmp_path: Path) -> None:
    for source in (f"sqlite:///{tmp_path / 'no.db'}", str(tmp_path / "no.db")):
        with pytest.raises(UnreadableError):
            load("optuna", source)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no data base")
    with pytest.raises((UnreadableError, InputError), match=r"text\.db"):
        load("optuna", str(tmp_path / "text.db"))


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["folder", "sqlite"])
def test_an_experiment_of_mlflow(mlflow: Any, tmp_path: Path, kind: str) -> None:
    if kind == "sqlite":
        pytest.importorskip("sqlalchemy")
        pytest.importorskip("alembic")
    source = tmp_path / "mlruns" if kind == "folder" else tmp_path / "mlflow.db"
    uri = source.as_uri() if kind == "folder" else f"sqlite:///{source}"
    client = mlflow.MlflowClient(tracking_uri=uri)
    number = client.create_experiment("sweep", artifact_location=tmp_path.as_uri())
    for index, (lr, wd) in enumerate(GRID):
        run = client.create_run(number, tags={"mlflow.user": "me", "note": "mine"})
        for name, value in (("lr", lr), ("optimizer.weight_decay", wd), ("batch_size", 64), ("seed", 1)):
            client.log_param(run.info.run_id, name, value)
        for epoch in range(2):
            client.log_metric(run.info.run_id, "test_accuracy", accuracy(lr, wd) - 0.1 * (1 - epoch), step=epoch)
        client.set_terminated(run.info.run_id, "FAILED" if index == 3 else "FINISHED")
    table = load("mlflow", str(source))
    assert not any(name.startswith("tags.mlflow") for name in table.header)
    found = rows(table)
    assert {(row["lr"], row["weight_decay"]) for row in found} == set(GRID) - {GRID[3]}
    for row in found:
        assert row["value"] == pytest.approx(100 * accuracy(row["lr"], row["weight_decay"]))
    with pytest.raises(InputError, match="no experiment 'swep'; did you mean 'sweep'"):
        load("mlflow", str(source), "swep")


def test_offline_runs_of_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    for lr, wd in GRID[:2]:
        run = wandb.init(project="p", dir=tmp_path, config={"lr": lr, "batch_size": 128, "optim": {"wd": wd}})
        run.config.update({"text": "x" * 70_000})  # longer than a block of the file
        for epoch in range(3):
            run.log({"val/accuracy": accuracy(lr, wd) - 0.01 * (2 - epoch)})
        run.finish()
    wandb.teardown()  # waits for the process that writes the file: on a busy machine it is behind
    table = load("wandb", str(tmp_path / "wandb"))
    found = rows(table, columns=ColumnMap.parsed(["metric=val/accuracy"], ignored=["config.text"]))
    assert {(row["lr"], row["weight_decay"]) for row in found} == set(GRID[:2])
    assert found[0]["value"] == pytest.approx(100 * accuracy(found[0]["lr"], found[0]["weight_decay"]))


def test_a_run_of_weights_and_biases_that_was_cut_short_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(project="p", dir=tmp_path, config={"lr": 0.1, "batch_size": 128, "wd": 1e-3})
    run.log({"test_acc": 0.9})
    run.finish()
    wandb.teardown()
    (path,) = tmp_path.rglob("*.wandb")
    whole = path.read_bytes()
    assert [row["value"] for row in rows(load("wandb", str(path.parent)))] == [90.0]
    path.write_bytes(whole[: len(whole) - 40])
    table = load("wandb", str(path.parent))
    assert table.header.index("state") is not None
    assert table.rows[0].cells[table.header.index("state")] == "crashed"


def test_hyperparameters_of_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.utils.tensorboard import SummaryWriter

        for lr, wd in GRID[:3]:
            with SummaryWriter(str(tmp_path / f"lr{lr}wd{wd}")) as writer:
                values = {"lr": lr, "wd": wd, "batch_size": 128, "optimizer": "sgd"}
                writer.add_hparams(values, {"test_acc": accuracy(lr, wd)}, run_name=".")
        found = rows(load("tensorboard", str(tmp_path)))
    assert {(row["lr"], row["weight_decay"]) for row in found} == set(GRID[:3])
    for row in found:
        assert row["value"] == pytest.approx(100 * accuracy(row["lr"], row["weight_decay"]), rel=1e-6)


def test_an_unknown_tool_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'optuna'"):
        load("optun", "a.db")


def test_a_written_table_is_read_as_it_was(tmp_path: Path) -> None:
    table = parse('lr,name\n0.1,"a, b"\n0.2,x\n', "a.csv")
    again = parse(written(table), "a.csv")
    assert (again.header, [row.cells for row in again.rows]) == (table.header, [row.cells for row in table.rows])


# -- which column is which ---------------------------------------------------------------------------------------------

CSV = """cfg/step_size,l2norm,bs,run,val/top1,test_acc,seed
0.1,1e-3,128,a,0.9,0.1,1
0.2,1e-3,128,b,0.8,0.2,1
"""


def test_columns_are_what_the_user_says() -> None:
    columns = ColumnMap.parsed(["lr=cfg/step_size", "weight_decay=l2norm", "metric=val/top1"])
    found = rows(parse(CSV, "a.csv"), columns=columns)
    assert [(row["lr"], row["weight_decay"], row["value"]) for row in found] == [(0.1, 1e-3, 90.0), (0.2, 1e-3, 80.0)]
    notes = columns.applied(parse(CSV, "a.csv")).notes
    assert "a.csv: as you say: lr from 'cfg/step_size', weight_decay from 'l2norm', metric from 'val/top1'" in notes
    assert "a.csv: columns that are not used: 'test_acc'" in notes


def test_a_metric_that_is_better_lower() -> None:
    columns = ColumnMap.parsed(["lr=cfg/step_size", "weight_decay=l2norm", "metric=val/top1"], lower=True)
    assert columns.metric("final_test_acc") == "final_test_loss"
    found = rows(parse(CSV, "a.csv"), "final_test_loss", columns)
    assert [row["value"] for row in found] == [0.9, 0.8]


def test_what_no_column_tells_may_be_said() -> None:
    text = "lr,wd,test_acc\n0.1,1e-3,0.9\n0.2,1e-3,0.8\n"
    assert "batch_size" not in rows(parse(text, "a.csv"))[0]
    found = rows(parse(text, "a.csv"), columns=ColumnMap.parsed(constants=["batch_size=256"]))
    assert [row["batch_size"] for row in found] == [256, 256]
    with pytest.raises(InputError, match="column 'lr' tells lr already"):
        ColumnMap.parsed(constants=["lr=1"]).applied(parse(text, "a.csv"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr"], "takes pairs such as lr=config.lr, not 'lr'"),
        (["learning=x"], "knows no 'learning'"),
        (["lr=a", "lr=b"], "gives lr twice: 'a' and 'b'"),
    ],
)
def test_words_that_are_no_mapping(words: list[str], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        ColumnMap.parsed(words)


def test_a_column_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no column 'cfg/stepsize'; did you mean 'cfg/step_size'"):
        ColumnMap.parsed(["lr=cfg/stepsize"]).applied(parse(CSV, "a.csv"))


def test_an_absent_metric_names_the_one_that_is_there() -> None:
    text = "lr,wd,batch_size,val_acc\n0.1,1e-3,128,0.9\n"
    with pytest.raises(InputError, match=r"'val_acc' is final_val_acc: --metric final_val_acc judges by it"):
        rows(parse(text, "a.csv"))
    with pytest.raises(InputError, match=r"--columns metric=COLUMN"):
        rows(parse(text.replace("val_acc", "goodness"), "a.csv"))


def test_a_folder_is_read_with_the_tables_imported_into_it(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    grid = [(lr, 2.0**step * 1e-3) for lr in (0.05, 0.1, 0.2, 0.4) for step in range(-4, 4)]
    lines = ["lr,wd,batch_size,momentum,test_acc,seed"]
    lines += [f"{lr},{wd},128,0.9,{accuracy(lr, wd, seed)},{seed}" for lr, wd in grid for seed in (1, 2)]
    (tmp_path / "tables" / "optuna-sweep.csv").write_text("\n".join(lines))
    (found,) = observations([tmp_path], "final_test_acc")
    assert len(found.runs) == 2 * len(grid)
    verdicts = {each.id: each.verdict for each in analyze([found]).claims}
    assert verdicts["inverse.profile"] == "supported"


def own(along: str, optimum: str) -> list[str]:
    """Rows whose best ``optimum`` is 1e-4 / ``along``, in knobs under names of one's own."""
    header = f"{optimum},{along},test_acc,seed"
    return [header] + [
        f"{2.0**step * 1e-3},{value},{accuracy(value, 2.0**step * 1e-3, seed)},{seed}"
        for value in (0.05, 0.1, 0.2, 0.4)
        for step in range(-4, 4)
        for seed in (1, 2)
    ]


def test_knobs_under_names_of_ones_own_have_optima_and_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.csv").write_text("\n".join(own("width", "alpha")))
    Path("claim.toml").write_text('[[claim]]\noptimum = "alpha"\nalong = "width"\nexponent = -1\n')
    assert main(["analyze", "own.csv", "--claims", "claim.toml", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    claims = {each["id"]: each["verdict"] for each in found["claims"]}
    assert claims["alpha~width^-1"] == "supported"
    assert claims["inverse.profile"] == "not asked"
    assert [each["given"]["width"] for each in found["optima"]] == [0.05, 0.1, 0.2, 0.4]
    assert "32 degrees of freedom" in analyzed("own.csv", capsys)  # one noise of all widths
    assert main(["report", "own.csv", "--claims", "claim.toml", "--no_figures"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(r"supported Is the best alpha ∝ width\^-1\?", out)
    assert out.count("best final test accuracy") == 1  # of all widths
    assert re.search(r"at alpha [\d.e-]+, width [\d.]+ \(", out)  # and nothing that the table does not tell
    page = Path("report.html").read_text()
    assert "alpha~width^-1" in page
    assert "Which knob matters" in page
    assert main(["table", "own.csv"]) == 0
    assert re.search(r"\| alpha=[\d.e-]+, width=[\d.]+ \|", capsys.readouterr().out)


def test_a_table_without_batch_size_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("\n".join(own("lr", "wd")))
    said = analyzed("a.csv", capsys)
    assert re.search(r"inverse\.profile +supported", said)
    assert "no column tells the batch size" in said
    assert main(["predict", "--input", "a.csv", "--lr", "0.1"]) == 1
    assert "do not tell their batch_size" in capsys.readouterr().err


def test_a_claim_about_a_misspelt_knob_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "claim.toml"
    path.write_text('[[claim]]\noptimum = "lr"\nalong = "batchsize"\nexponent = 1\n')
    assert main(["analyze", "a.csv", "--claims", str(path)]) == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err


def analyzed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["analyze", name]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_a_database_given_for_a_table_is_told_how_to_import_it(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "sweep.db")) as database:
        database.execute("create table t (a)")
        database.commit()
    with pytest.raises(InputError, match=r"sweep\.db is a database, not a table; interplay import optuna "):
        load("csv", str(tmp_path / "sweep.db"))


def test_a_table_whose_runs_all_crashed_says_that_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Name,State,lr,bs,test_acc\nx,crashed,0.1,128,\ny,crashed,0.2,128,\n")
    for read in (
        lambda: import_table("csv", str(tmp_path / "a.csv"), tmp_path / "out"),
        lambda: observations([tmp_path / "a.csv"], "final_test_acc"),
    ):
        with pytest.raises(InputError) as raised:
            read()
        assert str(raised.value) == (
            f"{tmp_path / 'a.csv'} holds no runs that finished or diverged; 2 rows left out, "
            "whose runs did not finish: crashed 2"
        )
