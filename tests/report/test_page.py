from __future__ import annotations

import csv
import dataclasses
import gc
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from interplay.analysis.cells import Cell
from interplay.analysis.conclude import tabulate
from interplay.analysis.laws import joint_fit
from interplay.analysis.observations import from_records
from interplay.analysis.optimum import Optimum
from interplay.analysis.phrases import estimate, listed
from interplay.analysis.pictures import MethodCurve, Ordering, Point
from interplay.analysis.predict import checked
from interplay.analysis.verdict import Plan, Verdict
from interplay.cli.main import main
from interplay.errors import InputError
from interplay.lab import read
from interplay.lab.report import report
from interplay.page import charts
from interplay.page.content import Page, Run
from interplay.page.page import as_json, render
from interplay.page.sections import ANSWERS
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.store.table import DOCUMENTED

LRS, DECAYS, BATCHES = (0.01, 0.05, 0.1, 0.2), (1e-4, 5e-4, 1e-3, 5e-3, 1e-2), (64, 128, 256)
DOCUMENTED_CHARTS = {"ordering", "heatmap", "scaling", "scaling-curves"}
FURTHER = ["collapse.png", "predicted_vs_measured.png", "training_curves.png"]
Programme = Callable[[int], list[RunRecord]]


class Parts(HTMLParser):
    """What a browser would see: scripts by their text, the words between tags, and every address."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.headings: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        elif self.cdata_elem is None:
            self.words.append(data)
        if self.lasttag == "h2":
            self.headings.append(data.strip())


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parts(html: str) -> Parts:
    return Parts(html)


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, flags=re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    packed = data["runs"]
    data["runs"] = [
        {
            "id": name,
            "status": data["states"][packed["status"][i]],
            "note": packed["note"].get(str(i)),
            "cell": packed["cell"][i],
            "values": [column[i] for column in packed["values"]],
            "spec": data["shared"] | dict(zip(data["spec_names"], (c[i] for c in packed["spec"]), strict=True)),
            "history": packed["history"][i]
            and dict(zip(("epoch", *data["history_names"]), packed["history"][i], strict=True)),
        }
        for i, name in enumerate(packed["id"])
    ]
    return data


def table(path: Path, records: list[RunRecord]) -> Path:
    """The eight documented columns of one repetition."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(DOCUMENTED)
        for r in records:
            acc, loss, best = r.final_test_acc, r.final_train_loss, r.best_test_acc
            s = r.spec
            numbers = (acc, loss, best) if acc is not None else ("", "", "")
            writer.writerow([s.method, s.batch_size, s.lr, s.weight_decay, s.momentum, *numbers])
    return path


def test_sections_stand_in_order_with_the_verdicts_first(parts: Parts, html: str, programme: Programme) -> None:
    finished = 3 * (len(programme(0)) - 1)
    headings = [h for h in parts.headings if h]
    assert headings == [
        "The answer",
        "What the measurements support",
        "Figures",
        "Optima",
        "Runs",
        "Environment",
        "What is missing",
    ]
    words = " ".join(parts.words)
    for expected in (
        "3 repetitions",
        f"{finished} finished, 3 diverged, 1 failed, 1 interrupted",
        "a processor",
        "Blank in the heatmap: 1 cell",
        "η 0.01, λ 0.0001, B 128",
        "Failed: 1 run",
        "Interrupted: 1 run",
        "noise: one run scatters by",
    ):
        assert expected in words
    assert html.count('class="badge ') >= 6
    assert "not asked (too little was varied for it): " in words
    assert "Do equally good settings lie along ηλ = const?" in words


def test_its_numbers_are_those_of_the_analysis(store: Store, html: str) -> None:
    data = embedded(html)
    expected = read.analyze([store.root])
    assert data["analysis"] == json.loads(json.dumps(expected.to_dict()))
    claim = next(c for c in expected.claims if c.estimate is not None)
    assert estimate(claim) in html
    records = {record.run_id: record for record in store.records()}
    assert {run["id"] for run in data["runs"]} == set(store.run_ids())
    columns = [column["name"] for column in data["columns"]]
    for run in data["runs"]:
        if run["status"] == "interrupted":
            assert run["history"]["epoch"] == [1]
            continue
        record = records[run["id"]]
        shown = run["values"][columns.index("final_test_acc")]
        if record.final_test_acc is None:
            assert shown is None
        else:
            assert shown == pytest.approx(record.final_test_acc, rel=1e-6)
        assert run["values"][columns.index("lr")] == record.spec.lr
        assert run["status"] == str(record.status)
        if run["status"] == "finished":
            assert run["history"]["test_loss"] == pytest.approx([m.test_loss for m in record.history], rel=1e-4)
            assert run["spec"] == json.loads(json.dumps(record.spec.to_dict()))


