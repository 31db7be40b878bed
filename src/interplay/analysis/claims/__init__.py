"""Claims put to the measurements, a kind of claim in a file each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from interplay.analysis.table import Table
from interplay.analysis.verdict import Verdict
from interplay.study.claims import JUDGES, Claim


def judged(claim: Claim, table: Table) -> Verdict:
    """What the runs say of ``claim``."""
    module, _, name = JUDGES[claim.kind].partition(":")
    judge: Callable[[Claim, Table], Verdict] = getattr(import_module(module), name)
    return replace(judge(claim, table), question=claim.question)
