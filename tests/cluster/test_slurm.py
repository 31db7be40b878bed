"""Studies on a real Slurm, driven as a user drives them. However it goes, each configuration ends with one row."""

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

from interplay.executors.job import Job
from interplay.executors.slurm.executor import SlurmExecutor
from interplay.executors.slurm.jobs import Submission, alive, endings
from interplay.spec import RunSpec
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.study.slurm import SlurmOptions

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


class Study(Harness):
    """A study on Slurm: the submitting command returns at once."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        super().__init__("slurm", folder)
        self.cluster = cluster

    def command(self, *words: str) -> str:
        """Run a command of the lab to its end and return what it says; it must succeed."""
        whole = [sys.executable, "-m", "interplay.cli.main", *words, "--output_dir", str(self.output)]
        done = subprocess.run(whole, capture_output=True, text=True, cwd=self.folder, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def submit(self, *words: str) -> str:
        """Hand the study to Slurm; the number of the job."""
        code, out = self.run("--checkpoint_seconds", "0.5", *words)
        assert code == 0, out
        return out.split("Slurm job ")[1].split(":")[0]

    def state(self, job: str) -> str:
        return self.cluster.client("squeue", "--noheader", "--format=%T", "--jobs", job).stdout.strip()

    def goes_on(self) -> bool:
        """Whoever submitted has gone: it is Slurm that has the study."""
        return bool(self.cluster.client("squeue", "--noheader").stdout.strip())

    def until_gone(self, seconds: float = 120) -> None:
        """Wait until Slurm has no job of this study any more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.cluster.client("squeue", "--noheader").stdout.strip():
                return
            time.sleep(0.3)
        raise AssertionError(f"jobs do not end: {self.log()}")

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.output.glob("jobs/slurm/*_log.*")))


@pytest.fixture
def study(slurm: Any, tmp_path: Path) -> Iterator[Study]:
    found = Study(slurm, tmp_path)
    yield found
    slurm.client("scancel", "--user", "root")
    found.until_gone(40)


def test_a_study_runs_to_its_end_while_the_submitter_has_gone(study: Study) -> None:
    study.write(runs=6, epochs=20, extra="[slurm]\npartition = 'main'\nmem = '800M'\ntime = 20\n")
    job = study.submit("--account", "lab", "--sbatch=--comment=hello")
    shown = study.cluster.client("scontrol", "show", "job", job).stdout
    assert "Account=lab" in shown
    assert "Partition=main" in shown
    assert "TimeLimit=00:20:00" in shown
    assert "Comment=hello" in shown
    status = study.command("status")
    assert f"job         {job}  study: " in status
    study.until_gone()
    study.check()
    assert "6 finished, 0 running" in study.command("status")
    assert study.command("cancel") == "no job of this store waits or runs\n"
    code, out = study.run()  # nothing is missing, so nothing is submitted
    assert (code, "6 done, 0 missing" in out, "Slurm job" in out) == (0, True, False)


def test_a_cancelled_study_is_reported_and_goes_on_when_it_is_submitted_again(study: Study, pace: float) -> None:
    study.write(runs=2, epochs=round(10 / pace))
    job = study.submit()
    study.in_progress(2)
    assert study.command("cancel", "study").startswith(f"cancelled job {job} (study)")
    study.until_gone(60)
    status = study.command("status")
    assert "0 running" in status
    assert "interrupted" in status.splitlines()[1]  # asked politely: a checkpoint, and no claim left behind
    assert any(study.output.glob("runs/*/last.pt"))
    assert not any(study.output.glob("runs/*/claim.json"))
    (made,) = (Submission(**json.loads(p.read_text())) for p in study.output.glob("jobs/slurm-*.json"))
    assert alive([made]) == []
    assert "cancelled" in endings(made) or "completed" in endings(made)
    study.submit()
    study.until_gone()
    study.check()


