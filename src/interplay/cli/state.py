"""Commands about the runs of a store and those to come: status, plan, cancel, rebuild, doctor."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.cli.flags import JsonFlag
from interplay.cli.options import options_of
from interplay.cli.output import print_json, show
from interplay.cli.study import OverrideFlags
from interplay.lab.clusters import cancel
from interplay.study.files import load
from interplay.study.study import combined
from interplay.text import seconds_of


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
        settings, study = self.settings(), self.applied(load(self.name)) if self.name else None
        from interplay.lab import overview  # numpy: not where the flags ask for what is impossible

        found = overview.show_status(settings, study)
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
        limit = None if self.deadline is None else seconds_of(self.deadline)
        study = combined([self.applied(load(name)) for name in self.names])
        settings = dataclasses.replace(self.settings(), per_gpu=self.per_gpu)
        from interplay.lab import plan  # numpy: not where the flags ask for what is impossible

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
