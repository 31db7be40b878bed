"""Commands that read what has run: status, plan, cancel, rebuild, analyze, compare, report, verify, doctor."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.commands.running import MachineFlags, OverrideFlags


@dataclasses.dataclass(kw_only=True)
class StatusFlags(OverrideFlags, MachineFlags):
    """Say which runs are finished, running, diverged, interrupted or failed."""

    name: Annotated[str | None, tyro.conf.Positional, arg(help="only this study (default: the whole store)")] = None

    def call(self) -> int:
        """Print the state."""
        from interplay import lab
        from interplay.study.files import load

        print(lab.show_status(self.settings(), self.applied(load(self.name)) if self.name else None))
        return 0


@dataclasses.dataclass(kw_only=True)
class PlanFlags(OverrideFlags):
    """Predict wall time, GPU hours and the tail of a study's queue from measured throughput."""

    name: Annotated[str, tyro.conf.Positional, arg(help="name of a set, or path of a .toml file")]
    workers: Annotated[int, arg(help="runs at a time; half and twice as many are shown beside")] = 1
    gpu: Annotated[str | None, arg(help="only measurements on devices with this in their name, such as H100")] = None
    per_gpu: Annotated[int, arg(help="runs that share a GPU (0: as many as when it was measured)")] = 0
    data_dir: Annotated[Path, arg(help="where datasets lie")] = Path("data")
    output_dir: Annotated[Path, arg(help="where the measured runs lie")] = Path("outputs")
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False

    def call(self) -> int:
        """Print the prediction."""
        from interplay import lab
        from interplay.study.files import load

        settings = lab.Settings(
            data_dir=self.data_dir,
            output_dir=self.output_dir,
            per_gpu=self.per_gpu,
            allow_modified_data=self.allow_modified_data,
        )
        print(lab.forecast(self.applied(load(self.name)), settings, self.workers, self.gpu))
        return 0


@dataclasses.dataclass(kw_only=True)
class CancelFlags:
    """End the jobs that were handed to Slurm; their runs stop at the next epoch, with a checkpoint."""

    name: Annotated[str | None, tyro.conf.Positional, arg(help="only those of the study of this name")] = None
    output_dir: Annotated[Path, arg(help="where the runs lie")] = Path("outputs")

    def call(self) -> int:
        """Cancel, and say which."""
        from interplay import lab
        from interplay.study.files import load

        name = load(self.name).name if self.name and self.name.endswith(".toml") else self.name
        print(lab.cancel(lab.Settings(output_dir=self.output_dir), name))
        return 0


@dataclasses.dataclass(kw_only=True)
class RebuildFlags:
    """Make results.csv anew from the folders of the runs."""

    output_dir: Annotated[Path, arg(help="where the runs lie")] = Path("outputs")

    def call(self) -> int:
        """Rebuild, and name every row that no record stands behind."""
        from interplay import lab

        settings = lab.Settings(output_dir=self.output_dir)
        for row in lab.rebuild(settings):
            print(f"{row}\n  kept in {settings.store().aside}")
        print(f"{settings.store().results} has {sum(1 for _ in settings.store().records())} rows")
        return 0


@dataclasses.dataclass(kw_only=True)
class DoctorFlags:
    """Check versions, GPUs, data and disk; exit 1 if something stops runs."""

    data_dir: Annotated[Path, arg(help="where datasets lie")] = Path("data")
    output_dir: Annotated[Path, arg(help="where results would go")] = Path("outputs")

    def call(self) -> int:
        """Print the checks."""
        from interplay import doctor

        checks = doctor.examine(self.data_dir, self.output_dir)
        print("\n".join(map(str, checks)))
        return 1 if any(check.verdict == "problem" for check in checks) else 0


