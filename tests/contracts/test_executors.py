"""The contract of all executors, driven from outside as a user drives them: through the command line and signals.

After every accident each configuration has exactly one committed row, none is lost, none is doubled, and what failed is
named.
"""

from __future__ import annotations

import contextlib
import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from interplay.record import RunRecord
from interplay.store.store import Store
from interplay.study.files import load
from interplay.trial import Spec, Trial

EXECUTORS = ["inline", "local", "inline-command", "local-command", pytest.param("stacks", marks=pytest.mark.stacks)]
"""``stacks`` is the local executor with several runs in each worker; ``-command`` trains by a script of somebody's own,
which knows nothing of this lab (`examples/resumable/train.py`)."""

# Clusters pass what does not take minutes on them (a dozen kills), nor is an accident of one machine (a full disk). On
# Slurm the command is no supervisor: that it is stopped, killed or given twice is among the accidents of tests/cluster.
SLURM, RAY = (
    [pytest.param(f"{name}{trainer}", marks=pytest.mark.cluster) for trainer in ("", "-command")]
    for name in ("slurm", "ray")
)
everywhere = pytest.mark.parametrize("harness", [*EXECUTORS, *SLURM, *RAY], indirect=True)
everywhere_but_slurm = pytest.mark.parametrize("harness", [*EXECUTORS, *RAY], indirect=True)

pytestmark = pytest.mark.slow


OWN = """
[base]
dataset = "digits"
model = "mlp"
label_noise = 0.2
"""

SCRIPT = Path(__file__).parents[2] / "examples" / "resumable" / "train.py"
TRAINER = """
[trainer]
command = "{python} train.py --lr {{lr}} --epochs {{epochs}} --seed {{seed}} --out {{run_dir}} --slow 0.01"
metrics = "metrics.jsonl"
"""


