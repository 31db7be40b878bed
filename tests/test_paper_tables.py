"""``interplay table`` as a user runs it, in this process."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from interplay.cli.main import main
from interplay.lab.paper import Block, written

HEAD = "method,batch_size,lr,wd,momentum,final_test_acc,final_train_loss,best_test_acc"


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """Two batches of one curve over the decay, whose best cell is the third."""
    for batch, shift in (("a", 0.0), ("b", 0.4)):
        means = zip((1e-4, 1e-3, 1e-2, 1e-1), (80, 88, 93, 70), strict=True)
        rows = [f"SGDM+WD,128,0.1,{wd},0.9,{mean + shift + 10 * wd},0.1,{mean}" for wd, mean in means]
        (tmp_path / f"{batch}.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    return str(tmp_path)


def test_the_best_setting_has_its_standard_error_in_every_format(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [f"{runs}/a.csv", f"{runs}/b.csv"]
    found = {}
    for form in ("latex", "markdown", "csv"):
        assert main(["table", *inputs, f"--{form}"]) == 0
        found[form] = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(found["csv"])))
    (best,) = (row for row in rows if row[0] == "best")
    assert "lr=0.1, weight_decay=0.01" in best[2]
    assert best[3].startswith("93.30 ± ")
    # Two runs that are 0.4 apart have a standard error of 0.2; the noise is a fit to all cells.
    assert float(best[3].split("± ")[1]) == pytest.approx(0.2, abs=0.05)
    assert best[4] == "2"
    assert f"| {best[3]} |" in found["markdown"]
    assert best[3].replace("±", r"$\pm$") in found["latex"]
    assert r"weight\_decay=0.01" in found["latex"]
    assert found["latex"].count(r"\begin{tabular}") == found["latex"].count(r"\bottomrule") >= 4


def test_signs_that_latex_reads_are_escaped() -> None:
    text = written([Block("t", "50 % of λ", ("a_b",), (("x & y # {z} \\",),))], "latex")
    assert r"\caption{50 \% of $\lambda$}" in text
    assert r"x \& y \# \{z\} \textbackslash{} \\" in text


def test_sources_are_bibtex_and_two_formats_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--bibtex"]) == 0
    text = capsys.readouterr().out
    assert text.count("{") == text.count("}")
    assert "2405.13698" in text
    assert main(["table", "--latex", "--csv"]) == 2
    assert "at a time" in capsys.readouterr().err