def test_the_best_setting_is_named_first_and_its_runs_lead_the_table(store: Store, parts: Parts, html: str) -> None:
    data = embedded(html)
    column = [column["name"] for column in data["columns"]].index("final_test_acc")
    reached = [run["values"][column] for run in data["runs"]]
    there = [value for value in reached if value is not None]
    assert there == sorted(there, reverse=True)
    assert reached == there + [None] * (len(reached) - len(there))
    words = " ".join(" ".join(parts.words).split())
    means: dict[tuple[float, ...], list[float]] = {}
    for r in store.records():
        if r.final_test_acc is not None:
            key = (r.spec.lr, r.spec.weight_decay, r.spec.momentum, r.spec.batch_size)
            means.setdefault(key, []).append(r.final_test_acc)
    lr, wd, momentum, batch = max(means, key=lambda key: sum(means[key]) / len(means[key]))
    assert f"Best setting measured: η {lr:g}, λ {wd:g}, μ {momentum:g}, B {batch}, E 3 , with" in words
    assert "mean of 3 runs" in words
    assert words.index("Best setting measured") < words.index("What the measurements support")


def test_the_answer_is_a_sentence_a_claim(store: Store, parts: Parts) -> None:
    words = " ".join(" ".join(parts.words).split())
    for claim in read.analyze([store.root]).asked:
        assert f"{claim.question} {ANSWERS[claim.verdict]}" in words


