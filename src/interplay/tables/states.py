"""How runs ended, in the words of Weights & Biases, MLflow, Optuna, Ray, Slurm and this lab."""

from __future__ import annotations

import re
from enum import StrEnum


class State(StrEnum):
    """What a word for the state of a run says of its measurement."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    LEFT_OUT = "left out"
    """It did not reach its end, so what it measured last is no result."""
    UNKNOWN = "unknown"


_FINISHED = frozenset(
    "finished finish complete completed success successful succeeded done terminated ok ended passed true".split()
)
_DIVERGED = frozenset("diverged divergence exploded".split())
_LEFT_OUT = frozenset(
    "failed fail failure error errored crash crashed kill killed running run pending preempted preempting scheduled "
    "waiting queued paused pruned prune stopped interrupted aborted abort cancelled canceled timeout timed_out oom "
    "out_of_memory node_fail unfinished incomplete starting started initializing suspended resuming requeued skipped "
    "deadline revoked created new early_stopped false".split()
)


def state_of(text: str) -> State:
    """The meaning of a word, in any case, also as ``TrialState.COMPLETE``."""
    word = re.sub(r"[^a-z0-9]+", "_", text.rpartition(".")[2].strip().lower()).strip("_")
    if word in _FINISHED:
        return State.FINISHED
    if word in _DIVERGED:
        return State.DIVERGED
    # Slurm says "CANCELLED by 1001".
    return State.LEFT_OUT if word in _LEFT_OUT or word.partition("_")[0] in _LEFT_OUT else State.UNKNOWN
