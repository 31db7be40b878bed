"""Flags that say which column of a table of another tool is which."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import arg

from interplay.cli.flags import Command
from interplay.tables.mapping import ColumnMap


@dataclasses.dataclass(kw_only=True)
class ColumnFlags(Command):
    """What the columns of a table hold, where their names do not tell."""

    columns: Annotated[
        tuple[str, ...], arg(help="which columns are which: lr=config.lr metric=val/accuracy; see docs/tables.md")
    ] = ()
    lower: Annotated[bool, arg(help="the metric is better the lower it is")] = False
    set: Annotated[tuple[str, ...], arg(help="what all runs of a table share and no column tells: batch_size=128")] = ()
    ignore: Annotated[tuple[str, ...], arg(help="columns that are not read")] = ()

    def column_map(self) -> ColumnMap:
        """What the flags say of columns; raises `SpecError` for what is no mapping."""
        return ColumnMap.parsed(self.columns, lower=self.lower, ignored=self.ignore, constants=self.set)
