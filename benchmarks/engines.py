"""Start-up, overhead a run and recovery after a kill, for local, Slurm and Ray: ``python benchmarks/engines.py``.

Each engine gets the same studies through the command line, with two workers: trivial runs for the overhead, long ones
for the kill. Slurm is a real one, started as in the tests (root on Debian); Ray is a new one each command.
Everything is measured in this run, on this machine; compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cluster"))

from common import Report
from slurm_cluster import NoSlurmError, SlurmCluster

STUDY = '[base]\ndataset = "digits"\nmodel = "mlp"\nlabel_noise = 0.2\n[[grid]]\nepochs = {epochs}\nlr = {rates}\n'
ENGINES = {
    "local": ["--executor", "local"],
    "slurm": ["--executor", "slurm", "--wait", "--time", "10"],
    "ray": ["--executor", "ray"],
}


def start(folder: Path, engine: str, runs: int, epochs: int) -> subprocess.Popen[bytes]:
    """The command, on a study of ``runs``."""
    rates = [round(0.001 * (i + 1), 6) for i in range(runs)]
    (folder / "study.toml").write_text(STUDY.format(epochs=epochs, rates=rates))
    words = ["study", "study.toml", "--workers", "2", "--checkpoint_seconds", "0.5", "--lapse_seconds", "6"]
    command = [sys.executable, "-m", "interplay.cli.main", *words, *ENGINES[engine]]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(found: Callable[[], object], seconds: float = 120.0) -> object:
    """Wait for ``found`` to give something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.01)
    raise TimeoutError


def claims(folder: Path) -> dict[str, tuple[int, str]]:
    """Process and attempt that have each run."""
    owners = {}
    for path in folder.glob("outputs/runs/*/claim.json"):
        try:
            claim = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        owners[path.parent.name] = (claim["pid"], claim["attempt"])
    return owners


def overhead(engine: str, runs: int = 40) -> tuple[float, float]:
    """Seconds until the first run is claimed, and milliseconds a run beyond its training once all workers are there."""
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name), time.monotonic()
        process = start(folder, engine, runs, 1)
        until(lambda: claims(folder))
        up = time.monotonic() - began
        process.wait(300)
        with (folder / "outputs/results/results.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == runs, (engine, len(rows))
        ends = [datetime.fromisoformat(row["committed_at"]).timestamp() for row in rows]
        skipped = 8  # until both workers have their data
        each = 2 * (ends[-1] - ends[skipped]) / (len(ends) - 1 - skipped)
        training = sorted(float(row["wall_seconds"]) for row in rows)[runs // 2]
        return up, 1000 * (each - training)


def recovery(engine: str) -> float:
    """Seconds from SIGKILL of a worker to the next attempt at its run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(folder, engine, 2, 20_000)
        until(lambda: len(list(folder.glob("outputs/runs/*/last.pt"))) == 2)
        run_id, (pid, attempt) = next(iter(claims(folder).items()))
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        until(lambda: claims(folder).get(run_id, (0, attempt))[1] != attempt)
        took = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        if engine == "slurm":
            subprocess.run(["scancel", "--user", "root"], check=True)
        process.wait(60)
        if engine == "slurm":
            until(lambda: not subprocess.run(["squeue", "-h"], capture_output=True).stdout)
        return took


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    report = Report("engines")
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        cluster, names = SlurmCluster(Path(name)), list(ENGINES)
        try:
            cluster.start()
            os.environ.update(PATH=cluster.environment["PATH"], SLURM_CONF=cluster.environment["SLURM_CONF"])
        except NoSlurmError as error:
            report.say(f"no Slurm: {error}")
            names.remove("slurm")
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        try:
            for _ in range(args.repeats):
                for engine in names:
                    found[engine].append((*overhead(engine), recovery(engine)))
        finally:
            cluster.stop()
    rows = []
    for engine, measured in found.items():
        up, each, again = (statistics.median(values) for values in zip(*measured, strict=True))
        rows.append([engine, f"{up:.1f} s", f"{each:.0f} ms", f"{again:.1f} s"])
    columns = ["", "first run claimed after", "overhead a run", "next attempt after SIGKILL"]
    report.table(f"two workers, medians of {args.repeats}", columns, rows)
    report.save()


if __name__ == "__main__":
    main()
