"""An analysis in words: what the terminal shows, at any width, with and without colours."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.cells import cell_len

from interplay.analysis import phrases
from interplay.analysis.analyze import analyze
from interplay.analysis.cells import Cell
from interplay.analysis.conclude import Analysis, Measured, beside_other_metric, conclude, tabulate, verdicts
from interplay.analysis.laws import Joint
from interplay.analysis.layout import Layout
from interplay.analysis.observations import Observations, from_rows
from interplay.analysis.optimum import Optimum
from interplay.analysis.verdict import Plan, Verdict
from interplay.analysis.words import OPTIMA, OWN, grouped, joint_lines, report
from interplay.cli.main import main
from interplay.lab import read
from interplay.study.claims import Claim

LONG = (
    "from 11 curves along η, 7 with the optimum inside; the 95 % interval leaves out -1 and 0; theories within it: none"
)
PLAN = Plan("10 cells at batch_size 32 and 1024", tuple({"batch_size": b} for b in range(10)), 0, 30, (0.51, 0.76))

EXPONENT = Verdict("inverse.profile", "inconclusive", -0.5, (-0.6, None), LONG, PLAN, own=True)
ORDERING = Verdict("ordering.sgd>sgd_wd", "refuted", -1.0, (-1.2, -0.8), "SGD 0.1 against SGD+WD 1", None)
FLAT = Verdict("inverse.direction", "refuted", math.inf, (76.39, None), "does not depend on the product at all: k > 76")
LEFT = Verdict("batch.step_matched", "not asked", None, (None, None), "two values of batch_size")


def optimum(
    estimate: float | None, low: float | None, high: float | None, status: str = "inside", **given: object
) -> Optimum:
    return Optimum("lr", given, estimate, (low, high), status)  # type: ignore[arg-type]


def analysis(claims: Iterable[Verdict] = (EXPONENT, ORDERING, FLAT, LEFT), **changes: object) -> Analysis:
    found = Analysis("final_test_acc", (), (), tuple(claims), None, (), 40, ("1", "2"))
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]


def unwrapped(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [20, 40, 60, 80, 119, 120, 160, 400])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    optima = [optimum(0.1, 0.05, 0.2, batch_size=b, momentum=0.9, schedule="cosine") for b in (32, 64)]
    found = analysis(optima=tuple(optima), notes=("a note that is " + "long " * 30, "a_word_without_spaces" * 12))
    lines = report(found, width, colour=False).splitlines()
    assert max(map(cell_len, lines)) <= width
    letters = "".join("".join(lines).split())
    for words in ("a_word_without_spaces" * 12, "cosine"):
        assert words in letters or width < 80
    assert "\x1b" not in "".join(lines)


def test_a_reason_wraps_within_its_column() -> None:
    lines = report(analysis([EXPONENT]), 80, colour=False).splitlines()
    start = next(line for line in lines if line.startswith("claim")).index("reason")
    first = next(index for index, line in enumerate(lines) if line.startswith("* inverse.profile"))
    column = [line[start:] for line in lines[first : lines.index(OWN)]]
    assert len(column) > 3
    assert all(line[:start].strip() == "" for line in lines[first + 1 : lines.index(OWN)])
    assert LONG in unwrapped(" ".join(column))


def test_a_name_that_is_too_long_is_broken_after_its_dots_and_words_stay_whole() -> None:
    layout = Layout(36, colour=False)
    rows = [("ordering.factor3.programme", "inconclusive", "a reason of several words")]
    lines = layout.table(("claim", "verdict", "why"), rows)
    assert [line.split()[0] for line in lines[1:4]] == ["ordering.", "factor3.", "programme"]
    assert "inconclusive" in lines[1]
    assert all(word in " ".join(lines).split() for word in rows[0][2].split())
    # What fits is not touched.
    assert Layout(80, colour=False).table(("claim", "why"), [("a.b", "c d")]) == ["claim  why", "a.b    c d"]


def test_intervals_and_plans_are_words() -> None:
    text = unwrapped(report(analysis(), 400, colour=False))
    assert "inverse.profile inconclusive -0.50 at least -0.60" in text
    assert "to decide: 10 cells at batch_size 32 and 1024, 30 runs; expected 90 % interval 0.51 to 0.76" in text
    # An ordering says by what factor the first optimum is the second, not a logarithm.
    assert "ordering.sgd>sgd_wd refuted 0.1 times 0.0631 to 0.158 times" in text
    assert "∞" not in text
    assert "..." not in text
    assert "does not depend on the product at all: k > 76" in text


def test_a_few_cells_are_named_and_of_many_the_ranges() -> None:
    cells = ({"lr": 6.4, "weight_decay": 0.0}, {"lr": 12.8, "weight_decay": 0.0})
    few = dataclasses.replace(EXPONENT, plan=Plan("2 cells beyond open ends", cells, 0, 4))
    assert phrases.plan(few) == "to decide: 2 cells beyond open ends (η 6.4; η 12.8; all at λ 0), 4 runs"
    many = tuple({"lr": 0.1 * n, "weight_decay": 0.0, "schedule": "cosine"} for n in range(1, 7))
    found = phrases.plan(dataclasses.replace(EXPONENT, plan=Plan("6 cells beyond open ends", many, 0, 1)))
    assert found == "to decide: 6 cells beyond open ends (η 0.1 to 0.6), 1 run"


def test_what_was_not_asked_is_one_line_after_the_table_and_own_claims_are_marked() -> None:
    lines = report(analysis(), 160, colour=False).splitlines()
    rows = [line for line in lines if line.startswith(("* ", "ordering", "inverse"))]
    assert rows[0].startswith("* inverse.profile")
    assert lines.count("not asked (too little was varied for it): batch.step_matched") == 1
    assert sum("batch.step_matched" in line for line in lines) == 1
    assert OWN in lines
    assert OWN not in report(analysis([ORDERING]), 160, colour=False)


def test_verdicts_are_coloured_where_colours_are_shown() -> None:
    text = report(
        analysis([dataclasses.replace(ORDERING, verdict=word) for word in ("supported", "refuted")]), 80, True
    )
    codes = re.findall(r"\x1b\[([\d;]+)m(supported|refuted)", text)
    assert [word for _, word in codes] == ["supported", "refuted"]
    assert len({code for code, _ in codes}) == 2


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_colour_is_used_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv("FORCE_COLOR" if variable == "NO_COLOR" else "LANG", "1")
    monkeypatch.setenv(variable, value)
    assert "\x1b" not in report(analysis())


def test_text_that_steers_a_terminal_is_shown_and_not_sent() -> None:
    found = analysis([dataclasses.replace(ORDERING, reason="red \x1b[31m[bold]x[/bold]")], notes=("bell \a",))
    text = report(found, 120, colour=True)
    assert "\\x1b[31m[bold]x[/bold]" in text
    assert "\a" not in text


# -- one number, one line ---------------------------------------------------------------------------------------------


def test_an_exponent_that_a_claim_or_a_row_states_has_no_second_number() -> None:
    values = {"lr": (-0.61, (-0.9, -0.3)), "1-momentum": (0.2, (0.1, 0.3)), "epochs": (0.3, (0.2, 0.4))}
    axes = ("lr", "batch_size", "epochs", "1-momentum")
    joint = Joint("cosine", Cell.of(0.1, 0.0, 0.9, 128).network, 9, 7, axes, values, ("a, b", "c"), ())
    row = Measured("weight_decay", "epochs", 0.33, (0.2, 0.4), 5, "")
    lines = joint_lines(joint, analysis([EXPONENT], exponents=(row,)))
    assert lines[0] == "λ* over η, B, E, 1-μ together (7 of 9 settings have their optimum inside)"
    assert lines[1:3] == [
        "exponent of B: not determined, since it was never varied by itself",
        "exponent of 1-μ: 0.20, 90 % interval 0.10 to 0.30",
    ]
    assert lines[3:] == ["theories inside the 95 % confidence region: a, b; c", "theories outside: none"]
    text = report(analysis([EXPONENT], exponents=(row,), joint=joint), 80, colour=False)
    assert [text.count(number) for number in ("-0.61", "0.33", "0.30")] == [0, 1, 1]
    assert "exponents of which no claim speaks" in text


def test_optima_are_told_apart_by_what_differs_and_stand_in_order() -> None:
    optima = [optimum(0.1, 0.05, 0.2, batch_size=b, momentum=0.9) for b in (512, 64, 128)]
    ((of, common, apart, group),) = grouped(optima)
    assert (of, common, apart) == ("lr", {"momentum": 0.9}, ["batch_size"])
    assert [each.given["batch_size"] for each in group] == [64, 128, 512]


def test_a_long_table_is_cut_where_it_says_least_and_says_so() -> None:
    open_ones = [optimum(None, None, None, "open", batch_size=b) for b in range(1, 60)]
    inside = [optimum(0.1, 0.05, 0.2, batch_size=b) for b in range(60, 90)]
    lines = report(analysis(optima=(*open_ones, *inside)), 80, colour=False).splitlines()
    assert sum(line.endswith("inside") for line in lines) == 30
    assert sum(line.endswith("  open") for line in lines) == OPTIMA - 30
    assert "and 49 more optima, 0 of them inside: --json has all" in lines


def test_two_maxima_and_bounds_are_said_in_words() -> None:
    two = dataclasses.replace(optimum(0.15, 0.1, 1.0), others=(0.9,), competing=True)
    assert phrases.place(two) == "0.15 or 0.9"
    assert phrases.status(two) == "inside, another optimum at 0.9, as good within the noise"
    assert phrases.status(dataclasses.replace(two, competing=False)).endswith("0.9, less good")
    assert phrases.place(optimum(None, 0.32, None, "open above")) == "at least 0.32"
    assert phrases.place(optimum(None, None, 0.1, "open below")) == "at most 0.1"
    assert phrases.place(optimum(None, None, None, "open")) == "not bounded"
    assert phrases.interval((0.4, 0.6)) == "0.4 to 0.6"
    assert phrases.interval((math.nan, math.inf)) == ""


# -- accuracy and loss ------------------------------------------------------------------------------------------------


def rows(seed: int, power: float) -> list[dict[str, str]]:
    """λ* ∝ η^-1 by accuracy and ∝ η^power by loss, with a little noise."""
    found = []
    for lr in (0.02, 0.05, 0.1, 0.2, 0.4):
        for step in range(9):
            decay = 1e-4 * 2**step
            noise = 0.05 * math.sin(37 * seed + 11 * len(found))
            accuracy = 78 - math.log(decay * lr / 1.6e-4) ** 2 + noise
            loss = 1 + 0.1 * math.log(decay / 1.6e-3 * (lr / 0.1) ** -power) ** 2 - 0.005 * noise
            found.append(
                {"method": "SGDM+WD", "batch_size": "128", "lr": f"{lr}", "wd": f"{decay}", "momentum": "0.9"}
                | {"final_test_acc": f"{accuracy:.5f}", "final_train_loss": "0.1", "best_test_acc": "78"}
                | {"final_test_loss": f"{loss:.6f}", "seed": str(seed)}
            )
    return found


def observed(metric: str, power: float) -> list[Observations]:
    return [from_rows([row for seed in (1, 2) for row in rows(seed, power)], "t.csv", metric)]


@pytest.mark.parametrize(("power", "words"), [(0.5, "by final_test_loss: refuted"), (-1.0, "")])
def test_a_verdict_says_unasked_what_the_other_metric_says(power: float, words: str) -> None:
    first = analyze(observed("final_test_acc", power))
    found = beside_other_metric(first, observed("final_test_loss", power))
    by_id = {claim.id: claim for claim in found.claims}
    assert by_id["inverse.profile"].verdict == "supported"
    assert by_id["inverse.profile"].other_metric == words
    assert all(not claim.other_metric for claim in found.claims if claim.verdict == "not asked")
    assert (words in report(found, 80, colour=False)) if words else "by final_test_loss" not in report(found, 80)
    assert beside_other_metric(first, []) == first


def test_the_lab_judges_by_the_other_metric_where_the_table_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = [row for seed in (1, 2) for row in rows(seed, 0.5)]
    for name, columns in (("both.csv", list(table[0])), ("one.csv", [c for c in table[0] if c != "final_test_loss"])):
        lines = [",".join(columns), *(",".join(row[c] for c in columns) for row in table)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    said = {name: {c.other_metric for c in read.analyze([tmp_path / name]).claims} for name in ("both.csv", "one.csv")}
    assert "by final_test_loss: refuted" in said["both.csv"]
    assert said["one.csv"] == {""}
    assert main(["analyze", str(tmp_path / "both.csv"), "--metric", "final_test_loss"]) == 0
    assert "by final_test_acc: supported" in unwrapped(capsys.readouterr().out)


def test_an_exponent_that_a_study_states_is_no_row_of_its_own() -> None:
    claim = Claim("weight_decay", "lr", -0.5, id="mine")
    table, copies = tabulate(observed("final_test_acc", -1.0))
    mine = verdicts(table, [claim])[0]
    assert (mine.id, mine.own, phrases.spoken(mine)) == ("mine", True, ("weight_decay", "lr"))
    found = conclude(table, copies, [claim])
    assert not any((each.optimum, each.along) == ("weight_decay", "lr") for each in found.exponents)


def test_a_claim_of_the_programme_under_a_name_of_ones_own_is_said_once() -> None:
    table, _ = tabulate(observed("final_test_acc", -1.0))
    product = Claim(product=("weight_decay", "lr"), id="only the product")
    inverse = Claim("weight_decay", "lr", -1, id="inverse", question="Does it fall as 1/η?")
    narrower = Claim("weight_decay", "lr", -1, band=0.1, id="nearly inverse")
    usual = [each.id for each in verdicts(table)]
    found = {each.id: each for each in verdicts(table, [product, inverse, narrower])}
    assert {"only the product", "inverse", "nearly inverse"} == {name for name, each in found.items() if each.own}
    assert set(found) == {*usual, "only the product", "inverse", "nearly inverse"} - {
        "inverse.profile",
        "inverse.sufficiency",
    }
    alone = next(each for each in verdicts(table) if each.id == "inverse.profile")
    assert (found["inverse"].estimate, found["inverse"].interval) == (alone.estimate, alone.interval)
    both = [each.id for each in verdicts(table, ["inverse.profile", inverse])]
    assert {"inverse.profile", "inverse"} <= set(both)  # both were asked for