def test_a_page_of_many_runs_stays_small_and_keeps_the_ends_of_their_curves(tmp_path: Path) -> None:
    epochs = tuple(
        EpochMetrics(epoch, 0.1, 2 / epoch, 90 - 60 / epoch, 2.2 / epoch, 88 - 60 / epoch, seconds=0.5)
        for epoch in range(1, 201)
    )
    base = RunSpec(dataset="digits", model="mlp", epochs=200)
    runs = []
    for number in range(1000):
        spec = base.replace(lr=0.01 * 1.3 ** (number // 100), weight_decay=1e-5 * 1.3 ** (number % 20), seed=number)
        values = {"lr": spec.lr, "weight_decay": spec.weight_decay, "final_test_acc": 70 + number / 100}
        environment = {"device": "cpu", "torch": "2.7"}
        collapse = {"sum_of_rates": spec.lr * 123.4567, "steps": 2200.0}
        runs.append(
            Run(spec.run_id, "outputs", "finished", values, None, None, spec.to_dict(), collapse, environment, epochs)
        )
    page = Page("many", "?", "now", "final_test_acc", None, None, None, None, tuple(runs))
    text = render(page)
    assert len(text.encode()) < 4e6
    (best, *_) = embedded(text)["runs"]
    assert best["history"]["epoch"][0] == 1
    assert best["history"]["epoch"][-1] == 200
    assert best["history"]["test_acc"][-1] == pytest.approx(epochs[-1].test_acc, rel=1e-4)
    few = dataclasses.replace(page, runs=tuple(runs[:222]))
    assert len(render(few).encode()) < 2.5e6


def test_figures_hold_the_means_of_their_cells_and_lead_to_their_runs(store: Store, html: str) -> None:
    data = embedded(html)
    grid = next(t for t in data["charts"]["heatmap"]["data"] if t["type"] == "heatmap")
    assert grid["x"] == [f"{lr:g}" for lr in LRS]
    assert grid["y"] == [f"{wd:g}" for wd in DECAYS]
    chosen = [r for r in store.records() if (r.spec.lr, r.spec.weight_decay, r.spec.momentum) == (0.1, 1e-3, 0.9)]
    chosen = [r for r in chosen if r.spec.batch_size == 128]
    mean = sum(r.final_test_acc or 0 for r in chosen) / 3
    assert grid["z"][2][2] == pytest.approx(mean, abs=1e-12)
    assert "η = 0.1, λ = 0.001" in grid["hovertext"][2][2]
    assert f"mean {mean:.2f} %" in grid["hovertext"][2][2]
    assert "3 runs" in grid["hovertext"][2][2]
    cell = grid["customdata"][2][2]
    assert {run["id"] for run in data["runs"] if run["cell"] == cell} == {r.run_id for r in chosen}
    # The cell that diverged has no value, the one that is missing no runs either.
    assert grid["z"][4][3] is None
    assert grid["hovertext"][4][3].endswith("diverged")
    assert grid["customdata"][4][3] is not None
    assert grid["z"][0][0] is None
    assert grid["hovertext"][0][0].endswith("not run")
    assert grid["customdata"][0][0] is None
    names = [t.get("name", "") for t in data["charts"]["ordering"]["data"]]
    assert [n.split(" ")[0] for n in names if "(" in n] == ["SGD", "SGD+WD", "SGDM+WD"]
    assert [t["name"] for t in data["charts"]["scaling-curves"]["data"]] == [f"B = {b}" for b in BATCHES]


def test_predictions_collapse_and_theories_are_those_of_the_analysis(store: Store, parts: Parts, html: str) -> None:
    table, _ = tabulate([from_records(store.records())])
    drawn, found = embedded(html)["charts"], checked(table)
    used = next(t for t in drawn["agreement"]["data"] if t.get("name", "").startswith(found.rule))
    known = [c for c in found.checks if c.estimate is not None]
    assert used["x"] == pytest.approx([c.estimate for c in known])
    assert used["y"] == pytest.approx([c.said[found.rule] for c in known])
    assert sum(len(t["x"]) for t in drawn["collapse-tau_epochs"]["data"]) > 20
    joint = joint_fit(table)
    assert joint is not None
    assert any(f"inside the 95 % confidence region: {listed(joint.held)}" in w for w in parts.words)


def test_plotly_knows_every_property_of_the_figures(html: str) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    drawn = embedded(html)["charts"]
    assert set(drawn) == {*DOCUMENTED_CHARTS, "collapse-weight_decay", "collapse-tau_epochs", "agreement"}
    for chart in drawn.values():
        # Names of colours of the style sheet become colours in the browser.
        chart = json.loads(re.sub(r"var\(--[a-z0-9]+\)", "#123456", json.dumps(chart)))
        graph_objects.Figure(chart)  # raises ValueError for a name or value that it does not know


def test_what_comes_from_outside_is_never_markup(parts: Parts, html: str, evil: str) -> None:
    assert evil not in html
    assert "img" not in parts.tags
    assert len(parts.scripts) == 5  # the data, plotly, DataTables and its buttons, the page's own
    assert any("</script><script>window.pwned" in word for word in parts.words)  # as words, in what is missing
    notes = [run["note"] for run in embedded(html)["runs"] if run["status"] == "failed"]
    assert notes == [f"no such file: {evil}"]
    assert "<" not in as_json({"<b>": ["</script>", "<!--"]})
    assert json.loads(as_json({"<b>": ["</script>", float("nan")]})) == {"<b>": ["</script>", None]}


def test_nothing_is_referred_to_outside_the_file(parts: Parts, html: str) -> None:
    assert [a for a in parts.addresses if not a.startswith(("#", "data:"))] == []
    own = html
    for library in parts.scripts[1:4]:
        own = own.replace(library, "")
    assert "http://" not in own
    assert "https://" not in own
    assert not re.search(r"url\(|@import", own)
    assert "default-src 'none'" in own


def test_the_cells_that_a_claim_asks_for_are_listed_with_the_way_to_run_them(store: Store) -> None:
    from interplay.lab.report import _Source

    page = _Source([store.root], "final_test_acc").page(None)
    assert page.analysis is not None
    cells = ({"weight_decay": 0.02, "lr": 0.1, "batch_size": 128}, {"weight_decay": 0.04, "lr": 0.1})
    plan = Plan("2 cells beyond open ends", cells, 0, 4, (0.51, 0.76))
    claims = [
        Verdict(name, "inconclusive", None, (None, 0.5), "why", plan, question="Is it so?", own=name == "new")
        for name in ("inverse.profile", "new")
    ]
    claims.append(Verdict("far", "not asked", None, (None, None), "two values of E", question="Far?"))
    page = dataclasses.replace(page, analysis=dataclasses.replace(page.analysis, claims=tuple(claims)))
    words = " ".join(" ".join(Parts(render(page)).words).split())
    assert "Is it so? inverse.profile" in words
    assert words.count("the study's own claim") == 1
    assert "to decide: 2 cells beyond open ends" in words
    assert "4 runs; expected 90 % interval 0.51 to 0.76 λ 0.02, η 0.1, B 128" in words
    assert "at most 0.50" in words
    # What was not asked is one folded line, and no row.
    assert "not asked (too little was varied for it): far" in words
    assert "Far? far needs two values of E" in words
    assert "badge not asked" not in render(page)
    assert "interplay study STUDY --extend" in words
    assert "Asked for by the claims: 2 cells" in words
    assert "λ 0.04, η 0.1 (for inverse.profile, new)" in words


def test_equal_pages_give_equal_text(store: Store, page: Path) -> None:
    from interplay.lab.report import _Source

    text = page.read_text(encoding="utf-8")
    other = _Source([store.root], "final_test_acc").page(None)
    assert render(dataclasses.replace(other, created=embedded(text)["created"])) == text


def test_tables_have_no_curves_and_the_page_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programme: Programme
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [str(table(tmp_path / f"{seed}.csv", programme(seed))) for seed in range(3)]
    assert main(["report", *paths, "--no_figures"]) == 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    data = embedded(html)
    assert data["analysis"]["runs"] == len(data["runs"]) == 3 * len(programme(0))
    assert "These are tables: no curves and no environment." in html
    assert "These runs do not say what they ran on." in html
    assert {"0.csv:2", "2.csv:3"} <= {run["id"] for run in data["runs"]}
    assert {run["status"] for run in data["runs"]} == {"finished", "diverged"}
    assert set(data["charts"]) >= DOCUMENTED_CHARTS
    assert list(tmp_path.glob("*.png")) == []


def test_the_same_table_twice_is_named_as_such(tmp_path: Path, programme: Programme) -> None:
    path = table(tmp_path / "a.csv", programme(0))
    written = report([path, path], tmp_path / "page.html", figures=False)
    words = " ".join(Parts(written.page.read_text(encoding="utf-8")).words)
    assert re.search(r"a\.csv#2 repeats \S*a\.csv#1 to the last digit", words)
    assert "intervals from residuals, since nothing was repeated" in words or "nothing tells the noise" in words


def test_two_studies_stand_side_by_side(tmp_path: Path, fill: Callable[..., Store]) -> None:
    one, other = (fill(tmp_path / name, seeds=seeds).root for name, seeds in (("ours", 2), ("theirs", 1)))
    html = report([one, other], tmp_path / "both.html", figures=False).page.read_text(encoding="utf-8")
    part = html.split('<section id="side-by-side">')[1].split("</section>")[0]
    heads = re.findall(r'<th scope="col">([^<]*)</th>', part)
    assert len(heads) == 3
    assert len(set(heads)) == 3
    rows = re.findall(r'<tr><th scope="row">([^<]+)</th>(.*?)</tr>', part, re.DOTALL)
    alone = read.analyze([one]).claims
    asked = [claim for claim in alone if claim.verdict != "not asked"]
    assert [question for question, _ in rows][:-1] == [claim.question for claim in asked]
    for claim, (_, cells) in zip(asked, rows, strict=False):
        first = cells.split("</td>")[0]
        assert f"badge {claim.verdict}" in first
    assert rows[-1][0] == "Best setting"
    assert "measured by both" in part
    alone_page = report([one], tmp_path / "one.html", figures=False).page.read_text(encoding="utf-8")
    assert "side-by-side" not in alone_page.split("<main>")[1].split("<script")[0]


def test_a_store_without_results_makes_a_page(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    written = report([tmp_path / "outputs"])
    html = written.page.read_text(encoding="utf-8")
    assert written.figures == ()
    assert "No run has finished yet" in html
    assert "There are no runs yet." in html
    assert embedded(html)["analysis"] is None


def test_one_run_makes_a_page_that_concludes_nothing(tmp_path: Path, programme: Programme) -> None:
    store = Store(tmp_path)
    store.commit(programme(0)[0])
    html = report([tmp_path]).page.read_text(encoding="utf-8")
    data = embedded(html)
    assert {claim["verdict"] for claim in data["analysis"]["claims"]} == {"not asked"}
    assert "These runs speak to no claim." in html
    assert "None of the three grids" in html
    assert len(data["runs"]) == 1


def test_losses_are_a_metric_too(store: Store, tmp_path: Path) -> None:
    written = report([store.root], tmp_path / "x" / "page.html", "final_test_loss", figures=False)
    data = embedded(written.page.read_text(encoding="utf-8"))
    grid = next(t for t in data["charts"]["heatmap"]["data"] if t["type"] == "heatmap")
    assert grid["reversescale"]
    assert "nats" in grid["hovertext"][2][2]


def test_the_command_writes_page_and_documented_figures(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "outputs"
    shutil.copytree(store.root, copy, ignore=shutil.ignore_patterns("report.html"))
    assert main(["report", str(copy)]) == 0
    out = capsys.readouterr().out
    assert str(copy / "report.html") in out
    names = sorted(path.name for path in (copy / "plots").iterdir())
    documented = ["exp1_lr_ordering.png", "exp2_eta_lambda_heatmap.png", "exp3_batch_size_scaling.png"]
    assert names == sorted([*documented, *FURTHER])
    assert [p.name for p in copy.glob(".*")] == [".locks"]  # no halves are left of what was written
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "neither an output folder nor a CSV file" in capsys.readouterr().err
    assert main(["report", str(copy), "--interval", "0"]) == 2


def test_a_table_that_cannot_be_read_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("lr,wd\n0.1,0\n")
    with pytest.raises(InputError, match=r"bad\.csv, line 2: no column 'final_test_acc'"):
        report([tmp_path / "bad.csv"], tmp_path / "page.html")


def test_a_folder_without_a_specification_is_shown_and_one_that_is_no_run_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "runs" / "stray").mkdir(parents=True)
    (tmp_path / "runs" / "0123456789abcdef").mkdir()
    data = embedded(report([tmp_path]).page.read_text(encoding="utf-8"))
    (run,) = data["runs"]
    assert (run["id"], run["status"]) == ("0123456789abcdef", "interrupted")
    assert "spec.json" in run["note"]


def test_a_page_needs_no_library_that_draws(store: Store, tmp_path: Path) -> None:
    script = """
import sys
from interplay.cli.main import main
code = main(["report", sys.argv[1], "--no-figures", "--output", sys.argv[2]])
print(code, sorted({"matplotlib", "seaborn", "plotly", "torch"} & set(sys.modules)))
"""
    words = [sys.executable, "-c", script, str(store.root), str(tmp_path / "page.html")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    assert '"heatmap"' in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_garbage_is_collected_as_before_once_a_page_is_made(store: Store, tmp_path: Path) -> None:
    for where, code in ((store.root, 0), (tmp_path / "nowhere", 2)):
        words = ["report", str(where), "--no-figures", "--output", str(tmp_path / "page.html")]
        assert (main(words), gc.isenabled(), gc.get_freeze_count()) == (code, True, 0)


def test_watching_writes_again_when_a_run_moves_or_ends_and_stops_cleanly(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    programme: Programme,
    fill: Callable[..., Store],
) -> None:
    store = fill(tmp_path, seeds=1)
    target = tmp_path / "report.html"
    seen: list[tuple[int, float, float | None]] = []
    more = programme(1)
    left = RunSpec(dataset="digits", model="mlp", epochs=3, seed=98)

    def look(seconds: float) -> None:
        data = embedded(target.read_text(encoding="utf-8"))
        finished = sum(run["status"] == "finished" for run in data["runs"])
        seen.append((finished, seconds, data["refresh"]))
        match len(seen):
            case 1:
                store.commit(more[0])
            case 2:
                store.add_epoch(left.run_id, EpochMetrics(2, 0.1, 1.5, 30.0, 1.6, 29.0), first=False)
            case 3:
                (run,) = (run for run in data["runs"] if run["id"] == left.run_id)
                assert run["history"]["epoch"] == [1, 2]
                assert run["status"] == "interrupted"
                # Nothing changes: the file is left as it is.
                monkeypatch.setattr(sys.modules["interplay.lab.report"], "_write", pytest.fail)
            case 4:
                monkeypatch.undo()
                raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", look)
    assert main(["report", str(tmp_path), "--watch", "--interval", "7", "--no_figures"]) == 0
    before = seen[0][0]
    assert seen == [(before, 7.0, 7.0), (before + 1, 7.0, 7.0), (before + 1, 7.0, 7.0), (before + 1, 7.0, 7.0)]
    assert embedded(target.read_text(encoding="utf-8"))["refresh"] is None
    assert "stays as it is now" in capsys.readouterr().err


class Nowhere:
    """Cells that no run stands behind."""

    def index(self, cell: Cell | None) -> int | None:
        return None

    def values(self, cell: Cell | None) -> list[float]:
        return []


def test_crosses_of_methods_that_diverged_at_one_rate_do_not_hide_each_other() -> None:
    setting = Cell.of(2.0, 0.0, 0.9, 128)
    points = (Point(1.0, 70.0, 0.1, 2, setting), Point(2.0, None, None, 2, setting))
    unknown = Optimum("lr", {}, None, (None, None), "unknown")
    picture = Ordering("final_test_acc", tuple(MethodCurve(name, points, unknown) for name in ("SGD", "SGD+WD")), 128)
    (chart,) = charts.ordering(picture, Nowhere())
    crosses = [trace for trace in chart.data if trace.get("name", "").endswith("diverged")]
    assert [trace["x"] for trace in crosses] == [[2.0], [2.0]]
    assert crosses[0]["y"] < crosses[1]["y"]
