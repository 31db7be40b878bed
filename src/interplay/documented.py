"""The documented scripts: flags of run_experiments.py and run_all_experiments.py, over the same calls as the rest."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

from tyro.conf import arg

from interplay.cli import MachineFlags, OverrideFlags, call
from interplay.errors import InterplayError
from interplay.study.presets import BY_NUMBER, preset

EXPERIMENTS: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)


@dataclasses.dataclass(kw_only=True)
class ExperimentFlags(OverrideFlags, MachineFlags):
    """Run a documented set: 1 learning rate ordering (24 runs), 2 η-λ interaction (35 runs), 3 batch size (24 runs)."""

    experiment: Annotated[Literal[1, 2, 3], arg(help="which set")]
    dry_run: Annotated[bool, arg(help="only say what there is to do and how long it may take")] = False

    def call(self) -> int:
        """Run what is missing of the set."""
        from interplay import lab

        study = self.applied(preset(BY_NUMBER[self.experiment]))
        if self.dry_run:
            others = [self.applied(preset(name)) for number, name in BY_NUMBER.items() if number != self.experiment]
            print(lab.dry_run(study, self.settings(), others))
        else:
            lab.run_study(study, self.settings())
        return 0


@dataclasses.dataclass(kw_only=True)
class AllExperimentsFlags(OverrideFlags, MachineFlags):
    """Check the machine, back up results, run all three sets, summarise.

    Uses all GPUs where there are any, the CPU otherwise, unless --gpus says which.
    """

    parallel: Annotated[bool, arg(help="run the three sets at the same time, on disjoint GPUs")] = False

    def call(self) -> int:
        """Run everything; the exit code is that of the first set that did not end well."""
        from interplay import doctor, lab
        from interplay.executors.gpus import parse_gpus, visible_gpus

        for check in doctor.examine(self.data_dir, self.output_dir):
            print(check)
        there = len(visible_gpus())
        gpus = self.gpus or ("all" if there else None)
        chosen = parse_gpus(gpus, there) if gpus else []
        if (backup := lab.back_up(self.settings())) is not None:
            print(f"existing results are kept in {backup}")
        code = self._side_by_side(chosen) if self.parallel else self._one_after_another(chosen)
        print(f"results {self.settings().store().results}")
        return code

    def _one_after_another(self, gpus: Sequence[int]) -> int:
        code = 0
        for number in EXPERIMENTS:
            print(f"\n== experiment {number} ==", flush=True)
            flags = {
                f.name: getattr(self, f.name) for f in dataclasses.fields(ExperimentFlags) if hasattr(self, f.name)
            }
            flags["gpus"] = _listed(gpus)
            try:
                ExperimentFlags(**flags, experiment=number).call()
            except InterplayError as error:
                if error.exit_code != 1:
                    raise  # impossible values, or Ctrl-C: the other sets would end the same way
                print(f"error: {error}", file=sys.stderr)
                code = 1
        return code

    def _side_by_side(self, gpus: Sequence[int]) -> int:
        """Three processes; a configuration that two sets share is run by whichever claims it first."""
        shares = split_gpus(gpus)
        cores = os.cpu_count() or 1
        processes = []
        for number, share in zip(EXPERIMENTS, shares, strict=True):
            words = ["--experiment", str(number), *self._words()]
            words += (
                ["--gpus", str(_listed(share))] if share else ["--workers", str(self.workers or max(1, cores // 3))]
            )
            print(f"experiment {number}: {'GPUs ' + str(_listed(share)) if share else 'CPU'}", flush=True)
            code = "import sys; from interplay.documented import run_experiments; sys.exit(run_experiments())"
            processes.append(subprocess.Popen([sys.executable, "-c", code, *words]))
        # Ctrl-C reaches the three by themselves; this process only waits for them.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return next((code for code in [process.wait() for process in processes] if code), 0)
        finally:
            signal.signal(signal.SIGINT, previous)

    def _words(self) -> list[str]:
        """The flags that all three sets share, spelled out for another process."""
        words = ["--data_dir", str(self.data_dir), "--output_dir", str(self.output_dir)]
        words += ["--executor", self.executor]
        for name in ("per_gpu", "checkpoint_seconds", "lapse_seconds", "hang_seconds"):
            words += [f"--{name}", str(getattr(self, name))]
        for name in ("dataset", "model", "epochs", "train_limit"):
            if getattr(self, name) is not None:
                words += [f"--{name}", str(getattr(self, name))]
        if self.seeds:
            words += ["--seeds", *map(str, self.seeds)]
        for name in ("save_checkpoints", "allow_modified_data", "log"):
            words.append(f"--{name}" if getattr(self, name) else f"--no_{name}")
        return words


def split_gpus(gpus: Sequence[int]) -> list[list[int]]:
    """Three disjoint shares, even, larger ones first (8 GPUs: 3, 3, 2); with fewer than three GPUs sets share one."""
    if not gpus:
        return [[], [], []]
    if len(gpus) < 3:
        return [[gpus[number % len(gpus)]] for number in range(3)]
    each, more = divmod(len(gpus), 3)
    ends = [each * (n + 1) + min(n + 1, more) for n in range(3)]
    return [list(gpus[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _listed(gpus: Sequence[int]) -> str | None:
    return ",".join(map(str, gpus)) or None


def run_experiments(argv: Sequence[str] | None = None) -> int:
    """``run_experiments.py``."""
    return call({"run": ExperimentFlags}, "run_experiments.py", sys.argv[1:] if argv is None else argv)


def run_all_experiments(argv: Sequence[str] | None = None) -> int:
    """``run_all_experiments.py`` and ``run_all_experiments.sh``."""
    return call({"run": AllExperimentsFlags}, "run_all_experiments", sys.argv[1:] if argv is None else argv)
