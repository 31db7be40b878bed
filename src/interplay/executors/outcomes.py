"""How attempts at runs end. Without torch: who supervises workers needs none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from interplay.record import RunRecord, Status, shortened
from interplay.trial import Spec


class End(StrEnum):
    """How an attempt ended."""

    COMMITTED = "committed"
    """This attempt's record is the run's record."""
    DONE = "done"
    """The run had a record already, or another attempt was faster."""
    TAKEN = "taken"
    """Another worker has the run, or took it over."""
    INTERRUPTED = "interrupted"
    """Asked to stop; a checkpoint was left."""
    FAILED = "failed"
    """An error; it is noted in the store."""
    OUT_OF_MEMORY = "out_of_memory"
    """The GPU's memory did not suffice."""
    CAPTURE = "capture"
    """A step could not be captured; runs of its kind take the plain path from now on, in another process."""
    DEVICE = "device"
    """The GPU or its context is broken; this process can use it no more."""
    KILLED = "killed"
    """Somebody else's training was ended by a signal from outside, as a worker may be: it is tried again as often."""
    APART = "apart"
    """Something went wrong in the stack that the run was part of; it is to be tried by itself."""
    UNABLE = "unable"
    """Nothing is wrong with the run: the data are absent or the store cannot be written."""


@dataclass(frozen=True)
class Outcome:
    """The end of an attempt; with the record where there is one and the reason where there is none."""

    end: End
    record: RunRecord | None = None
    reason: str | None = None


_LONGEST_TRACE = 20_000
"""Characters of a traceback that are kept: an error may print whole arrays."""


def failure(spec: Spec, reason: str, trace: str | None = None, where: Mapping[str, Any] | None = None) -> RunRecord:
    """The record of an attempt that failed for ``reason``."""
    if trace is not None and len(trace) > _LONGEST_TRACE:
        half = _LONGEST_TRACE // 2
        trace = f"{trace[:half]}\n[{len(trace) - 2 * half} characters left out]\n{trace[-half:]}"
    return RunRecord(spec, Status.FAILED, reason=shortened(reason), traceback=trace, environment=where or {})


def first_line(error: BaseException) -> str:
    """Kind and first line of an error."""
    text = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
