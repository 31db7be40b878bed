"""What stands between a tracker and a run: a guard that no failure passes, and a mark of what has been logged."""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from interplay.record import RunRecord
from interplay.trackers.base import Row, TrackedRun, Tracker, epoch_row

MAX_FAILURES = 3
"""Runs that a tracker may fail, after having started, before it is given up for all that follow."""


@dataclass(frozen=True)
class Limits:
    """Seconds that a call may take before the tracker counts as hanging. Only ``finish`` uploads."""

    start: float = 90.0
    row: float = 30.0
    finish: float = 300.0
    close: float = 60.0


class Guarded(Tracker):
    """Isolates ``inner``: whatever it does costs a line of warning, never a run.

    An exception, or a call that takes longer than its limit, ends the tracking of this run. A tracker that cannot
    start, hangs, or fails `MAX_FAILURES` runs is given up for all further runs of this process: to wait for a dead
    network once a run would be dear.

    Args:
        inner: the tracker.
        say: takes the line of warning.
        limits: see `Limits`.
    """

    def __init__(self, inner: Tracker, say: Callable[[str], None], limits: Limits | None = None) -> None:
        self._inner, self._say, self._limits = inner, say, limits or Limits()
        self._trust = _Trust()
        self._line: _Line | None = None
        """Open while a run is followed."""

    def beside(self) -> Guarded:
        """See `Tracker`. What one of them loses in trust, all lose."""
        other = Guarded(self._inner.beside(), self._say, self._limits)
        other._trust = self._trust
        return other

    @property
    def wants_weights(self) -> bool:  # type: ignore[override]
        """See `Tracker`."""
        return self._trust.usable and self._inner.wants_weights

    def start(self, run: TrackedRun) -> None:
        """See `Tracker`."""
        self.close()
        if self._trust.usable:
            self._line = _Line()
            self._call(lambda: self._inner.start(run), self._limits.start, starting=True)

    def batch(self, row: Row) -> None:
        """See `Tracker`."""
        self._call(lambda: self._inner.batch(row), self._limits.row)

    def epoch(self, row: Row) -> None:
        """See `Tracker`."""
        self._call(lambda: self._inner.epoch(row), self._limits.row)

    def finish(self, record: RunRecord, best: Path | None) -> None:
        """See `Tracker`."""
        self._call(lambda: self._inner.finish(record, best), self._limits.finish)
        self._hang_up()

    def close(self) -> None:
        """See `Tracker`; nothing happens if no run is followed."""
        self._call(self._inner.close, self._limits.close)
        self._hang_up()

    def _call(self, work: Callable[[], None], limit: float, *, starting: bool = False) -> None:
        line, trust = self._line, self._trust
        if line is None:
            return
        if not trust.usable:  # given up over another run, whose failure has been told
            self._inner.let_go()
            if not trust.hangs:
                self._salvage(line)
            self._hang_up()
            return
        try:
            line.call(work, limit)
        except Exception as error:
            trust.failures += 1
            hangs = isinstance(error, _HangsError)
            trust.hangs |= hangs
            trust.usable = not (starting or hangs or trust.failures >= MAX_FAILURES)
            self._inner.let_go()
            if not hangs:
                self._salvage(line)
            self._hang_up()
            rest = "for this run" if trust.usable else "from here on"
            self._say(f"the tracker failed, so nothing is tracked {rest}; runs are not affected: {_line_of(error)}")

    def _salvage(self, line: _Line) -> None:
        """Close what was logged so far, as far as that still works."""
        try:
            line.call(self._inner.close, self._limits.close)
        except _HangsError:
            self._trust.usable, self._trust.hangs = False, True
        except Exception:  # the first failure is the one to tell
            return

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.end()
            self._line = None


@dataclass
class _Trust:
    """What all trackers of a process have lost and kept together."""

    usable: bool = True
    failures: int = 0
    hangs: bool = False


class _HangsError(Exception):
    """A call did not come back in time."""


