"""Commands that train what is missing of studies: study, retry."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.cli.flags import Command, flag, line_of
from interplay.cli.options import AMP, options_of
from interplay.cli.output import print_json, print_now
from interplay.errors import SpecError
from interplay.knobs import OptimizerName
from interplay.lab.settings import Budget
from interplay.spec import knob_names
from interplay.study.files import load
from interplay.study.presets import PRESETS, preset
from interplay.study.study import Study
from interplay.text import seconds_of


@dataclasses.dataclass(kw_only=True)
class OverrideFlags(Command):
    """Knobs that may be set for all runs of a study, but for those that it varies or derives itself."""

    dataset: Annotated[str | None, arg(help="train on other data than the study says")] = flag(None, "study")
    model: Annotated[str | None, arg(help="train another network")] = flag(None, "study")
    optimizer: Annotated[OptimizerName | None, arg(help="train with another optimiser; sgds: stable decay")] = flag(
        None, "study"
    )
    epochs: Annotated[int | None, arg(help="another number of epochs")] = flag(None, "study")
    train_limit: Annotated[int | None, arg(help="train on this many images only")] = flag(None, "study")
    seeds: Annotated[tuple[int, ...], arg(help="run every setting under each of these seeds")] = flag((), "study")
    use_amp: Annotated[bool, AMP] = flag(True, "study")

    def applied(self, study: Study) -> Study:
        """``study`` with the knobs that were given."""
        names = [field.name for field in dataclasses.fields(OverrideFlags) if field.name in knob_names()]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if not self.use_amp:
            given["precision"] = "fp32"
        study = study.overridden(**given)
        return study.with_seeds(self.seeds) if self.seeds else study


@dataclasses.dataclass(kw_only=True)
class StudyFlags(OverrideFlags, options_of("study")):  # type: ignore[misc]
    """Run what is missing of studies: documented sets (lr-ordering, eta-lambda, batch-scaling) or TOML files."""

    EXAMPLE = "interplay study studies/digits-eta-lambda.toml --seeds 42 43 --dry_run"

    names: Annotated[
        tuple[str, ...], tyro.conf.Positional, arg(metavar="STUDY ...", help="names of sets, or paths of .toml files")
    ]
    dry_run: Annotated[bool, arg(help="only say what there is to do and how long it may take")] = False
    json: Annotated[bool, arg(help="with --dry_run, print JSON instead of text")] = False
    extend: Annotated[bool, arg(help="add the runs that are expected to decide its claims")] = False
    until_decided: Annotated[bool, arg(help="run, add what is expected to decide its claims, and again")] = False
    budget: Annotated[
        str | None, arg(help="with --until_decided: runs of the study in all (200), or a duration (2h, 90m)")
    ] = None
    metric: Annotated[
        str | None, arg(help="with --extend and --until_decided: judge runs by this column, such as final_test_loss")
    ] = None

    def call(self) -> int:
        """Plan it, and unless told otherwise, run it."""
        if self.json and not self.dry_run:
            raise SpecError("--json is for --dry_run")
        if self.metric and not (self.extend or self.until_decided):
            raise SpecError("--metric is for --extend and --until_decided; interplay analyze --metric reads the runs")
        studies = self.studies()
        if not studies:
            raise SpecError(f"which study? allowed: {', '.join(PRESETS)}, or paths of .toml files")
        budget, settings = self._budget(), self.settings()
        if self.until_decided and not self.dry_run and len(studies) > 1:
            raise SpecError("--until_decided is for one study at a time")
        if self.extend or self.until_decided:
            from interplay.lab import extending  # torch

            metric = self.metric or ""
            if self.until_decided and not self.dry_run:
                print(extending.until_decided(studies[0], settings, budget, metric=metric, say=print_now))
                return 0
            studies = [extending.extended(study, settings, metric=metric, keep=not self.dry_run) for study in studies]
        if not self.dry_run:
            from interplay.lab import run  # torch

            run.run_studies(studies, settings, say=print_now)
            return 0
        from interplay.lab import plan  # numpy

        found = []
        for study in studies:
            others = (
                studies if len(studies) > 1 else [each for name in PRESETS for each in self._possible(preset(name))]
            )
            found.append(plan.dry_run(study, settings, [other for other in others if other.name != study.name]))
        if self.json:
            print_json({"studies": [each.to_dict() for each in found]})
        else:
            print("\n".join(map(str, found)))
        return 0

    def studies(self) -> list[Study]:
        """The studies that were named, under the given flags; their command is how each is run again by itself."""
        found = []
        for name in self.names:
            alone = dataclasses.replace(self, names=(name,))
            again = line_of("interplay study", alone, without=("dry_run", "json"))
            found.append(dataclasses.replace(self.applied(load(name)), command=again))
        return found

    def _budget(self) -> Budget:
        """What ``--budget`` says.

        Raises:
            SpecError: neither a number of runs nor a duration, or without ``--until_decided``.
        """
        if self.budget is None:
            return Budget()
        if not self.until_decided:
            raise SpecError("--budget is for --until_decided")
        if not self.budget.strip().isdecimal():
            return Budget(seconds=seconds_of(self.budget, "budget"))
        runs = self.budget.strip()[:20]
        if int(runs) < 1:
            raise SpecError(f"budget must be 1 run or more, or a duration such as 2h, not {self.budget!r}")
        return Budget(runs=int(runs))

    def _possible(self, study: Study) -> list[Study]:
        """A documented set under these flags, unless they make it impossible: it is only compared with."""
        try:
            return [self.applied(study)]
        except SpecError:
            return []


@dataclasses.dataclass(kw_only=True)
class RetryFlags(OverrideFlags, options_of("study")):  # type: ignore[misc]
    """Run failed runs again."""

    EXAMPLE = "interplay retry studies/digits-eta-lambda.toml"

    name: Annotated[str | None, tyro.conf.Positional, arg(metavar="[STUDY]", help="only those of this study")] = None

    def call(self) -> int:
        """Run them, or say that there is none."""
        study, settings = self.applied(load(self.name)) if self.name else None, self.settings()
        from interplay.lab import run  # torch: not where the flags ask for what is impossible

        if run.retry(settings, study, say=print_now) is None:
            print("no run has failed")
        return 0
