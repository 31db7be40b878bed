"""The claims that a study may speak to, by identifier; docs/method.md says what each asks."""

from __future__ import annotations

from typing import Any

from interplay.errors import SpecError, nearest
from interplay.text import shown

CLAIMS = (
    "ordering.sgd>sgd_wd",
    "ordering.sgd_wd>sgdm_wd",
    "inverse.direction",
    "inverse.profile",
    "inverse.sufficiency",
    "batch.linear_rule",
    "batch.fixed_lr",
    "batch.step_matched",
    "schedule.sum_of_rates",
    "duration.horizon",
)


def known_claims(claims: Any) -> tuple[str, ...]:
    """``claims`` as a tuple; raises `SpecError` for one that the analysis does not know, with the nearest one."""
    if not isinstance(claims, list | tuple):
        raise SpecError(f"claims must be a list such as ['inverse.profile'], not {shown(claims)}")
    for claim in claims:
        if claim not in CLAIMS:
            raise SpecError(f"unknown claim {shown(claim)}; {nearest(claim if isinstance(claim, str) else '', CLAIMS)}")
    return tuple(claims)