@pytest.mark.parametrize("trainer", ["", "command"])
def test_a_killed_allocation_costs_only_the_time_since_its_checkpoint(study: Study, pace: float, trainer: str) -> None:
    """No goodbye at all: the whole step gets SIGKILL. What it had is found by its neighbour, which is still at work."""
    study.trainer = trainer
    study.write(runs=3, epochs=300 if trainer else round(5 / pace))
    job = study.submit()
    study.in_progress(2)
    study.cluster.client("scancel", "--signal=KILL", "--full", f"{job}_0")
    study.until_gone()
    study.check()


def test_a_worker_that_hangs_loses_its_run(study: Study, pace: float) -> None:
    """The allocation is its supervisor; whoever submitted it has gone."""
    study.write(runs=3, epochs=round(5 / pace))
    study.submit("--hang_seconds", "10")
    study.in_progress(2)
    study.owners()[0].suspend()
    study.until_gone(180)
    assert "shows no progress for 10 s: killed" in study.log()
    study.check()


def test_the_time_limit_stops_at_an_epoch_and_the_job_comes_back_until_it_is_done(study: Study, pace: float) -> None:
    study.write(runs=1, epochs=round(120 / pace))  # more than the limit of two minutes leaves, start and notice off
    job = study.submit("--workers", "1", "--time", "2", "--notice_seconds", "20")
    deadline = time.monotonic() + 180
    while "requeue job" not in study.log():
        assert time.monotonic() < deadline, study.log()
        time.sleep(0.3)
    (last,) = study.output.glob("runs/*/last.pt")
    assert last.exists()
    while study.state(job) != "PENDING":
        assert time.monotonic() < deadline, study.state(job)
        time.sleep(0.1)
    reached = len((last.parent / "history.jsonl").read_text().splitlines())
    assert reached > 0
    deadline = time.monotonic() + 60
    while len((last.parent / "history.jsonl").read_text().splitlines()) <= reached:
        assert time.monotonic() < deadline, study.log()
        time.sleep(0.3)
    epochs = [json.loads(line)["epoch"] for line in (last.parent / "history.jsonl").read_text().splitlines()]
    assert epochs == list(range(1, len(epochs) + 1))  # it went on at the epoch, and none is there twice
    assert "restart 1" in study.log()
    study.until_gone(400)
    study.check()


def test_submitted_twice_by_mistake(study: Study) -> None:
    study.write(runs=4, epochs=30)
    first = study.submit()
    code, out = study.run()
    assert code == 0, out
    assert f"note: job {first} is at work on this study already" in out
    study.until_gone()
    study.check()


def test_each_worker_of_an_allocation_has_a_gpu_of_its_own(study: Study, pace: float) -> None:
    """The two GPUs are Slurm's alone, so the workers are told to train on the CPU; what they see is what counts."""
    specs = tuple(
        RunSpec(dataset="digits", model="mlp", epochs=round(4 / pace), seed=s, precision="fp32") for s in range(3)
    )
    store = Store(study.output)
    options = SlurmOptions(gpus_per_node=2, workers_per_gpu=1, time="10")
    executor = SlurmExecutor(options, 0, Manifest("gpus", specs))
    executor.submit(store, Job("data", str(study.output), "cpu", lapse_seconds=3.0))
    seen: set[tuple[str, str]] = set()
    deadline = time.monotonic() + 60
    while len(seen) < 2 and time.monotonic() < deadline:
        for path in study.output.glob("runs/*/claim.json"):
            try:
                claim = json.loads(path.read_text())
                seen.add((claim["worker"].split()[0], psutil.Process(claim["pid"]).environ()["CUDA_VISIBLE_DEVICES"]))
            except (OSError, psutil.NoSuchProcess):
                continue
        time.sleep(0.05)
    assert seen == {("gpu0", "0"), ("gpu1", "1")}
    study.until_gone()
    assert len(list(store.records())) == 3