class _Line:
    """Makes calls in a thread of its own, so that one that never returns holds up nobody.

    A thread that hangs is left behind; being a daemon, it does not keep the process alive.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Callable[[], None], queue.SimpleQueue[BaseException | None]] | None]
        self._orders = queue.SimpleQueue()
        threading.Thread(target=self._serve, name="tracker", daemon=True).start()

    def _serve(self) -> None:
        while (order := self._orders.get()) is not None:
            work, answer = order
            try:
                work()
            except BaseException as error:
                answer.put(error)
            else:
                answer.put(None)

    def call(self, work: Callable[[], None], limit: float) -> None:
        """Run ``work`` and wait for its end; raises what it raises, or `_HangsError` after ``limit`` seconds."""
        answer: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._orders.put((work, answer))
        try:
            error = answer.get(timeout=limit)
        except queue.Empty:
            raise _HangsError(f"no answer within {limit:g} s") from None
        if isinstance(error, Exception):
            raise error
        if error is not None:  # a library that calls sys.exit in a thread must not end the process
            raise RuntimeError(repr(error)) from error

    def end(self) -> None:
        """Let the thread go once it has done what it was asked."""
        self._orders.put(None)


class Resent(Tracker):
    """Sends again what a run that goes on has behind it and the tracker may not have.

    A killed process may have logged rows that never left it, or that the tracker lost with it. So a run that goes on
    logs again the rows of all its past epochs since the last orderly end, as its history has them; the epochs that the
    kill undid are trained again and their rows logged as any others. Rows of batches are of no history: those of past
    epochs are sent once. The mark that says how far the log is safe lies in the run's folder, so that it goes when the
    folder goes.

    Args:
        inner: the tracker.
        destination: where rows go; a mark made for another one does not count.
    """

    def __init__(self, inner: Tracker, destination: str) -> None:
        self._inner, self._destination = inner, destination
        self.wants_weights = inner.wants_weights
        self._path: Path | None = None
        self._logged = 0
        """The last epoch whose row the tracker has taken."""

    def beside(self) -> Resent:
        """See `Tracker`."""
        return Resent(self._inner.beside(), self._destination)

    def start(self, run: TrackedRun) -> None:
        """See `Tracker`."""
        self._path = mark_of(run.folder)
        # An epoch beyond the history was undone: its row comes once more, and only then counts.
        self._logged = min(self._safe(self._path), len(run.history))
        self._note()
        self._inner.start(run)
        for metrics in run.history[self._logged :]:
            self.epoch(epoch_row(metrics))

    def _safe(self, path: Path) -> int:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return max(0, int(found["epoch"])) if found["destination"] == self._destination else 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return 0  # none, or one cut short by a crash of the machine

    def batch(self, row: Row) -> None:
        """See `Tracker`."""
        self._inner.batch(row)

    def epoch(self, row: Row) -> None:
        """See `Tracker`."""
        self._inner.epoch(row)
        self._logged = int(row["epoch"])
        if self._inner.survives_kills:
            self._note()

    def _note(self) -> None:
        assert self._path is not None, "rows come after the start"
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        partial.write_text(json.dumps({"destination": self._destination, "epoch": self._logged}), encoding="utf-8")
        partial.replace(self._path)

    def finish(self, record: RunRecord, best: Path | None) -> None:
        """See `Tracker`."""
        self._path = None  # the run has its record, so nothing goes on from here
        self._inner.finish(record, best)

    def close(self) -> None:
        """See `Tracker`."""
        self._inner.close()
        if self._path is not None:
            self._note()
            self._path = None

    def let_go(self) -> None:
        """See `Tracker`."""
        self._inner.let_go()


def mark_of(folder: Path) -> Path:
    """The file in a run's folder that says how far its log is safe; of no use once the run has its record."""
    return folder / "tracked.json"


def _line_of(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    key = os.environ.get("WANDB_API_KEY", "").strip()
    return f"{type(error).__name__}: {text.replace(key, '***') if key else text}".rstrip(": ")