class Harness:
    """A study in a folder of its own, and the command that runs it. A name ends in ``-command`` for one of a script."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.executor, _, self.trainer = name.partition("-")
        self.output = folder / "outputs"
        self.file = folder / "study.toml"
        self.started: list[subprocess.Popen[str]] = []
        self.words: list[str] = []

    def write(self, *, runs: int = 12, epochs: int = 60, extra: str = "") -> None:
        rates = [round(0.01 * (i + 1), 6) for i in range(runs)]
        base = TRAINER.format(python=sys.executable) if self.trainer else OWN
        self.file.write_text(f"{base}[[grid]]\nepochs = {epochs}\nlr = {rates}\n{extra}")
        if self.trainer:
            shutil.copy(SCRIPT, self.folder)

    @property
    def specs(self) -> list[Spec]:
        return [s if isinstance(s, Trial) else s.replace(precision="fp32") for s in load(self.file).specs]

    def start(self, *words: str) -> subprocess.Popen[str]:
        way = {
            # As one run at a time, so that numbers do not depend on who was a run's neighbour.
            "inline": ["inline", "--path", "single"],
            "local": ["local", "--path", "single"],
            "stacks": ["local", "--path", "fused", "--stack", "4"],
        }.get(self.executor, [self.executor])
        command = [sys.executable, "-m", "interplay.cli.main", "study", str(self.file), "--executor", *way]
        command += ["--output_dir", str(self.output), "--workers", "2", "--lapse_seconds", "3", *self.words, *words]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], timeout: float = 900) -> str:
        out, _ = process.communicate(timeout=timeout)
        return out

    def run(self, *words: str) -> tuple[int, str]:
        process = self.start(*words)
        out = self.finish(process)
        return process.returncode, out

    def workers(self, process: subprocess.Popen[str]) -> list[psutil.Process]:
        """The processes that train: the process itself inline, children of a local executor, else whoever has runs."""
        if self.executor in ("slurm", "ray"):
            return self.owners()
        try:
            this = psutil.Process(process.pid)
            return [this] if self.executor == "inline" else this.children()
        except psutil.NoSuchProcess:
            return []

    def owners(self) -> list[psutil.Process]:
        """Processes of this machine that have claims."""
        found = []
        for path in self.output.glob("runs/*/claim.json"):
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                found.append(psutil.Process(json.loads(path.read_text())["pid"]))
        return found

    def rows(self) -> list[dict[str, str]]:
        path = self.output / "results" / "results.csv"
        if not path.exists():
            return []
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def check(self, failed: frozenset[str] = frozenset()) -> None:
        """Exactly one committed row for every configuration, and records and table agree."""
        store = Store(self.output)
        expected = {spec.run_id for spec in self.specs}
        rows = self.rows()
        assert sorted(row["run_id"] for row in rows) == sorted(expected)
        assert {row["run_id"] for row in rows if row["status"] == "failed"} == failed
        for run_id in expected - failed:
            record = store.record(run_id)
            assert record is not None
            assert [m.epoch for m in record.history] == list(range(1, record.spec.epochs + 1))
            lines = (store.folder(run_id) / "history.jsonl").read_text().splitlines()
            assert [json.loads(line)["epoch"] for line in lines] == list(range(1, record.spec.epochs + 1))
            left = {p.name for p in store.folder(run_id).iterdir()} - {"spec.json", "history.jsonl", "record.json"}
            if self.trainer:
                left -= {"trial", "stdout.log", "stderr.log"}
            assert not {name for name in left if not name.startswith(("beat.", "failed-"))}
        text = store.results.read_bytes()
        assert store.rebuild() == []
        assert store.results.read_bytes() == text

    def goes_on(self) -> bool:
        """Whether somebody is still at work on the study."""
        return any(process.poll() is None for process in self.started)

    def until(self, pattern: str, count: int = 1) -> None:
        """Wait until the output has ``count`` files of a pattern.

        How long that may take is for the machine to say: it is waited for as long as the study goes on and something
        moves. What does not move for ten minutes is stuck on any machine.
        """
        seen, since = -1.0, time.monotonic()
        while True:
            if len(list(self.output.glob(pattern))) >= count:
                return
            assert self.goes_on() or list(self.output.glob(pattern)), f"it ended before there was a {pattern}"
            moved = 0.0
            for path in self.output.glob("runs/*/*"):
                with contextlib.suppress(OSError):
                    moved = max(moved, path.stat().st_mtime)
            if moved != seen:
                seen, since = moved, time.monotonic()
            assert time.monotonic() - since < 600, f"nothing moves, and there is no {pattern}"
            time.sleep(0.02)

    def in_progress(self, count: int = 1) -> None:
        """Wait until ``count`` runs have begun."""
        self.until("runs/*/history.jsonl", count)


@pytest.fixture(params=EXECUTORS)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    found = Harness(request.param, tmp_path)
    if found.executor == "slurm":
        request.getfixturevalue("slurm")
        found.words = ["--wait", "--time", "10"]
    elif found.executor == "ray":
        found.words = ["--address", request.getfixturevalue("two_nodes").address]
    yield found
    for process in found.started:
        for each in [*found.workers(process), process]:
            try:
                each.send_signal(signal.SIGCONT)
                each.kill()
            except (psutil.NoSuchProcess, ProcessLookupError):
                continue
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if found.executor == "slurm":
        subprocess.run(["scancel", "--user", "root"], check=True)


def numbers(record: RunRecord) -> list[tuple[float | None, float | None]]:
    return [(m.train_loss, m.val_acc if m.test_loss is None else m.test_loss) for m in record.history]


@everywhere
def test_runs_everything_once_and_a_second_call_runs_nothing(harness: Harness) -> None:
    harness.write(runs=6, epochs=5)
    code, out = harness.run()
    assert code == 0, out
    harness.check()
    written = {p: p.stat().st_mtime_ns for p in harness.output.glob("runs/*/record.json")}
    code, out = harness.run()
    assert code == 0, out
    assert "6 done, 0 missing" in out
    assert {p: p.stat().st_mtime_ns for p in harness.output.glob("runs/*/record.json")} == written

    harness.write(runs=8, epochs=5)  # the grid is extended
    code, out = harness.run()
    assert "8 runs: 6 done, 2 missing" in out
    harness.check()
    assert written.items() <= {p: p.stat().st_mtime_ns for p in harness.output.glob("runs/*/record.json")}.items()


@pytest.mark.parametrize("wanted", [12, pytest.param(30, marks=pytest.mark.thorough)])
def test_workers_killed_at_random_moments(harness: Harness, wanted: int) -> None:
    harness.write(runs=16, epochs=250)
    rng = random.Random(0)
    kills, process = 0, harness.start("--checkpoint_seconds", "0.2")
    deadline = time.monotonic() + 400
    while kills < wanted and time.monotonic() < deadline:
        if process.poll() is not None:
            if process.returncode >= 0:  # done before that, but for runs that died three times: more work
                harness.write(runs=len(harness.specs) + 8, epochs=250)
            process = harness.start("--checkpoint_seconds", "0.2")
        time.sleep(rng.uniform(0.1, 6.0 if harness.executor == "inline" else 3.0))
        if workers := harness.workers(process):
            rng.choice(workers).kill()
            kills += 1
            if harness.executor == "inline":
                process.wait()
    assert kills == wanted
    if process.poll() is None:
        harness.finish(process)
    for _ in range(5):  # a run may have been marked failed after three deaths: that is named, and retried
        code, out = harness.run()
        if code == 0 and "failed" not in out:
            break
        executor = "inline" if harness.executor == "inline" else "local"
        words = ["retry", "--executor", executor, "--output_dir", str(harness.output)]
        retried = subprocess.run(
            [sys.executable, "-m", "interplay.cli.main", *words],
            capture_output=True,
            text=True,
            cwd=harness.folder,
            timeout=240,
        )
        assert retried.returncode == 0, retried.stdout + retried.stderr
    harness.check()


@everywhere
def test_a_killed_worker_changes_no_number(harness: Harness) -> None:
    harness.write(runs=2, epochs=300)
    process = harness.start("--checkpoint_seconds", "0.1")
    harness.in_progress()
    time.sleep(0.7)
    harness.workers(process)[0].kill()
    if harness.executor == "inline":
        process.wait()
        process = harness.start()
    harness.finish(process)
    harness.check()
    stacked = harness.executor == "stacks"
    undisturbed = Harness(
        "stacks" if stacked else "inline-command" if harness.trainer else "inline", harness.folder / "undisturbed"
    )
    undisturbed.folder.mkdir()
    undisturbed.write(runs=2, epochs=300)
    assert undisturbed.run()[0] == 0
    for spec in harness.specs:
        one, other = Store(harness.output).record(spec.run_id), Store(undisturbed.output).record(spec.run_id)
        assert one is not None
        assert other is not None
        if stacked:  # with other neighbours: as good as the same
            assert np.allclose(np.array(numbers(one), float), np.array(numbers(other), float), rtol=1e-3)
        else:
            assert numbers(one) == numbers(other)


@everywhere_but_slurm
def test_the_supervisor_killed_and_started_again(harness: Harness) -> None:
    harness.write(runs=8, epochs=150)
    for _ in range(3):
        process = harness.start("--checkpoint_seconds", "0.2")
        before = len(list(harness.output.glob("runs/*/history.jsonl")))
        harness.in_progress(min(before + 1, 8))
        process.kill()
        process.wait()
    code, out = harness.run()
    assert code == 0, out
    harness.check()


@everywhere_but_slurm
def test_two_supervisors_on_one_store_at_once(harness: Harness) -> None:
    harness.write(runs=10, epochs=80)
    first, second = harness.start(), harness.start()
    outs = [harness.finish(first), harness.finish(second)]
    assert [first.returncode, second.returncode] == [0, 0], outs
    harness.check()


@everywhere_but_slurm
def test_a_stop_and_the_same_command_again(harness: Harness) -> None:
    harness.write(runs=4, epochs=400)
    process = harness.start()
    harness.in_progress()
    process.send_signal(signal.SIGTERM)
    out = harness.finish(process)
    assert process.returncode == 130, out
    assert "the same command goes on" in out
    assert any(map(Store(harness.output).has_checkpoint, (spec.run_id for spec in harness.specs)))
    assert not any(harness.output.glob("runs/*/claim.json"))
    code, out = harness.run()
    assert code == 0, out
    harness.check()


def test_a_full_disk_loses_nothing(harness: Harness) -> None:
    harness.output.mkdir()
    harness.write(runs=10, epochs=100)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", harness.output], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        code, out = harness.run()
        assert code == 1, out
        assert "No space left on device" in out
        assert "Traceback" not in out
        done = {row["run_id"] for row in harness.rows()}
        assert done < {spec.run_id for spec in harness.specs}
        subprocess.run(["mount", "-o", "remount,size=64m", harness.output], check=True)
        code, out = harness.run()
        assert code == 0, out
        harness.check()
    finally:
        subprocess.run(["umount", "-l", harness.output], check=True)


@everywhere
def test_an_unwritable_folder_is_named_and_costs_nothing(harness: Harness) -> None:
    harness.write(runs=3, epochs=5)
    harness.output.mkdir()
    (harness.output / "runs").write_text("a file where the folder should be")
    code, out = harness.run()
    assert code == 2, out
    assert str(harness.output / "runs") in out
    assert "Traceback" not in out
    (harness.output / "runs").unlink()
    assert harness.run()[0] == 0
    harness.check()


ALWAYS_RAISES = {
    "": """
