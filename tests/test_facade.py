"""`import interplay`: values for those who call from Python, nothing printed, and what a notebook shows."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

import interplay
from interplay import RunSpec, Study, analyze, load_table, report, run, run_study
from interplay.errors import InputError, SpecError
from interplay.frames import MOST, Framed
from interplay.lab.results import Runs, StudyResult, Table
from interplay.lab.settings import Settings
from interplay.study.grid import expand

BASE = {"dataset": "digits", "model": "mlp", "epochs": 1, "train_limit": 200}
PLACE = {"output_dir": "kept", "executor": "inline", "path": "single"}


def tiny(name: str = "tiny", claims: tuple[str, ...] = ("inverse.profile",)) -> Study:
    specs = expand(BASE, {"lr": [0.1, 0.3], "weight_decay": [0.001, 0.01], "seed": [1, 2]})
    return Study(name, "Is <b>it</b> so?", claims, "", "", tuple(specs))


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return run_study(tiny(), **{**PLACE, "output_dir": tmp_path_factory.mktemp("facade")})


def test_everything_that_is_named_is_there_and_nothing_else_is_known() -> None:
    for name in interplay.__all__:
        assert getattr(interplay, name) is not None
    assert set(dir(interplay)) == set(interplay.__all__)
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        interplay.analyse  # noqa: B018


@pytest.mark.parametrize(
    "first", ["interplay.page.page", "interplay.lab.run", "interplay.lab.report", "interplay.study"]
)
def test_no_module_takes_the_name_of_a_function(first: str) -> None:
    code = f"import {first}, interplay; print(all(callable(getattr(interplay, name)) for name in {NAMES}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


NAMES = ["analyze", "load_table", "report", "run", "run_study", "Claim", "Study", "RunSpec", "Settings"]


@pytest.mark.usefixtures("_elsewhere")
def test_functions_return_values_and_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    one = run(RunSpec(**BASE), output_dir="kept")  # type: ignore[arg-type]
    assert one.final_test_acc is not None
    found = run_study(tiny(), **PLACE)
    assert (len(found.committed), len(found.runs), found.failed) == (8, 8, ())
    again = run_study(tiny(), **PLACE)
    assert (len(again.committed), len(again.runs)) == (0, 8)
    analyze(found)
    load_table("kept/results/results.csv")
    assert report(found, figures=False).page == Path("kept/report.html")
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_elsewhere")
def test_who_configures_logging_sees_progress_and_who_does_not_sees_warnings() -> None:
    script = f"""
import logging, sys
from interplay import run_study, RunSpec, Study
from interplay.notes import note
study = Study("s", "?", (), "", "", (RunSpec(**{BASE!r}),))
if len(sys.argv) > 1:
    logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
