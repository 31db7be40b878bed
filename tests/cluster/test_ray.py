"""Accidents that only a Ray cluster knows. However it goes, each configuration ends with one row."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))

from test_executors import Harness

from interplay.cli.main import main
from interplay.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture
def study(two_nodes: Any, tmp_path: Path) -> Iterator[Harness]:
    found = Harness("ray", tmp_path)
    found.words = ["--address", two_nodes.address]
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("trainer", ["", "command"])
def test_a_node_that_vanishes_costs_only_its_unfinished_runs(
    study: Harness, two_nodes: Any, pace: float, trainer: str
) -> None:
    study.trainer = trainer
    study.write(runs=5, epochs=300 if trainer else round(5 / pace))
    process = study.start("--checkpoint_seconds", "0.5")
    study.until("runs/*/record.json")
    finished = {path: path.stat().st_mtime_ns for path in study.output.glob("runs/*/record.json")}
    study.in_progress(3)
    two_nodes.tell("remove")
    out = study.finish(process)
    two_nodes.tell("add")
    assert process.returncode == 0, out
    assert "the node of worker ray" in out, out
    assert "goes on elsewhere" in out
    study.check()
    assert finished
    assert finished.items() <= {path: path.stat().st_mtime_ns for path in finished}.items()


def test_a_study_starts_and_ends_a_cluster_of_its_own(study: Harness) -> None:
    study.words = []
    study.write(runs=3, epochs=10)
    code, out = study.run()
    assert code == 0, out
    study.check()
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if str(study.output) in " ".join(p.info["cmdline"] or [])]
    assert left == []


def test_a_cluster_that_has_no_gpu_or_is_not_there_says_so(study: Harness) -> None:
    study.write(runs=1, epochs=1)
    code, out = study.run("--gpus", "all")
    assert code == 2, out
    assert "--gpus all: the Ray cluster has no GPU" in out
    assert "Traceback" not in out


def test_ray_chooses_among_its_gpus_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--executor", "ray", "--gpus", "0,1", "--output_dir", str(tmp_path / "o")]
    assert main(["study", "lr-ordering", *words]) == 2
    assert "say --gpus all" in capsys.readouterr().err


SHARED = """
import json, sys
from pathlib import Path
import ray
from interplay.executors.base import Listener
from interplay.executors.ray_actors import RayExecutor
from interplay.executors.signals import StopRequest
from interplay.executors.job import Job
from interplay.spec import RunSpec
from interplay.store.store import Store

ray.init(address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
base = RunSpec(dataset="digits", model="mlp", epochs=int(sys.argv[2]), precision="fp32")
specs = [base.replace(seed=seed) for seed in range(4)]
# The GPU is Ray's alone, so the workers are told to train on the CPU.
job = Job("data", sys.argv[1], "cpu")
report = RayExecutor(per_gpu=2).run(specs, Store(Path(sys.argv[1])), job, Listener(), StopRequest())
print(json.dumps([record.environment["at_once"] for record in report.committed]))
"""


def test_two_runs_share_a_gpu_and_no_third(tmp_path: Path, pace: float) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    output = tmp_path / "outputs"
    process = subprocess.Popen(
        [sys.executable, "-c", SHARED, str(output), str(round(3 / pace))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    most = 0
    while process.poll() is None:
        most = max(most, len(list(output.glob("runs/*/claim.json"))))
        time.sleep(0.05)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert json.loads(out.strip().splitlines()[-1]) == [2, 2, 2, 2]
    assert most == 2
    assert len(list(Store(output).records())) == 4


def test_a_killed_worker_counts_against_its_run_every_time(study: Harness, pace: float) -> None:
    study.write(runs=1, epochs=round(8 / pace))
    process = study.start("--checkpoint_seconds", "0.3")
    for _ in range(2):
        study.in_progress()
        before = {p.pid for p in study.owners()}
        study.owners()[0].kill()
        while not {p.pid for p in study.owners()} - before and process.poll() is None:
            time.sleep(0.1)
    out = study.finish(process)
    assert process.returncode == 0, out
    assert out.count("is tried again") == 2
    study.check()
    (path,) = study.output.glob("runs/*/history.jsonl")
    epochs = [json.loads(line)["epoch"] for line in path.read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))