[[grid]]
model = "hyper_resnet"
blocks_per_stage = 1
train_limit = 16
batch_size = 16
lr = 1e300      # a number, and more than single precision holds: torch refuses the first step
epochs = 1
""",
    "command": """
[[grid]]
lr = "high"
epochs = 1
""",
}
REASON = {
    "": "RuntimeError: value cannot be converted to type float without overflow",
    "command": "exit code 2: train.py: error: argument --lr: invalid float value: 'high'",
}


@everywhere
def test_a_run_that_always_raises_is_named_and_the_rest_goes_on(harness: Harness) -> None:
    harness.write(runs=4, epochs=5, extra=ALWAYS_RAISES[harness.trainer])
    reason = REASON[harness.trainer]
    code, out = harness.run()
    assert code == 1, out
    bad = next(spec for spec in harness.specs if spec.epochs == 1)
    assert "failed: " in out
    assert reason in out
    harness.check(failed=frozenset({bad.run_id}))
    record = Store(harness.output).record(bad.run_id)
    assert record is not None
    assert record.traceback is not None
    assert reason.rpartition(": ")[2] in record.traceback
    status = subprocess.run(
        [sys.executable, "-m", "interplay.cli.main", "status", "--output_dir", str(harness.output)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "4 finished, 0 running, 0 diverged, 0 interrupted, 1 failed" in status
    assert reason in status
    code, out = harness.run()  # not tried again by itself
    assert "1 failed" in out
    assert "interplay retry runs them again" in out
    assert code == 1


@everywhere_but_slurm
def test_a_worker_that_hangs_loses_its_run_and_cannot_commit_twice(harness: Harness) -> None:
    """A stopped process hangs as a whole: its beats cease. Woken up later, it must not double a row."""
    harness.write(runs=4, epochs=150)
    # Loading torch and data is no progress either, and takes as long as this machine takes now.
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import interplay.executors.worker"], check=True)
    seconds = max(10, round(5 * (time.monotonic() - began)))
    process = harness.start("--hang_seconds", str(seconds))
    harness.in_progress()
    # One that has a run: a worker that is still starting would be missed by nobody.
    hung = harness.workers(process)[0] if harness.executor == "inline" else harness.owners()[0]
    hung.suspend()
    if harness.executor == "inline":
        code, out = harness.run()  # another supervisor takes over
        assert code == 0, out
        hung.resume()
        harness.finish(process)
    else:
        out = harness.finish(process)
        assert process.returncode == 0, out
        assert f"shows no progress for {seconds} s: killed" in out
    harness.check()
