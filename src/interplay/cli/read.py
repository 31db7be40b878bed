"""Commands that say what measurements support: analyze, compare, predict, report, verify."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.cli.columns import ColumnFlags
from interplay.cli.flags import Command, FigureFlags, JsonFlag
from interplay.cli.output import print_json
from interplay.errors import SpecError
from interplay.text import shown

ClaimsFlag = Annotated[
    tuple[str, ...],
    arg(help="study files or sets whose claims come first, with those of the studies in the folders"),
]


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
    claims: ClaimsFlag = ()
    json: JsonFlag = False

    def call(self) -> int:
        """Print the analysis."""
        from interplay.analysis.words import report  # scipy
        from interplay.lab import read

        claims = read.claims_in(self.claims)
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
    claims: ClaimsFlag = ()
    output: Annotated[Path | None, arg(help="the page (default: report.html in the first output folder)")] = None
    figures: Annotated[bool, arg(help="also draw the documented figures into plots/ of that folder")] = True
    watch: Annotated[bool, arg(help="write the page again as runs end, until Ctrl-C; an open page follows")] = False
    interval: Annotated[float, arg(help="seconds between two looks at the runs, with --watch")] = 10.0

    def call(self) -> int:
        """Write the page."""
        gc.disable()
        try:
            from interplay.lab import read, report  # scipy

            # Modules stay: to search their 140,000 objects for garbage again and again takes a sixth of the time.
            gc.freeze()
            gc.enable()
            written = report.report(
                self.inputs,
                self.output,
                self.metric,
                claims=read.claims_in(self.claims),
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
