"""The benchmarks of GPUs, on a CPU and very small: their figures mean nothing there, but the code is the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


def bench(root: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *words], cwd=root, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.thorough  # the session below goes through the same functions
def test_the_benchmark_of_gpus_prints_all_its_tables(root: Path) -> None:
    kept = set((root / "benchmarks" / "results").iterdir())
    said = bench(root, "--device", "cpu", "--tiny", "--repeats", "1", "--no_compiled")
    for title in (
        "matmul peak",
        "images per second (share of the peak)",
        "k processes at once",
        "k runs on k streams",
        "stacks of K networks",
        "start at B = 16",
        "a captured step at B = 32",
    ):
        assert title in said
    assert set((root / "benchmarks" / "results").iterdir()) == kept


def test_without_a_gpu_it_says_what_is_owed(root: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU, and the figures can be measured: make bench-gpu")
    said = bench(root)
    assert "There is no usable GPU here" in said
    assert said.count("\n  - ") == 8 - 1


def test_a_step_of_resnet18_moves_what_docs_say(root: Path) -> None:
    """Counted, not measured: 3.8 GB at B = 128, of which the update takes 20 bytes for each of 11.2 million weights."""
    said = subprocess.run(
        [sys.executable, "benchmarks/traffic.py", "--sizes", "128", "--no_keep"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = {words[0]: words[-2:] for line in said.splitlines() if len(words := line.split()) > 2}
    assert rows["update"] == ["224", "2"]
    assert rows["whole"] == ["3,812", "217"]
    assert "3.81 GB" in (root / "docs" / "speed.md").read_text()


# -- the session on a bare machine -------------------------------------------------------------------------------------

BARE = """
import sys
from importlib.machinery import PathFinder

ABSENT = {absent!r}


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else PathFinder.find_spec(name, path, target)


sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A ``sitecustomize`` with which modules are as absent as where they were never installed."""

ABSENT = (
    *("tyro", "wandb", "plotly", "jinja2", "sklearn", "matplotlib", "rich"),
    *("seaborn", "psutil", "tqdm", "PIL", "pynvml", "cloudpickle", "xdist"),
)

SECTIONS = {
    "agree": 8,  # two precisions by four ways
    "tests": 1,
    "bench": 7,  # two sizes by two, start, profile, switches
    "packing": 5,
    "chunk": 2,
    "hyper": 2,
    "faults": 4,
}


@pytest.mark.slow
def test_every_part_of_the_session_runs_where_little_is_installed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sitecustomize.py").write_text(BARE.format(absent=ABSENT))
    out = tmp_path / "out"
    words = ["--device", "cpu", "--tiny", "--repeats", "1", "--at_once", "2", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu_session.py", *SECTIONS, *words],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "bare")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    found = {part: json.loads((out / f"{part}.json").read_text())["sections"] for part in SECTIONS}
    assert [section for part in found.values() for section in part.values() if section["errors"]] == []
    assert done.returncode == 0, done.stdout + done.stderr
    for part, sections in found.items():
        assert len(sections) == SECTIONS[part]
        assert {section["state"] for section in sections.values()} == {"done"}
        assert all(section["tables"] for section in sections.values())
    assert len((out / "chunk" / "results" / "results.csv").read_text().splitlines()) == 1 + 2
    assert len(list((out / "chunk" / "runs").glob("*/record.json"))) == 2


@pytest.fixture
def parts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the parts of the session importable, as its script does."""
    monkeypatch.syspath_prepend(root / "benchmarks")


def options(out: Path, **words: Any) -> Any:
    import torch
    from session_parts.book import Options

    told: dict[str, Any] = {
        "device": torch.device("cpu"),
        "tiny": True,
        "out": out,
        "minutes": 5.0,
        "only": (),
        "sizes": (16,),
        "repeats": 1,
        "at_once": 1,
        "way": "single",
        "data_dir": None,
    }
    return Options(**{**told, **words})


def kept(out: Path, part: str) -> Any:
    return json.loads((out / f"{part}.json").read_text())["sections"]