@dataclasses.dataclass(kw_only=True)
class AnalyzeFlags:
    """Say what measurements support: noise, optima and verdicts, each with its interval."""

    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, arg(help="output folders, or CSV files; several are repeated batches")
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    json: Annotated[bool, arg(help="print JSON instead of tables")] = False

    def call(self) -> int:
        """Print the analysis."""
        import json

        from interplay import lab
        from interplay.analysis.words import report

        found = lab.analyze(self.inputs, self.metric)
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False) if self.json else report(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class CompareFlags:
    """Put the same cells of two groups of runs side by side: differences against the noise, verdicts of both."""

    ours: Annotated[tuple[Path, ...], tyro.conf.Positional, arg(help="our output folders, or CSV files")] = (
        Path("outputs"),
    )
    theirs: Annotated[
        tuple[Path, ...], arg(name="with", help="theirs: output folders, or CSV files with the eight columns")
    ]
    metric: Annotated[str, arg(help="column to compare")] = "final_test_acc"
    json: Annotated[bool, arg(help="print JSON instead of tables")] = False

    def call(self) -> int:
        """Print the comparison."""
        import json

        from interplay import lab
        from interplay.analysis.words import comparison

        found = lab.compare(self.ours, self.theirs, self.metric)
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False) if self.json else comparison(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class PredictFlags:
    """Predict the best weight decay for a learning rate (or the best learning rate for a weight decay)."""

    inputs: Annotated[tuple[Path, ...], arg(name="input", help="output folders or CSV files")] = (Path("outputs"),)
    batch_size: Annotated[int, arg(help="batch size to predict for")] = 128
    epochs: Annotated[int, arg(help="epochs to predict for")] = 100
    lr: Annotated[float | None, arg(help="peak learning rate: predict the weight decay for it")] = None
    weight_decay: Annotated[
        float | None, arg(help="weight decay: predict the learning rate for it", aliases=("--wd",))
    ] = None
    momentum: Annotated[float, arg(help="momentum to predict for")] = 0.9
    metric: Annotated[str, arg(help="column to optimise")] = "final_test_acc"
    json: Annotated[bool, arg(help="print JSON instead of tables")] = False

    def call(self) -> int:
        """Print the prediction."""
        import json

        from interplay import lab
        from interplay.analysis.words import prediction

        found = lab.predict(
            self.inputs,
            batch_size=self.batch_size,
            epochs=self.epochs,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            metric=self.metric,
        )
        print(json.dumps(found.to_dict(), indent=1, allow_nan=False) if self.json else prediction(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class ReportFlags:
    """Write one HTML page with verdicts, figures and all runs, and the documented figures."""

    inputs: Annotated[
        tuple[Path, ...], tyro.conf.Positional, arg(help="output folders, or CSV files; several are repeated batches")
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    output: Annotated[Path | None, arg(help="the page (default: report.html in the first output folder)")] = None
    figures: Annotated[bool, arg(help="also draw the documented PNG files into plots/ of that folder")] = True
    watch: Annotated[bool, arg(help="write the page again as runs end, until Ctrl-C; an open page follows")] = False
    interval: Annotated[float, arg(help="seconds between two looks at the runs, with --watch")] = 10.0

    def call(self) -> int:
        """Write the page."""
        from interplay import lab

        written = lab.report(
            self.inputs,
            self.output,
            self.metric,
            figures=self.figures,
            watch=self.watch,
            interval=self.interval,
        )
        print(f"page    {written.page} ({written.page.stat().st_size / 1e6:.1f} MB)")
        for figure in written.figures:
            print(f"figure  {figure}")
        return 0


@dataclasses.dataclass(kw_only=True)
class VerifyFlags:
    """Put the engine to problems and simulated studies whose answer is known; exit 1 if it says something false."""

    studies: Annotated[int, arg(help="simulated studies of each problem and condition")] = 20
    only: Annotated[
        tuple[str, ...],
        arg(help="only these conditions, or all that begin so (closed_forms, exponent, ordering.equal)"),
    ] = ()
    seed: Annotated[int, arg(help="of the simulation")] = 0
    workers: Annotated[int, arg(help="processes (0: one a core)")] = 0
    output: Annotated[Path | None, arg(help="write the table of simulated studies there, as Markdown")] = None
    json: Annotated[bool, arg(help="print JSON instead of tables")] = False

    def call(self) -> int:
        """Print what is true and what is found."""
        import json

        from interplay.analysis.verify import measure, problems, text
        from interplay.analysis.verify.conditions import CLOSED_FORMS, named
        from interplay.analysis.words import verification

        simulated = [word for word in self.only if word != CLOSED_FORMS]
        conditions = named(simulated) if simulated or not self.only else []
        lines = []
        if not self.only or len(simulated) < len(self.only):
            lines = problems.verify(self.studies)
        results: list[measure.Result] = []
        if conditions:
            results = measure.summarise(measure.shown(conditions, self.studies, self.seed, self.workers))
        if self.json:
            found = {
                "closed_forms": [dataclasses.asdict(line) for line in lines],
                "simulated": [text.to_dict(result) for result in results],
            }
            print(json.dumps(found, indent=1, allow_nan=False))
        else:
            parts = [verification(lines)] if lines else []
            print("\n\n".join([*parts, text.terminal(results)] if results else parts))
        if self.output is not None:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self.output.write_text(text.markdown(results))
        false = any(line.false > 0.05 * line.studies for line in lines)
        return 1 if false or any(map(measure.surely_false, results)) else 0