run_study(study, **{PLACE!r})
note("a warning")
"""
    quiet = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (quiet.stdout, quiet.stderr) == ("", "note: a warning\n")
    heard = subprocess.run([sys.executable, "-c", script, "x"], capture_output=True, text=True)
    assert heard.stdout == ""
    assert "interplay INFO   1 runs: 1 done, 0 missing\n" in heard.stderr
    assert "interplay WARNING note: a warning\n" in heard.stderr


def test_a_command_leaves_the_logger_as_it_was() -> None:
    from interplay.cli.main import main

    logger = logging.getLogger("interplay")
    before = (list(logger.handlers), logger.level, logger.propagate)
    assert main(["status", "--output_dir", "nowhere"]) == 0
    assert (list(logger.handlers), logger.level, logger.propagate) == before


@pytest.mark.usefixtures("_elsewhere")
def test_a_study_may_be_a_file_or_a_name_and_options_go_before_settings() -> None:
    Path("s.toml").write_text(
        'name = "s"\n[base]\ndataset = "digits"\nmodel = "mlp"\nepochs = 1\ntrain_limit = 200\n[[grid]]\nlr = [0.1]\n'
    )
    found = run_study("s.toml", Settings(output_dir="other", executor="inline"), output_dir="kept")
    assert found.store.root == Path("kept")
    with pytest.raises(SpecError, match="did you mean 'eta-lambda'"):
        run_study("eta-lamda")
    with pytest.raises(TypeError, match="sped"):
        run(RunSpec(), sped=2)
    with pytest.raises(InputError):
        load_table("nowhere.csv")


def test_a_study_is_judged_by_its_own_claims_as_its_folder_is(result: StudyResult) -> None:
    by_result, by_folder = analyze(result), analyze(result.store.root)
    assert by_result.to_dict()["claims"] == analyze(list(result.runs), claims=["inverse.profile"]).to_dict()["claims"]
    of = [{claim.id: claim.verdict for claim in each.claims} for each in (by_result, by_folder)]
    assert of[0] == of[1]
    assert by_result.runs == 8
    two = analyze([result, result.store.root])
    assert two.runs == 8, "the same runs twice are found to be the same"


# -- tables and notebooks ---------------------------------------------------------------------------------------------


def test_each_result_is_a_table_of_pandas(result: StudyResult, tmp_path: Path) -> None:
    frame = result.to_frame()
    assert len(frame) == 8
    assert frame.run_id.is_unique
    assert frame.lr.tolist() == [record.spec.lr for record in result.runs]
    assert frame.final_test_acc.tolist() == [record.final_test_acc for record in result.runs]
    assert result.runs.to_frame().equals(frame)
    analysis = analyze(result)
    claims = analysis.to_frame()
    assert claims.claim.tolist() == [claim.id for claim in analysis.claims]
    table = load_table(result.store.results)
    assert isinstance(table, Table)
    rows = table.to_frame()
    assert sorted(rows.final_test_acc) == sorted(frame.final_test_acc)
    assert {"lr", "weight_decay", "repetition"} <= set(rows)
    assert analyze(table).runs == 8
    written = report(result, tmp_path / "page.html", figures=False)
    assert written.to_frame().path.tolist() == [str(tmp_path / "page.html")]


def test_a_notebook_shows_a_short_table_in_escaped_html(result: StudyResult, tmp_path: Path) -> None:
    shown = result._repr_html_()
    assert "Is &lt;b&gt;it&lt;/b&gt; so? (8 of 8 runs)" in shown
    assert "<b>it" not in shown
    head = shown[: shown.index("</thead>")]
    for name in ("lr", "weight_decay", "seed", "final_test_acc"):
        assert f"<th>{name}</th>" in head
    assert "<th>momentum</th>" not in head, "it is the same in all runs"
    assert shown.count("<tr>") == 9
    for each in (analyze(result), load_table(result.store.results), result.runs, report(result, tmp_path / "x.html")):
        html = each._repr_html_()
        assert html.startswith("<p><b>")
        assert len(html) < 20_000


def test_a_long_table_is_cut_and_the_rest_is_counted() -> None:
    class Long(Framed):
        def heading(self) -> str:
            return "many"

        def rows(self) -> list[dict[str, object]]:
            return [{"n": n, "x": None, "y": 1 / 3} for n in range(MOST + 37)]

    shown = Long()._repr_html_()
    assert shown.count("<tr>") == MOST + 1
    assert shown.endswith("<p>and 37 more</p>")
    assert "<td>0</td><td></td><td>0.3333</td>" in shown
    assert len(Long().to_frame()) == MOST + 37
    lines = str(Long()).splitlines()
    assert lines[:3] == ["many", "n   x  y", "0      0.3333"]
    assert (len(lines), lines[-1]) == (MOST + 3, "and 37 more")


def test_no_runs_are_no_error() -> None:
    assert Runs()._repr_html_() == "<p><b>0 runs</b></p>"
    assert str(Runs()) == "0 runs"
    assert Runs().to_frame().empty


NOTEBOOK = f"""
from interplay import RunSpec, Study, analyze, run_study
from interplay.study.grid import expand
specs = expand({BASE!r}, {{"lr": [0.1, 0.3], "weight_decay": [0.001, 0.01]}})
result = run_study(Study("tiny", "Does it?", (), "", "", tuple(specs)), output_dir="kept", executor="inline")
result
"""


@pytest.mark.slow  # starts a kernel, which imports torch
def test_a_real_notebook_runs_a_study_and_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat", reason="nbclient is not installed: pip install nbclient ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install nbclient ipykernel")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: pip install ipykernel")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    kernels = tmp_path / "jupyter" / "kernels"
    install = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(tmp_path), "--name", "here"]
    subprocess.run(install, check=True, capture_output=True)
    kernels.parent.mkdir()
    (tmp_path / "share" / "jupyter" / "kernels").rename(kernels)
    cells = [NOTEBOOK, "analyze(result)"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, timeout=300, kernel_name="here", resources={"metadata": {"path": tmp_path}}).execute()
    nbformat.write(book, stream := io.StringIO())
    assert "run_study" in stream.getvalue()
    for cell in book.cells:
        (output,) = cell.outputs  # the value alone: nothing was printed
        assert "<table>" in output["data"]["text/html"]