@pytest.mark.usefixtures("parts")
def test_a_section_that_fails_is_kept_and_the_next_one_goes_on(tmp_path: Path) -> None:
    from session_parts.book import Session

    session = Session("some", options(tmp_path))

    def bad() -> None:
        session.table("before", ["a"], [[1]])
        raise RuntimeError("no such kernel")

    def good() -> None:
        way = session.guarded("slow", lambda: 1 / 0)
        assert str(way()) == str(way()) == "nan"
        session.table("after", ["a"], [[2]])

    assert not session.run({"bad": bad, "good": good})
    found = kept(tmp_path, "some")
    assert found["bad"]["state"] == "error"
    assert found["bad"]["errors"][0]["error"] == "RuntimeError: no such kernel"
    assert found["bad"]["tables"][0]["rows"] == [["1"]]
    assert found["good"]["state"] == "done"
    assert [each["of"] for each in found["good"]["errors"]] == ["slow"]

    # A later call leaves alone what it is not asked for, or has no time for.
    later = Session("some", options(tmp_path, only=("bad",)))
    assert later.run({"bad": lambda: None, "good": good})
    assert kept(tmp_path, "some")["good"] == found["good"]
    late = Session("some", options(tmp_path, minutes=0.0))
    assert late.run({"good": good, "more": good})
    assert kept(tmp_path, "some")["good"] == found["good"]
    assert kept(tmp_path, "some")["more"]["state"] == "left out"


STUCK = """
import sys, time
from pathlib import Path
import torch
from session_parts import book

book.GRACE = 0.5
words = dict(sizes=(), repeats=1, at_once=1, way="single", data_dir=None, tiny=True, only=())
session = book.Session("stuck", book.Options(torch.device("cpu"), out=Path(sys.argv[1]), minutes=0.01, **words))

def stuck():
    session.table("before", ["a"], [[1]])
    with session.child([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        print("child", process.pid, flush=True)
        time.sleep(600)

with session.watched():
    session.run({"stuck": stuck, "next": lambda: None})
"""


def test_a_section_that_does_not_end_ends_the_part_with_what_it_has(root: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join([str(root / "benchmarks"), str(root / "src")])
    done = subprocess.run(
        [sys.executable, "-c", STUCK, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    found = kept(tmp_path, "stuck")
    assert list(found) == ["stuck"]
    assert found["stuck"]["state"] == "error"
    assert found["stuck"]["errors"][0]["error"] == "out of time"
    assert found["stuck"]["tables"][0]["rows"] == [["1"]]
    (child,) = (int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("child "))
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.usefixtures("parts")
def test_a_run_that_does_not_end_in_time_goes_on_in_a_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from session_parts import chunk
    from session_parts.book import Session

    session = Session("chunk", options(tmp_path))
    sections = chunk.sections(session, session.options)
    name, *others = sections
    with monkeypatch.context() as patch:
        patch.setattr(session, "left", lambda: 1.0 if session._now == {} else -1.0)  # over once it has begun
        assert session.run(sections)
    found = kept(tmp_path, "chunk")
    assert [row[1:3] for row in found[name]["tables"][0]["rows"]] == [["stopped, with a checkpoint", "1"]]
    assert [found[other]["state"] for other in others] == ["left out"]

    again = Session("chunk", options(tmp_path))
    assert again.run(chunk.sections(again, again.options))
    found = kept(tmp_path, "chunk")
    assert [found[each]["tables"][0]["rows"][0][1] for each in sections] == ["finished", "finished"]
    assert found[name]["values"]["epochs"][0][1] == "2"
    assert list(chunk.sections(again, again.options)) == ["nothing left"]

    beside = Session("chunk", options(tmp_path / "beside", way="streams", at_once=2))
    together = chunk.sections(beside, beside.options)
    assert len(together) == 1
    assert beside.run(together)
    [section] = kept(tmp_path / "beside", "chunk").values()
    assert [row[1:3] for row in section["tables"][0]["rows"]] == [["finished", "2"]] * 2


@pytest.mark.usefixtures("parts")
def test_the_runs_nearest_to_the_recipe_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from session_parts import chunk

    runs = chunk.wanted(options(tmp_path, data_dir=tmp_path, tiny=False))
    assert len(runs) == 74
    assert [(spec.lr, spec.weight_decay) for spec in runs[:4]] == [
        *((0.1, 5e-4), (0.05, 5e-4), (0.1, 1e-3), (0.2, 5e-4))
    ]
    table = tmp_path / "results.csv"
    table.write_text(f"run_id,status\n{runs[0].run_id},finished\n{runs[1].run_id},failed\n")
    monkeypatch.setattr(chunk, "RESULTS", table)
    read: list[object] = []
    monkeypatch.setattr(chunk, "load", lambda *args: read.append(args))
    session = SimpleNamespace(say=lambda line: None)
    found = chunk.sections(session, options(tmp_path, data_dir=tmp_path, tiny=False))
    assert len(found) == 73
    assert len(read) == 1  # data that cannot be read are one error and not 73
