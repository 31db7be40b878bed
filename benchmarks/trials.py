"""What carrying out a command costs beyond the command itself: ``python benchmarks/trials.py``.

The same 50 commands, each a script that prints one number, by a plain loop of the shell, by this lab, by Optuna and by
Ray Tune; one at a time, and two. All but the loop keep the result of each. The script notes when it begins, so that the
start of a tool is told from its work. Everything is measured in this run, on this machine: compare columns.

Ray Tune needs packages that this project does not (``pip install "ray[tune]"``): ``--tune_python`` names an interpreter
that has them. Optuna is in the extra ``dev``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Report

SCRIPT = """
import json, os, sys, time
with open(os.environ["BENCH_LOG"], "a") as log:
    log.write(f"{time.time()}\\n")
print(json.dumps({"test_acc": float(sys.argv[1])}))
"""

LOOP = "for lr in {rates}; do python script.py $lr >> out.txt; done"
LOOP_OF_TWO = "printf '%s\\n' {rates} | xargs -P 2 -I @ python script.py @ >> out.txt"

LAB = """
name = "trials"
[trainer]
command = "python script.py {{lr}}"
[[grid]]
lr = [{rates}]
"""

OPTUNA = """
import json, subprocess, sys
import optuna

optuna.logging.set_verbosity(optuna.logging.WARNING)
rates = [float(word) for word in "{rates}".split()]

def objective(trial):
    lr = trial.suggest_categorical("lr", rates)
    done = subprocess.run(["python", "script.py", str(lr)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["test_acc"]

grid = optuna.samplers.GridSampler({{"lr": rates}})
study = optuna.create_study(storage={storage}, sampler=grid, direction="maximize")
study.optimize(objective, n_trials=len(rates), n_jobs={slots})
assert len(study.trials) == len(rates)
"""

TUNE = """
import json, os, subprocess
import ray
from ray import tune

folder = os.getcwd()

def objective(config):
    words = ["python", "script.py", str(config["lr"])]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=folder)
    tune.report({{"test_acc": json.loads(done.stdout)["test_acc"]}})

ray.init(num_cpus={slots}, include_dashboard=False, log_to_driver=False)
rates = [float(word) for word in "{rates}".split()]
tuner = tune.Tuner(
    tune.with_resources(objective, {{"cpu": 1}}),
    param_space={{"lr": tune.grid_search(rates)}},
    tune_config=tune.TuneConfig(reuse_actors=True),
    run_config=tune.RunConfig(storage_path=folder + "/results", verbose=0),
)
assert len(tuner.fit()) == len(rates)
"""


def commands(name: str, rates: list[str], slots: int, folder: Path, tune_python: str) -> list[str]:
    """The command line that has a tool carry out all trials; writes what it needs into ``folder``."""
    words = " ".join(rates)
    if name == "shell loop":
        return ["bash", "-c", (LOOP if slots == 1 else LOOP_OF_TWO).format(rates=words)]
    if name == "interplay":
        (folder / "study.toml").write_text(LAB.format(rates=", ".join(rates)))
        way = ["--executor", "inline"] if slots == 1 else ["--executor", "local", "--workers", str(slots)]
        return [sys.executable, "-m", "interplay.cli.main", "study", "study.toml", *way]
    if name.startswith("Optuna"):
        storage = repr("sqlite:///optuna.db") if name.endswith("SQLite") else None
        (folder / "optimize.py").write_text(OPTUNA.format(rates=words, storage=storage, slots=slots))
        return [sys.executable, "optimize.py"]
    (folder / "tuner.py").write_text(TUNE.format(rates=words, slots=slots))
    return [tune_python, "tuner.py"]


def measure(name: str, trials: int, slots: int, tune_python: str) -> tuple[float, float]:
    """Seconds until the first command is at work, and seconds from then to the end of the last, by one tool."""
    rates = [f"{0.001 * (i + 1):g}" for i in range(trials)]
    with tempfile.TemporaryDirectory(prefix="trials-") as place:
        folder = Path(place)
        (folder / "script.py").write_text(SCRIPT)
        command = commands(name, rates, slots, folder, tune_python)
        log = folder / "log"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the same `python` for all
        environment = {**os.environ, "BENCH_LOG": str(log), "PATH": path, "RAY_AIR_NEW_OUTPUT": "0"}
        began = time.time()
        with (folder / "words").open("wb") as words:
            done = subprocess.run(command, cwd=folder, env=environment, stdout=words, stderr=words, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {(folder / 'words').read_text(errors='replace')[-2000:]}")
        starts = sorted(float(line) for line in log.read_text().splitlines())
        assert len(starts) == trials, (name, len(starts))
        # From the first command to the last: what tools do once at their end is no cost of a trial.
        return starts[0] - began, starts[-1] - starts[0]


def has_tune(python: str) -> bool:
    """Whether an interpreter has Ray Tune."""
    return subprocess.run([python, "-c", "from ray import tune"], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tune_python", default=sys.executable, help="an interpreter that has ray[tune]")
    args = parser.parse_args()
    report = Report("trials")
    names = ["shell loop", "interplay", "Optuna, in memory", "Optuna, in SQLite", "Ray Tune"]
    if not has_tune(args.tune_python):
        report.say(f'no Ray Tune: {args.tune_python} has no ray[tune]; pip install "ray[tune]"')
        names.remove("Ray Tune")
    for slots, words in ((1, "one at a time"), (2, "two at a time")):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for _ in range(args.repeats):  # in turn, so that what else the machine does falls on all
            for name in names:
                found[name].append(measure(name, args.trials, slots, args.tune_python))
        rows = []
        plain = 0.0
        for name, measured in found.items():
            start, span = (statistics.median(values) for values in zip(*measured, strict=True))
            each = 1000 * slots * span / (args.trials - 1)  # ms for which a slot has a trial
            plain = plain or each
            beyond = "" if name == "shell loop" else f"{each - plain:.0f} ms"
            rows.append([name, f"{start:.1f} s", f"{each:.0f} ms", beyond])
        columns = ["", "first command after", "a trial", "beyond the loop"]
        report.table(f"{args.trials} trials, {words}, medians of {args.repeats}", columns, rows)
    report.save()


if __name__ == "__main__":
    main()
