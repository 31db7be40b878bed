"""The command that imports tables of other tools."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import arg

from interplay.cli.columns import ColumnFlags
from interplay.lab.imports import import_table


@dataclasses.dataclass(kw_only=True)
class ImportFlags(ColumnFlags):
    """Bring runs of another tool into an output folder: a table that analyze, report and predict read with its runs."""

    EXAMPLE = "interplay import optuna sqlite:///sweep.db --output_dir outputs"

    kind: Annotated[
        Literal["csv", "mlflow", "optuna", "tensorboard", "wandb"],
        tyro.conf.Positional,
        arg(help="whose runs they are"),
    ]
    source: Annotated[str, tyro.conf.Positional, arg(help="a file, folder or URL: see docs/tables.md")]
    study: Annotated[str | None, arg(help="study of Optuna or experiment of MLflow, where there are several")] = None
    metric: Annotated[str, arg(help="column to judge runs by, if none is mapped")] = "final_test_acc"
    output_dir: Annotated[Path, arg(help="where the table goes, below tables/")] = Path("outputs")

    def call(self) -> int:
        """Import, and say how columns were read."""
        print(
            import_table(
                self.kind,
                self.source,
                self.output_dir,
                study=self.study,
                metric=self.metric,
                columns=self.column_map(),
            )
        )
        return 0
