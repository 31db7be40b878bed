"""Commands that read what has run: status, plan, cancel, rebuild, analyze, compare, report, verify, doctor."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.cli.flags import Command, FigureFlags, JsonFlag, options_of
from interplay.cli.run import OverrideFlags, print_json, show
from interplay.cli.tables import ColumnFlags
from interplay.errors import SpecError
from interplay.lab.clusters import cancel
from interplay.study.files import claims_of, load
from interplay.study.study import combined
from interplay.text import seconds_of, shown


@dataclasses.dataclass(kw_only=True)
class StatusFlags(OverrideFlags, options_of("status")):  # type: ignore[misc]
    """Say which runs are finished, running, diverged, interrupted or failed."""

    EXAMPLE = "interplay status studies/digits-eta-lambda.toml"

    name: Annotated[
        str | None, tyro.conf.Positional, arg(metavar="[STUDY]", help="only this study (default: the whole store)")
    ] = None
    ids: Annotated[bool, arg(help="name each run by its id, too, and leave none out")] = False
    json: JsonFlag = False

    def call(self) -> int:
        """Print the state."""
        from interplay.lab import overview  # numpy

        found = overview.show_status(self.settings(), self.applied(load(self.name)) if self.name else None)
        if self.json:
            print_json(found.to_dict())
        else:
            print(found.lines(ids=self.ids))
        return 0


@dataclasses.dataclass(kw_only=True)
class PlanFlags(OverrideFlags, options_of("plan")):  # type: ignore[misc]
    """Predict wall time, GPU hours and the tail of the queue of one or more studies from measured throughput."""

    EXAMPLE = "interplay plan lr-ordering eta-lambda batch-scaling --gpu A100 --deadline 15d"

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, arg(metavar="STUDY ...", help="names of sets, or paths of .toml files")
    ]
    deadline: Annotated[str | None, arg(help="such as 15d, 36h or 90m: how many workers meet it")] = None
    workers: Annotated[int, arg(help="runs at a time; half and twice as many are shown beside")] = 1
    gpu: Annotated[str | None, arg(help="only measurements on devices with this in their name, such as H100")] = None
    per_gpu: Annotated[int, arg(help="runs that share a GPU (0: as many as when it was measured)")] = 0
    json: JsonFlag = False

    def call(self) -> int:
        """Print the prediction."""
        from interplay.lab import plan  # numpy

        limit = None if self.deadline is None else seconds_of(self.deadline)
        study = combined([self.applied(load(name)) for name in self.names])
        settings = dataclasses.replace(self.settings(), per_gpu=self.per_gpu)
        show(plan.forecast(study, settings, self.workers, self.gpu, limit), json=self.json)
        return 0


@dataclasses.dataclass(kw_only=True)
class CancelFlags(options_of("cancel")):  # type: ignore[misc]
    """End the jobs that were handed to Slurm; their runs stop at the next epoch, with a checkpoint."""

    EXAMPLE = "interplay cancel digits-eta-lambda"

    name: Annotated[
        str | None, tyro.conf.Positional, arg(metavar="[STUDY]", help="only those of the study of this name")
    ] = None

    def call(self) -> int:
        """Cancel, and say which."""
        name = load(self.name).name if self.name and self.name.endswith(".toml") else self.name
        print(cancel(self.settings(), name))
        return 0


@dataclasses.dataclass(kw_only=True)
class RebuildFlags(options_of("rebuild")):  # type: ignore[misc]
    """Make results.csv anew from the folders of the runs."""

    EXAMPLE = "interplay rebuild --output_dir outputs"

    def call(self) -> int:
        """Rebuild, and name every row that no record stands behind."""
        store = self.settings().store()
        for row in store.rebuild():
            print(f"{row}\n  kept in {store.aside}")
        print(f"{store.results} has {sum(1 for _ in store.records())} rows")
        return 0


@dataclasses.dataclass(kw_only=True)
class DoctorFlags(options_of("doctor")):  # type: ignore[misc]
    """Check versions, GPUs, data and disk; exit 1 if something stops runs."""

    EXAMPLE = "interplay doctor --data_dir data"

    json: JsonFlag = False

    def call(self) -> int:
        """Print the checks."""
        from interplay.lab import doctor  # numpy

        checks = doctor.examine(self.data_dir, self.output_dir)
        if self.json:
            print_json({"checks": [dataclasses.asdict(check) for check in checks]})
        else:
            print("\n".join(map(str, checks)))
        return 1 if any(check.verdict == "problem" for check in checks) else 0


@dataclasses.dataclass(kw_only=True)
class AnalyzeFlags(ColumnFlags):
    """Say what measurements support: noise, optima and verdicts, each with its interval."""

    EXAMPLE = "interplay analyze outputs"

    inputs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        arg(metavar="[PATH ...]", help="output folders, or CSV files; several are repeated batches"),
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    claims: Annotated[
        tuple[str, ...],
        arg(help="study files or sets whose claims come first, with those of the studies in the folders"),
    ] = ()
    json: JsonFlag = False

    def call(self) -> int:
        """Print the analysis."""
        from interplay.analysis.words import report  # scipy
        from interplay.lab import read

        claims = tuple(dict.fromkeys(claim for each in self.claims for claim in claims_of(each)))
        found = read.analyze(self.inputs, self.metric, claims, columns=self.column_map())
        if self.json:
            print_json(found.to_dict())
        else:
            print(report(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class CompareFlags(Command):
    """Put the same cells of two groups of runs side by side: differences against the noise, verdicts of both."""

    EXAMPLE = "interplay compare outputs --with theirs.csv"

    ours: Annotated[
        tuple[Path, ...], tyro.conf.Positional, arg(metavar="[PATH ...]", help="our output folders, or CSV files")
    ] = (Path("outputs"),)
    theirs: Annotated[
        tuple[Path, ...], arg(name="with", help="theirs: output folders, or CSV files with the eight columns")
    ]
    metric: Annotated[str, arg(help="column to compare")] = "final_test_acc"
    json: JsonFlag = False

    def call(self) -> int:
        """Print the comparison."""
        from interplay.analysis.words import comparison  # scipy
        from interplay.lab import read

        found = read.compare(self.ours, self.theirs, self.metric)
        if self.json:
            print_json(found.to_dict())
        else:
            print(comparison(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class PredictFlags(Command):
    """Predict the best weight decay for a learning rate (or the best learning rate for a weight decay)."""

    EXAMPLE = "interplay predict --lr 0.2 --batch_size 128 --epochs 100"

    inputs: Annotated[tuple[Path, ...], arg(name="input", help="output folders or CSV files")] = (Path("outputs"),)
    batch_size: Annotated[int, arg(help="batch size to predict for")] = 128
    epochs: Annotated[int, arg(help="epochs to predict for")] = 100
    lr: Annotated[float | None, arg(help="peak learning rate: predict the weight decay for it")] = None
    weight_decay: Annotated[
        float | None, arg(help="weight decay: predict the learning rate for it", aliases=("--wd",))
    ] = None
    momentum: Annotated[float, arg(help="momentum to predict for")] = 0.9
    metric: Annotated[str, arg(help="column to optimise")] = "final_test_acc"
    json: JsonFlag = False

    def call(self) -> int:
        """Print the prediction."""
        from interplay.analysis.words import prediction  # scipy
        from interplay.lab import read

        found = read.predict(
            self.inputs,
            batch_size=self.batch_size,
            epochs=self.epochs,
            lr=self.lr,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            metric=self.metric,
        )
        if self.json:
            print_json(found.to_dict())
        else:
            print(prediction(found))
        return 0


@dataclasses.dataclass(kw_only=True)
class ReportFlags(FigureFlags):
    """Write one HTML page with verdicts, figures and all runs, and the documented figures."""

    EXAMPLE = "interplay report outputs"

    inputs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        arg(metavar="[PATH ...]", help="output folders, or CSV files; several are repeated batches"),
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    output: Annotated[Path | None, arg(help="the page (default: report.html in the first output folder)")] = None
    figures: Annotated[bool, arg(help="also draw the documented figures into plots/ of that folder")] = True
    watch: Annotated[bool, arg(help="write the page again as runs end, until Ctrl-C; an open page follows")] = False
    interval: Annotated[float, arg(help="seconds between two looks at the runs, with --watch")] = 10.0

    def call(self) -> int:
        """Write the page."""
        gc.disable()
        try:
            from interplay.lab import report  # scipy

            # Modules stay: to search their 140,000 objects for garbage again and again takes a sixth of the time.
            gc.freeze()
            gc.enable()
            written = report.report(
                self.inputs,
                self.output,
                self.metric,
                figures=self.figures,
                watch=self.watch,
                interval=self.interval,
                wanted=self.wanted(),
            )
        finally:
            gc.enable()
            gc.unfreeze()
        print("\n".join(written.lines()))
        return 0


@dataclasses.dataclass(kw_only=True)
class VerifyFlags(Command):
    """Put the engine to problems and simulated studies whose answer is known; exit 1 if it says something false."""

    EXAMPLE = "interplay verify --studies 100 --only closed_forms"

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
        from interplay.analysis.verify import conditions, measure, problems, text
        from interplay.analysis.words import verification

        if not 1 <= self.studies <= 100_000:
            raise SpecError(f"studies must be 1 or greater, at most 100000, not {shown(self.studies)}")
        simulated = [word for word in self.only if word != conditions.CLOSED_FORMS]
        chosen = conditions.named(simulated) if simulated or not self.only else []
        lines = []
        if not self.only or len(simulated) < len(self.only):
            lines = problems.verify(self.studies)
        results: list[measure.Result] = []
        if chosen:
            results = measure.summarise(measure.shown(chosen, self.studies, self.seed, self.workers))
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
            self.output.write_text(text.markdown(results), encoding="utf-8")
        false = any(line.false > 0.05 * line.studies for line in lines)
        return 1 if false or any(map(measure.surely_false, results)) else 0
