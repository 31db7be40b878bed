"""Tables of other tools: what is read, what is left out, and what is refused rather than averaged."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import tabulate
from interplay.analysis.observations import Observations, from_table
from interplay.errors import InputError
from interplay.lab.read import observations
from interplay.tables.read import parse, read

HEADER = "batch_size,lr,wd,momentum,final_test_acc,final_train_loss,seed"


def table(*rows: str, header: str = HEADER) -> Observations:
    return from_table(parse("\n".join([header, *rows]), "a.csv"))


def grid(seed: int, *, digits: int = 17, fraction: bool = False, with_seed: bool = True) -> list[str]:
    """Rows of a grid of four rates and five decays, with noise that depends on the seed."""
    rows = []
    for i, lr in enumerate((0.03, 0.1, 0.3, 1.0)):
        for j, wd in enumerate((1e-4, 3e-4, 1e-3, 3e-3, 1e-2)):
            noise = math.sin(97 * seed + 31 * i + 17 * j)
            acc = round(75 - math.log(lr * wd / 1e-4) ** 2 + 0.2 * noise, 2)
            loss = float(f"{0.1 + 0.01 * i + 0.003 * j + 0.001 * noise:.{digits}g}")
            shown = f"{acc / 100:.4f}" if fraction else f"{acc}"
            rows.append(f"128,{lr},{wd},0.9,{shown},{loss!r}" + (f",{seed}" if with_seed else ""))
    return rows


def write(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


RESULTS = sorted((Path(__file__).resolve().parents[2] / "results").glob("*/results*.csv"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_tables_of_this_lab_are_read_without_remark(path: Path) -> None:
    found = from_table(read(path))
    assert found.runs
    assert not any("knobs" in note or "not used" in note or "read " in note for note in found.notes)


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda row: grid(1, digits=15)[row],
        lambda row: grid(1, digits=4)[row],
        lambda row: ",".join(f"{float(x):.3f}" if i == 5 else x for i, x in enumerate(grid(1)[row].split(","))),
        lambda row: ",".join(f"{float(x):.1f}" if i == 4 else x for i, x in enumerate(grid(1)[row].split(","))),
        lambda row: grid(1, fraction=True)[row],
    ],
    ids=["15 digits", "4 digits", "3 decimals", "accuracy with 1 decimal", "fractions"],
)
def test_a_copy_with_fewer_digits_is_no_second_seed(change: Callable[[int], str], tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", grid(1))
    second = write(tmp_path / "b.csv", [change(row).removesuffix(",1") + ",2" for row in range(20)])
    both, ((_, _, count),) = tabulate(observations([first, second], "final_test_acc"))
    assert (len(both.runs), count) == (20, 20)
    assert {len(values) for values in both.cells.values()} == {1}
    noise = both.noise_of(both.all_cells()[0])
    assert noise is None or noise.residual  # nothing was repeated


def test_runs_of_two_seeds_are_kept_however_they_are_rounded(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", grid(1, digits=3))
    second = write(tmp_path / "b.csv", grid(2))
    both, copies = tabulate(observations([first, second], "final_test_acc"))
    assert (len(both.runs), copies) == (40, [])


def test_repetitions_without_any_scatter_are_an_error_that_names_rows() -> None:
    rows = [f"128,{lr},1e-3,0.9,70.5,{loss},{seed}" for lr in (0.1, 0.2) for seed, loss in ((1, 0.11), (2, 0.12))]
    with pytest.raises(InputError, match=r"a\.csv, line 2 and a\.csv, line 3: 70\.5"):
        analyze([table(*rows)])


# -- columns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "BS,Learning Rate,Weight_Decay,Momentum,Test Accuracy,Train Loss,Seed",
        "config.batch_size,config.lr,config.weight_decay,config.momentum,summary.final_test_acc,train_loss,config.seed",
        "params.batch_size,params.lr,params.wd,params.momentum,metrics.test_acc,metrics.train_loss,params.seed",
        "params_bs,params_lr,params_weight_decay,params_momentum,user_attrs_final_test_acc,train_loss,params_seed",
        "config/batch_size,config/lr,config/wd,config/momentum,mean_accuracy,train_loss,config/seed",
        "data.batch_size,optimizer.lr,optimizer.weight_decay,optimizer.momentum,test/acc,train/loss,seed",
        "hparams/batchSize,hparams/learningRate,hparams/weightDecay,hparams/momentum,test_acc,train_loss,random_seed",
    ],
    ids=["names", "W&B", "MLflow", "Optuna", "Ray", "Hydra", "camel case"],
)
def test_the_usual_spellings_are_read_and_said(header: str) -> None:
    found = table("128,0.1,5e-4,0.9,70,0.1,3", header=header)
    (run,) = found.runs
    assert (run.cell.lr, run.cell.weight_decay, run.cell.batch_size) == (0.1, 5e-4, 128)
    assert (run.value, run.train_loss, run.repetition, run.cell.network) == (70.0, 0.1, "a.csv 3", Cell({}))
    assert header.split(",")[1] in found.notes[0]


@pytest.mark.parametrize("name", ["widen_factor", "wd_sched", "config.dropout", "cutmix", "experiment"])
def test_rows_that_differ_in_another_knob_are_never_averaged(name: str) -> None:
    values = ("2", "10") if name in ("widen_factor", "experiment") else ("a", "b")
    rows = [f"{row},{value}" for seed in (1, 2) for value in values for row in grid(seed)]
    found = table(*rows, header=f"{HEADER},{name}")
    assert {len(values) for values in found.cells().values()} == {2}
    assert any(f"'{name}' (2 values)" in note for note in found.notes)


def test_text_that_comes_again_is_a_knob_and_names_of_runs_are_not() -> None:
    runs = ((1, 0.1, "a"), (2, 0.1, "b"), (3, 0.2, "a"))
    rows = [f"128,{lr},1e-3,0.9,7{n},0.1,{n},{aug},run{n}" for n, lr, aug in runs]
    found = table(*rows, header=f"{HEADER},aug,label")
    assert len(found.cells()) == 3
    assert {run.cell.get("aug") for run in found.runs} == {"a", "b"}
    assert not any("label" in run.cell for run in found.runs)


def test_schedules_by_the_names_of_torch_are_different_cells() -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,1,CosineAnnealingLR", "128,0.1,1e-3,0.9,60,0.1,1,None"]
    one, other = table(*rows, header=f"{HEADER},lr_scheduler").runs
    assert (one.cell.schedule, other.cell.schedule) == ("cosine", "constant")


def test_different_results_of_one_seed_are_an_error_that_names_the_columns() -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,1,12.517", "128,0.1,1e-3,0.9,60,0.1,1,19.338", "128,0.2,1e-3,0.9,60,0.1,1,14.871"]
    with pytest.raises(InputError, match=r"lines 2 and 3 .* seed 1 .* differ in 'temperature'"):
        table(*rows, header=f"{HEADER},temperature")
    with pytest.raises(InputError, match="no other column tells them apart"):
        table(*(row.rpartition(",")[0] for row in rows))


def test_repetitions_that_differ_in_a_column_that_is_not_read_are_said() -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,1,12.517", "128,0.1,1e-3,0.9,60,0.1,2,19.338"]
    assert any("differ in 'temperature'" in note for note in table(*rows, header=f"{HEADER},temperature").notes)
    named = [f"128,0.1,1e-3,0.9,{70 + n},0.1,{n},run-{n},2026-01-0{n},{n}.5,c{n}" for n in (1, 2)]
    found = table(*named, header=f"{HEADER},Name,Created,Runtime,hostname")
    assert [len(values) for values in found.cells().values()] == [2]
    assert found.notes == ("a.csv: columns that are not used: 'Name', 'Created', 'Runtime', 'hostname'",)


def test_a_method_of_another_kind_is_a_knob_and_the_documented_labels_are_not() -> None:
    rows = [f"{name},128,0.1,1e-3,0.9,{value},0.1,1" for name, value in (("SGDM+WD", 70), ("SAM", 75))]
    assert len(table(*rows, header=f"method,{HEADER}").cells()) == 2
    alike = [f"{name},128,0.1,1e-3,0.9,7{seed},0.1,{seed}" for seed, name in enumerate(("SGD", "SGDM", "SGDM+WD"))]
    assert len(table(*alike, header=f"method,{HEADER}").cells()) == 1


def test_two_columns_of_one_meaning_must_agree() -> None:
    assert len(table("128,0.1,1e-3,0.9,70,0.1,1,0.1", header=f"{HEADER},learning_rate").runs) == 1
    with pytest.raises(InputError, match=r"line 2: 'lr' \(0.1\) and 'config.lr' \(0\) both mean lr"):
        table("128,0.1,1e-3,0.9,70,0.1,1,0", "128,0.1,1e-3,0.9,70,0.1,2,0.2", header=f"{HEADER},config.lr")


def test_the_rate_at_the_end_of_a_run_is_no_knob() -> None:
    found = table("128,0,1e-3,0.9,70,0.1,1,0.1", header=f"{HEADER},config.lr")
    assert found.runs[0].cell.lr == 0.1
    assert found.notes[-1] == "a.csv: columns that are not used: 'lr'"


def test_a_knob_has_one_name_whichever_tool_wrote_it() -> None:
    names = ("config.dropout", "params_dropout", "Dropout", "hparams/dropout")
    assert len({table("128,0.1,1e-3,0.9,70,0.1,1,0.1", header=f"{HEADER},{n}").runs[0].cell for n in names}) == 1


# -- states ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    "FAILED crashed killed running Pending preempted PRUNED TrialState.PRUNED ERROR SCHEDULED failed CANCELLED".split(),
)
@pytest.mark.parametrize("name", ["status", "State", "state"])
def test_what_did_not_finish_is_left_out_and_counted(word: str, name: str) -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,1,FINISHED", f"128,0.2,1e-3,0.9,12,2.1,1,{word}", f"128,0.3,1e-3,0.9,,,1,{word}"]
    found = table(*rows, header=f"{HEADER},{name}")
    assert [run.cell.lr for run in found.runs] == [0.1]
    assert f"a.csv: 2 rows left out, whose runs did not finish: {word} 2" in found.notes


@pytest.mark.parametrize("word", ["COMPLETE", "Finished", "TERMINATED", "TrialState.COMPLETE", "success"])
def test_what_finished_is_kept(word: str) -> None:
    assert table(f"128,0.1,1e-3,0.9,70,0.1,1,{word}", header=f"{HEADER},State").runs[0].value == 70.0


def test_an_unknown_state_is_named_and_left_out() -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,1,finished", "128,0.2,1e-3,0.9,12,2.1,1,odd"]
    found = table(*rows, header=f"{HEADER},State")
    assert len(found.runs) == 1
    assert "whose state is not known: 'odd' 1" in found.notes[-1]


def test_a_table_of_unfinished_runs_says_why_nothing_is_left(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["128,0.2,1e-3,0.9,12,2.1,1,RUNNING"], f"{HEADER},status")
    with pytest.raises(InputError, match=r"no runs that finished.*RUNNING 1"):
        observations([path], "final_test_acc")


# -- numbers and form --------------------------------------------------------------------------------------------------


def test_numbers_that_went_through_float32_are_one_cell() -> None:
    rows = ["128,0.1,0.0005,0.9,70,0.1,1", "128,0.10000000149,0.0005000000237,0.8999999762,71,0.1,2"]
    assert [len(values) for values in table(*rows).cells().values()] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEADER},lr\n128,0.1,1e-3,0.9,70,0.1,1,0.1\n", "two columns are called 'lr'"),
        (f"{HEADER}\n128,0.1,1e-3,0.9,70,0.1,1,\n", "line 2 has 8 cells .* too many separators"),
        (f"{HEADER}\n128,0.1,1e-3,0.9,70\n", "line 2 has 5 cells where the header has 7"),
        (f"{HEADER}\n128,0.1,1e-3,0.9,70,0.1,1\n128,0,1,1e-3,0,9,70,0,1,1\n", "line 3 has 10 cells .* decimal commas"),
        (f'{HEADER}\n128,"0.1,1e-3,0.9,70,0.1,1\n128,0.2,1e-3,0.9,70,0.1,1\n', "line 2 .* a quotation mark"),
        (f"{HEADER}\n128,0.1,1e-3,0.9,70,0.1,1\n\0\0\0\0", "line 3: has NUL bytes"),
        ("", "is empty"),
        ("# nothing but this\n", "is empty"),
        (f'{HEADER}\n"1,024",0.1,1e-3,0.9,70,0.1,1\n', "line 2: batch_size: '1,024' is not a number"),
        (f"{HEADER}\n128.5,0.1,1e-3,0.9,70,0.1,1\n", "line 2: batch_size 128.5 is no whole number"),
        (f'{HEADER}\n"' + "x" * 1_100_000, "line 2: field larger"),
    ],
    ids=["twice", "trailing", "short", "commas", "quotation", "NUL", "empty", "comment", "thousands", "half", "long"],
)
def test_what_is_no_table_is_one_line_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"^a.csv.*{message}") as error:
        from_table(parse(text, "a.csv"))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER.replace(",", ";") + "\n128;0.1;5e-4;0.9;70.5;0.1;1\n", "semicolons"),
        (HEADER.replace(",", ";") + "\n128;0,1;0,0005;0,9;70,5;0,1;1\n", "decimal commas"),
        (HEADER.replace(",", "\t") + "\n128\t0.1\t5e-4\t0.9\t70.5\t0.1\t1\n", "tabs"),
        (HEADER.replace(",", "\t") + "\n128\t0,1\t5e-4\t0,9\t70,5\t0,1\t1\n", "decimal commas"),
        ("sep=;\n" + HEADER.replace(",", ";") + "\n128;0,1;0,0005;0,9;70,5;0,1;1\n", "decimal commas"),
        (f"sep=,\r\n{HEADER}\r\n128,0.1,5e-4,0.9,70.5,0.1,1\r\n", ""),
        (f'{HEADER}\n128,"0,1","0,0005","0,9","70,5","0,1",1\n', "decimal commas"),
        (f"# written by hand\n{HEADER}\n# one run\n128,0.1,5e-4,0.9,70.5,0.1,1\n", "comment"),
        (f"# {HEADER}\n128,0.1,5e-4,0.9,70.5,0.1,1\n", ""),
        (f" {HEADER.replace(',', ' , ')} \n\n 128, 0.1, 5e-4, 0.9, 70.5%, 0.1, 1.0\n,,,,,,\n\n", ""),
    ],
    ids=["semicolons", "both", "tabs", "tabs and commas", "sep", "sep comma", "quoted", "comment", "header", "spaces"],
)
def test_tables_in_other_forms_are_read_and_said(text: str, said: str) -> None:
    found = from_table(parse(text, "a.csv"))
    (run,) = found.runs
    assert (run.cell.lr, run.cell.weight_decay, run.cell.momentum, run.value) == (0.1, 5e-4, 0.9, 70.5)
    assert run.repetition == "a.csv 1"
    assert said in " ".join(found.notes)
    assert bool(found.notes) == bool(said)


def test_a_spreadsheet_in_utf16_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(HEADER.replace(",", "\t") + "\n128\t0.1\t5e-4\t0.9\t70.5\t0.1\t1\n", encoding="utf-16")
    assert from_table(read(path)).runs[0].value == 70.5


# -- fractions and repeats ---------------------------------------------------------------------------------------------


def test_accuracies_between_0_and_1_are_fractions_and_said() -> None:
    found = table(*grid(1, fraction=True))
    assert found.cells() == table(*grid(1)).cells()
    assert found.notes == ("a.csv: accuracies are all within 0 and 1: taken as fractions, and shown in per cent",)
    assert not any("broken" in note for note in analyze([found]).notes)


def test_runs_at_chance_are_no_fractions() -> None:
    (run,) = table("128,2,1e-3,0.9,1.0,4.605,1").runs
    assert run.value is None


def test_repeats_without_a_column_for_the_seed_are_repetitions() -> None:
    rows = [row for seed in (1, 2, 3) for row in grid(seed, with_seed=False)]
    analysis = analyze([table(*rows, header=HEADER.removesuffix(",seed"))])
    assert len(analysis.repetitions) == 3
    assert analysis.noise is not None
    assert not analysis.noise.residual
    assert not any("from residuals" in claim.reason for claim in analysis.claims)
    assert any("there is no seed" in note for note in analysis.notes)


def test_repeats_without_a_seed_that_differ_in_a_number_are_refused() -> None:
    rows = ["128,0.1,1e-3,0.9,70,0.1,12.517", "128,0.1,1e-3,0.9,60,0.1,19.338", "128,0.2,1e-3,0.9,60,0.1,14.871"]
    with pytest.raises(InputError, match=r"lines 2 and 3 .* differ in 'temperature'.*add a column seed"):
        table(*rows, header=f"{HEADER.removesuffix(',seed')},temperature")


@pytest.mark.parametrize("value", ["-57.5", "100.1", "7012.5", "1e300", "-0.01%"])
def test_an_accuracy_that_no_run_can_have_is_an_error_with_its_line(value: str) -> None:
    with pytest.raises(InputError, match=rf"a\.csv, line 3: final_test_acc is {value}, but an accuracy is between"):
        table("128,0.1,0,0.9,70,0.1,1", f"128,0.2,0,0.9,{value},0.1,1")
    assert table("128,0.1,0,0.9,100,0.1,1", "128,0.2,0,0.9,0,5,1").runs


@pytest.mark.parametrize("names", ["B,eta,lambda,mu", "b,η,λ,μ", "batch,config.eta,params/lambda,Mu"])
def test_the_letters_of_the_formulas_are_names_of_columns(names: str) -> None:
    run = table("64,0.2,3e-4,0.8,70,0.1,1", header=f"{names},final_test_acc,final_train_loss,seed").runs[0]
    assert (run.cell.batch_size, run.cell.lr, run.cell.weight_decay, run.cell.momentum) == (64, 0.2, 3e-4, 0.8)


@pytest.mark.parametrize("name", ["repeat", "Replicate", "repetition", "config.rep"])
def test_a_column_that_counts_repetitions_is_the_seed(name: str) -> None:
    found = table(*grid(1), *grid(2), header=HEADER.replace("seed", name))
    assert len({run.cell for run in found.runs}) == 20
    assert len(analyze([found]).repetitions) == 2


def test_fractions_among_per_cent_are_said() -> None:
    rows = ["128,0.1,1e-4,0.9,0.77,1,1", "128,0.2,1e-4,0.9,76.1,1,1", "128,0.3,1e-4,0.9,75,1,1"]
    assert any("1 of 3 accuracies are below 1 and others above" in note for note in table(*rows).notes)
    assert not any("below 1" in note for note in table("128,0.1,1e-4,0.9,1.0,1,1", *rows[1:]).notes)
