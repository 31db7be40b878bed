"""The documented scripts: flags of run_experiments.py and run_all_experiments.py, over the same calls as the rest."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Annotated, Any, Literal, TextIO

from tyro.conf import arg

from interplay.cli.flags import Command, FigureFlags, line_of, words_of
from interplay.cli.main import call
from interplay.cli.options import options_of
from interplay.cli.output import print_now
from interplay.cli.study import OverrideFlags
from interplay.devices import Gpu, gpu_slots, parse_gpus, visible_gpus
from interplay.errors import InputError
from interplay.executors.base import Listener
from interplay.executors.local import LocalExecutor
from interplay.executors.outcomes import Outcome
from interplay.executors.signals import StopRequest
from interplay.lab import doctor, overview, plan, run
from interplay.lab.settings import RunFailedError, Settings
from interplay.spec import RunSpec
from interplay.study.presets import BY_NUMBER, preset
from interplay.trial import Spec

JUDGED = "final_test_acc"
"""What verdicts rest on, whatever a figure shows."""

EXPERIMENTS: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)


@dataclasses.dataclass(kw_only=True)
class ExperimentFlags(OverrideFlags, options_of("study")):  # type: ignore[misc]
    """Run a documented set: 1 learning rate ordering (24 runs), 2 η-λ interaction (35 runs), 3 batch size (24 runs)."""

    EXAMPLE = "python run_experiments.py --experiment 1 --epochs 100 --gpus all"

    experiment: Annotated[Literal[1, 2, 3], arg(help="which set")]
    dry_run: Annotated[bool, arg(help="only say what there is to do and how long it may take")] = False

    def call(self) -> int:
        """Run what is missing of the set."""
        again = line_of("python run_experiments.py", self, without=("dry_run",))
        study = dataclasses.replace(self.applied(preset(BY_NUMBER[self.experiment])), command=again)
        if self.dry_run:
            others = [self.applied(preset(name)) for number, name in BY_NUMBER.items() if number != self.experiment]
            print(plan.dry_run(study, self.settings(), others))
        else:
            run.run_study(study, self.settings(), say=print_now)
        return 0


@dataclasses.dataclass(kw_only=True)
class AllExperimentsFlags(OverrideFlags, options_of("study")):  # type: ignore[misc]
    """Check the machine, back up results, run all three sets, summarise.

    Uses all GPUs where there are any, the CPU otherwise, unless --gpus says which.
    """

    EXAMPLE = "python run_all_experiments.py --parallel --save-checkpoints --epochs 100"

    parallel: Annotated[bool, arg(help="run the three sets at the same time, on disjoint GPUs")] = False

    def call(self) -> int:
        """Run everything; the exit code is that of the first set that did not end well."""
        for check in doctor.examine(self.data_dir, self.output_dir):
            print(check, file=sys.stderr)
        there = len(visible_gpus())
        gpus = self.gpus or ("all" if there else None)
        chosen = parse_gpus(gpus, there) if gpus else []
        if (backup := self.settings().store().back_up()) is not None:
            print(f"existing results are kept in {backup}", file=sys.stderr)
        code = self._side_by_side(chosen) if self.parallel else self._one_after_another(chosen)
        try:
            from interplay.lab import drawing  # matplotlib

            for figures in drawing.plot([self.output_dir], self.output_dir / "plots").values():
                print(f"figure {figures[0]}")
        except InputError as error:  # nothing has finished
            print(f"no figures: {error}", file=sys.stderr)
        print(overview.overview([self.applied(preset(name)) for name in BY_NUMBER.values()], self.settings()))
        return code

    def _one_after_another(self, gpus: Sequence[int]) -> int:
        studies = [self.applied(preset(name)) for name in BY_NUMBER.values()]
        try:
            run.run_studies(studies, dataclasses.replace(self.settings(), gpus=_listed(gpus)), say=print_now)
        except RunFailedError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        return 0

    def _side_by_side(self, gpus: Sequence[int]) -> int:
        """Three processes; a configuration that two sets share is run by whichever claims it first."""
        shares = split_gpus(gpus)
        workers = max(1, (self.workers or os.cpu_count() or 1) // 3)
        processes: list[subprocess.Popen[str]] = []

        def pass_on(number: int, frame: FrameType | None) -> None:
            for process in processes:
                process.send_signal(number)

        # Ctrl-C reaches the three by themselves, since they share the terminal; SIGTERM is for this process alone.
        previous_int = signal.signal(signal.SIGINT, signal.SIG_IGN)
        previous_term = signal.signal(signal.SIGTERM, pass_on)
        try:
            for number, share in zip(EXPERIMENTS, shares, strict=True):
                words = ["--experiment", str(number), *self._words(shared=0 < len(gpus) < 3)]
                words += ["--gpus", str(_listed(share))] if share else ["--workers", str(workers)]
                print(f"experiment {number}: {'GPUs ' + str(_listed(share)) if share else 'CPU'}", file=sys.stderr)
                code = "import sys; from interplay.cli.documented import run_experiments; sys.exit(run_experiments())"
                # Lines through a pipe: three live tables on one terminal would garble each other.
                processes.append(_piped([sys.executable, "-c", code, *words]))
            relays = [
                threading.Thread(target=_relay, args=(number, lines, stream))
                for number, process in zip(EXPERIMENTS, processes, strict=True)
                for lines, stream in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
            ]
            for relay in relays:
                relay.start()
            for relay in relays:
                relay.join()
            return next((code for code in [process.wait() for process in processes] if code), 0)
        finally:
            signal.signal(signal.SIGINT, previous_int)
            signal.signal(signal.SIGTERM, previous_term)

    def _words(self, *, shared: bool) -> list[str]:
        """The flags that all three sets share, spelled out for another process; ``shared``: so is a GPU."""
        words = words_of(self, without=_OF_ONE_SET)
        return [*words, "--per_gpu", str(self.per_gpu or (1 if shared else 0))]


_OF_ONE_SET = ("parallel", "gpus", "workers", "per_gpu")
"""Flags that the sets do not share when they run side by side."""


@dataclasses.dataclass(kw_only=True)
class PlotFlags(FigureFlags):
    """Draw the documented figures from results: exp1_lr_ordering, exp2_eta_lambda_heatmap, exp3_batch_size_scaling."""

    EXAMPLE = "python plot_results.py --stats"

    input: Annotated[
        tuple[Path, ...], arg(help="CSV files with at least the eight columns, or output folders; several are repeats")
    ] = (Path("outputs/results/results.csv"),)
    output_dir: Annotated[Path, arg(help="where the figures go")] = Path("outputs/plots")
    experiment: Annotated[Literal[1, 2, 3] | None, arg(help="only this one")] = None
    metric: Annotated[str, arg(help="column to draw, such as final_test_acc")] = "best_test_acc"
    stats: Annotated[bool, arg(help="also print noise, optima and verdicts, never of best_test_acc")] = False

    def call(self) -> int:
        """Draw what the results can show; exit 1 if they can show nothing that was asked for."""
        from interplay.analysis.words import report  # scipy
        from interplay.lab import drawing, read

        wanted = EXPERIMENTS if self.experiment is None else (self.experiment,)
        drawn = drawing.plot(self.input, self.output_dir, wanted, self.metric, self.wanted())
        for experiment in wanted:
            for file in drawn.get(experiment, ()):
                print(file)
            if experiment not in drawn:
                print(f"experiment {experiment}: its grid is not among these results")
        if self.stats:
            # The best epoch is chosen on the test set: good for a picture, not for a verdict.
            print(report(read.analyze(self.input, JUDGED if self.metric == "best_test_acc" else self.metric)))
        return 0 if drawn else 1


@dataclasses.dataclass(kw_only=True)
class MultiGpuFlags(Command):
    """Spread small runs over GPUs, one worker each; without any, over logical ones on the CPU."""

    EXAMPLE = "python test_multi_gpu.py --gpus all"

    gpus: Annotated[str, arg(help="all, 0, 0,1,2,3, 0-7 or 0,2-4,7")] = "all"
    logical: Annotated[int, arg(help="GPUs to stand in where there is none")] = 2

    def call(self) -> int:
        """Run four small networks a GPU in a folder of its own, and count."""
        real = visible_gpus()
        here = real or [Gpu(str(index)) for index in range(self.logical)]
        slots = gpu_slots(self.gpus, 1, here, **({} if real else {"device": "cpu"}))
        print(f"{len(slots)} of {len(real)} GPU(s)" if real else f"no GPU: {len(slots)} logical ones on the CPU")
        done: Counter[str] = Counter({slot.name: 0 for slot in slots})

        class Count(Listener):
            def ended(self, worker: str, spec: Spec, outcome: Outcome) -> None:
                done[worker] += 1

            def note(self, text: str) -> None:
                print(f"note: {text}")

        # The first runs may all have ended before the slowest worker has started: then there are more of them.
        for each in (4, 16):
            asked = [RunSpec(dataset="digits", model="mlp", epochs=30, seed=seed) for seed in range(each * len(slots))]
            specs = [spec.replace(precision="fp32") for spec in asked]
            with tempfile.TemporaryDirectory() as folder:
                settings = Settings(output_dir=folder)
                job = settings.job(slots[0].device)
                report = LocalExecutor(slots).run(specs, settings.store(), job, Count(), StopRequest())
                rows = len(list(settings.store().records()))
            idle = [worker for worker, count in done.items() if not count]
            if report.problem is not None or rows < len(specs):
                print(
                    f"error: {rows} of {len(specs)} runs finished; {report.problem or ''}".rstrip("; "), file=sys.stderr
                )
                return 1
            if not idle:
                break
        for worker, count in sorted(done.items()):
            print(f"{worker}: {count} runs")
        if idle:
            print(f"error: no run reached {', '.join(idle)}", file=sys.stderr)
            return 1
        print(f"right: {len(specs)} runs, each once, over {len(slots)} workers")
        return 0


def split_gpus(gpus: Sequence[int]) -> list[list[int]]:
    """Three disjoint shares, even, larger ones first (8 GPUs: 3, 3, 2); with fewer than three GPUs sets share one."""
    if not gpus:
        return [[], [], []]
    if len(gpus) < 3:
        return [[gpus[number % len(gpus)]] for number in range(3)]
    each, more = divmod(len(gpus), 3)
    ends = [each * (n + 1) + min(n + 1, more) for n in range(3)]
    return [list(gpus[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _piped(command: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen(command, env=environment, errors="replace", **pipes)


def _relay(number: int, lines: IO[str], stream: TextIO) -> None:
    with lines:
        for line in lines:
            print(f"[{number}] {line}", end="", file=stream, flush=True)


def _listed(gpus: Sequence[int]) -> str | None:
    return ",".join(map(str, gpus)) or None


def run_experiments(argv: Sequence[str] | None = None) -> int:
    """``run_experiments.py``."""
    return call(ExperimentFlags, "run_experiments.py", sys.argv[1:] if argv is None else argv)


def run_all_experiments(argv: Sequence[str] | None = None) -> int:
    """``run_all_experiments.py`` and ``run_all_experiments.sh``."""
    return call(AllExperimentsFlags, "run_all_experiments", sys.argv[1:] if argv is None else argv)


def plot_results(argv: Sequence[str] | None = None) -> int:
    """``plot_results.py``."""
    return call(PlotFlags, "plot_results.py", sys.argv[1:] if argv is None else argv)


def multi_gpu(argv: Sequence[str] | None = None) -> int:
    """``test_multi_gpu.py``."""
    return call(MultiGpuFlags, "test_multi_gpu.py", sys.argv[1:] if argv is None else argv)
