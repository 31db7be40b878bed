"""One attempt at a trial, by the trainer that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interplay.record import RunRecord
from interplay.trainers import command, function
from interplay.trainers.base import Running


def carry_out(run: Running, device: str, facts: Mapping[str, Any]) -> RunRecord:
    """Train, and return the record.

    Args:
        run: the trial, and who is told what.
        device: of the worker.
        facts: noted in the environment of the record.

    Raises:
        CannotStartError: the command cannot be started.
        SpecError: the function is not to be found.
        TrialFailedError: the training failed, or reported nothing.
        TrialKilledError: it was ended by a signal from outside.
        TrialBusyError: the training of an earlier attempt is still at work.
        TrialStoppedError: it was asked to stop.
    """
    kinds = {"command": command.carry_out, "function": function.carry_out}
    return kinds[run.trial.trainer.kind](run, device, facts)
