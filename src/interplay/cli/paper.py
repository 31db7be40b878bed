"""The command that writes tables for a paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import arg

from interplay.cli.flags import Command
from interplay.errors import SpecError


@dataclasses.dataclass(kw_only=True)
class TableFlags(Command):
    """Print tables for a paper: verdicts, optima, best settings with their standard errors, noise and price."""

    EXAMPLE = "interplay table outputs --latex"

    inputs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        arg(metavar="[PATH ...]", help="output folders, or CSV files; several are repeated batches"),
    ] = (Path("outputs"),)
    metric: Annotated[str, arg(help="column to analyse; accuracies are maximised, losses minimised")] = "final_test_acc"
    latex: Annotated[bool, arg(help="as LaTeX, for the package booktabs")] = False
    markdown: Annotated[bool, arg(help="as Markdown (the default)")] = False
    csv: Annotated[bool, arg(help="as CSV, with the name of the table in the first column")] = False
    bibtex: Annotated[bool, arg(help="print instead what the method rests on, as BibTeX")] = False

    def call(self) -> int:
        """Print the tables."""
        from interplay.lab import paper  # scipy

        forms: dict[paper.Format, bool] = {"latex": self.latex, "markdown": self.markdown, "csv": self.csv}
        asked = [form for form, is_asked in forms.items() if is_asked]
        if len(asked) + self.bibtex > 1:
            raise SpecError("one of --latex, --markdown, --csv and --bibtex at a time")
        if self.bibtex:
            print(paper.citations())
        else:
            print(paper.written(paper.tables(self.inputs, self.metric), asked[0] if asked else "markdown"))
        return 0
