"""Claims put to the measurements, a kind of claim in a file each."""

from __future__ import annotations

from dataclasses import replace

from interplay.analysis.claims import exponent, ordering, plane
from interplay.analysis.table import Table
from interplay.analysis.verdict import Verdict
from interplay.study.claims import Claim

_JUDGES = {
    "exponent": exponent.judged,
    "ordering": ordering.judged,
    "direction": plane.direction,
    "sufficiency": plane.sufficiency,
}


def judged(claim: Claim, table: Table) -> Verdict:
    """What the runs say of ``claim``."""
    return replace(_JUDGES[claim.kind](claim, table), question=claim.question)
