"""A study on the terminal and in its log: one live table, or a line for each run that ends."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from interplay.executors.base import Listener
from interplay.executors.outcomes import End, Outcome
from interplay.notes import notice, on_terminal
from interplay.record import EpochMetrics, Status, brief
from interplay.spec import RunSpec
from interplay.speed.estimate import readable, work
from interplay.study.study import Study
from interplay.summary import setting
from interplay.text import file_name
from interplay.train.events import BatchSeen
from interplay.trial import Spec, Trial


def epoch_words(spec: Spec, metrics: EpochMetrics) -> str:
    """How far a run is, and what it measured last."""
    if isinstance(spec, Trial):
        of = f"/{spec.epochs}" if isinstance(spec.epochs, int) else ""
        known = {"loss": metrics.train_loss, "test": metrics.test_acc, "test loss": metrics.test_loss}
        known |= {"validation": metrics.val_acc}
        told = "".join(f"  {name} {value:.4g}" for name, value in known.items() if value is not None)
        return f"epoch {metrics.epoch}{of}{told}"
    loss = "not finite" if metrics.train_loss is None else f"{metrics.train_loss:.4g}"
    accuracy = "" if metrics.test_acc is None else f"  test {metrics.test_acc:.1f} %"
    return f"epoch {metrics.epoch}/{spec.epochs}  loss {loss}{accuracy}"


def log_path(output_dir: Path, study: Study) -> Path:
    """``logs/exp<N>_YYYYMMDD_HHMMSS.log``, or the study's name, cleaned, where it is none of the documented sets."""
    name = f"exp{study.experiment}" if study.experiment is not None else file_name(study.name)
    return output_dir / "logs" / f"{name}_{datetime.now():%Y%m%d_%H%M%S}.log"


WARM_SECONDS = 3.0
"""After the start of a worker, before an estimate is shown."""

_TOLD = {
    "lr": "lr ",
    "weight_decay": "wd ",
    "momentum": "mom ",
    "batch_size": "bs ",
    "epochs": "epochs ",
    "seed": "seed ",
}


def _varied(specs: Sequence[Spec]) -> dict[str, str]:
    """The knobs that not all of ``specs`` share, if those tell each from the others, and how they are written."""
    own = [spec for spec in specs if isinstance(spec, RunSpec)]
    found = {name: words for name, words in _TOLD.items() if len({getattr(spec, name) for spec in own}) > 1}
    told = {tuple(getattr(spec, name) for name in found) for spec in own}
    return found if len(told) == len(specs) else {}


class StudyProgress(Listener):
    """Shows a study that runs: live on a terminal, plain lines otherwise and in the log.

    Args:
        missing: the runs of this call.
        total: all runs of the study, those done before included.
        log: file to write lines to, or ``None``.
        stream: where to show; by default as the lines of the logger "interplay" are shown.
        quiet: show a line for each tenth of the study in place of one for each run; failures are shown all the same.
    """

    def __init__(
        self, missing: list[Spec], total: int, log: Path | None, stream: TextIO | None = None, *, quiet: bool = False
    ) -> None:
        self.total, self.before = total, total - len(missing)
        self._quiet, self._tenths = quiet, 10 * self.before // max(total, 1)
        self.ended_runs = 0
        self._work = {spec: max(work(spec)[0], 1e-9) for spec in missing}
        self._left = dict(self._work)
        self._workers: dict[str, dict[Spec, str]] = {}
        """What each worker trains, several runs where it has a stack, and how far each is; the latest one last."""
        self._varied = _varied(missing)
        self._waiting: set[Spec] = set()
        self._stopped: set[Spec] = set()
        self._since: tuple[float, float] | None = None
        """When as many workers trained as now, first, and the work that was left: speed is told from there on."""
        self._most = 0
        """Workers that trained at a time."""
        self._stream = stream
        self._log = self._open(log)
        self._live: Live | None = None
        if on_terminal() if stream is None else stream.isatty():
            console = Console(file=stream or sys.stderr)
            self._live = Live(
                self._table(), console=console, refresh_per_second=4, transient=True, redirect_stdout=False
            )

    @staticmethod
    def _open(log: Path | None) -> TextIO | None:
        if log is None:
            return None
        log.parent.mkdir(parents=True, exist_ok=True)
        # A path that is no text, as a folder of another encoding has it, must not end a study over its log.
        return log.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if self._log is not None:
            self._log.close()

    # -- what is heard --------------------------------------------------------------------------------------------

    def started(self, worker: str, spec: Spec) -> None:
        """See `Listener`."""
        self._stopped.discard(spec)
        self._workers.setdefault(worker, {})[spec] = "starts"
        if len(self._workers) > self._most or self._since is None:
            self._most, self._since = len(self._workers), (time.monotonic(), sum(self._left.values()))
        self._to_log(f"start    {spec.run_id} on {worker}: {setting(spec)}")
        self._refresh()

    def batch(self, worker: str, spec: Spec, progress: BatchSeen) -> None:
        """See `Listener`."""
        done = (progress.epoch - 1 + progress.batch / progress.batches) / spec.epochs
        self._left[spec] = self._work.get(spec, 0.0) * (1 - done)
        text = f"epoch {progress.epoch}/{spec.epochs}  loss {progress.loss:.4g}  accuracy {progress.accuracy:.1f} %"
        self._goes_on(worker, spec, text)
        self._refresh()

    def epoch(self, worker: str, spec: Spec, metrics: EpochMetrics) -> None:
        """See `Listener`."""
        epochs = spec.epochs
        if isinstance(epochs, int | float) and epochs > 0:
            self._left[spec] = self._work.get(spec, 0.0) * max(0.0, 1 - metrics.epoch / epochs)
        self._goes_on(worker, spec, epoch_words(spec, metrics))
        self._refresh()

    def _goes_on(self, worker: str, spec: Spec, text: str) -> None:
        runs = self._workers.setdefault(worker, {})
        runs.pop(spec, None)
        runs[spec] = text

    def ended(self, worker: str, spec: Spec, outcome: Outcome) -> None:
        """See `Listener`."""
        runs = self._workers.get(worker, {})
        runs.pop(spec, None)
        if not runs:
            self._workers.pop(worker, None)
        if outcome.end is End.TAKEN:
            if spec not in self._waiting:
                self._waiting.add(spec)
                self._to_log(f"wait     {spec.run_id}: another worker has it")
            return
        if outcome.end in (End.COMMITTED, End.DONE, End.FAILED, End.OUT_OF_MEMORY):
            self.ended_runs += 1
            self._left[spec] = 0.0
        record = outcome.record
        words = brief(record) if record is not None else f"{outcome.end}: {outcome.reason or ''}".rstrip(": ")
        if outcome.end is End.INTERRUPTED:
            # Whoever stopped the study reads one line at its end, not one a run; the log has them.
            self._stopped.add(spec)
            self._to_log(f"stopped  {setting(spec)}  {words}  on {worker}")
            self._refresh()
            return
        seconds = f"  {record.wall_seconds:.1f} s" if record is not None and record.wall_seconds else ""
        width = len(str(self.total))
        count = f"[{self.before + self.ended_runs:>{width}}/{self.total}]"
        eta = self._eta("  about ", " left")
        if record is not None and record.status is Status.FINISHED and isinstance(spec, RunSpec):
            accuracy = record.final_test_acc
            result = "no accuracy" if accuracy is None else f"test {accuracy:.2f} %"
        else:
            result = words
        whole = f"{count} {setting(spec)}  {words}{seconds}  on {worker}{eta}"
        if self._quiet and record is not None and record.status is not Status.FAILED:
            self._to_log(whole)
            self._tenth(count, eta)
            return
        self._line(whole, f"{count} {self._short(spec)}  {result}{seconds}{eta}")

    def _tenth(self, count: str, eta: str) -> None:
        """Tell of another tenth of the study, where no live table does."""
        tenths = 10 * (self.before + self.ended_runs) // self.total
        if self._live is None and tenths > self._tenths:
            self._show(f"{count} runs done{eta.replace('  about', ', about')}")
        self._tenths = tenths
        self._refresh()

    def _short(self, spec: Spec) -> str:
        """What tells a run from the others of its study."""
        if not isinstance(spec, RunSpec) or not self._varied:
            return setting(spec)
        return " ".join(f"{words}{getattr(spec, name):g}" for name, words in self._varied.items())

    def note(self, text: str) -> None:
        """See `Listener`."""
        self._line(f"note: {text}")

    def result(self, text: str) -> None:
        """A line of what came out, for the log; the live table goes before whoever asked prints the first."""
        self._to_log(text)
        if self._live is not None:
            self._live.stop()
            self._live = None

    def configuration(self, study: Study, settings: object, workers: list[str]) -> None:
        """Head of the log: what is asked for, and on what."""
        self._to_log(f"study {study.header()}")
        self._to_log(f"settings {settings}")
        self._to_log(f"workers {', '.join(workers)}")

    # -- what is shown --------------------------------------------------------------------------------------------

    def _line(self, text: str, short: str | None = None) -> None:
        """Show a line; a live terminal, which may be narrow, gets the ``short`` form of it."""
        self._to_log(text)
        self._show(short or text if self._live is not None else text)

    def _show(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(Text(text))
            self._refresh()
        elif self._stream is None:
            notice(text)
        else:
            # Whoever reads along may go (``| head``); the study goes on.
            with contextlib.suppress(OSError):
                print(text, file=self._stream, flush=True)

    def _to_log(self, text: str) -> None:
        if self._log is not None:
            try:
                self._log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")
            except OSError:
                self._log = None  # a full disk must not end a study over its log

    def _eta(self, before: str, after: str) -> str:
        if self._stopped or self._since is None:
            return ""
        began, then = self._since
        left, passed = sum(self._left.values()), time.monotonic() - began
        done = then - left
        # The first steps, in which a machine warms up, would tell of twice the time that it takes.
        if done <= 0 or left <= 0 or passed < WARM_SECONDS:
            return ""
        return before + readable(passed * left / done) + after

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _table(self) -> Group:
        table = Table("worker", "run", "progress", expand=False)
        for worker in sorted(self._workers):
            runs = self._workers[worker]
            spec, text = next(reversed(runs.items()))
            others = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
            table.add_row(worker, self._short(spec) + others, text)
        done = self.before + self.ended_runs
        stopped = f", {len(self._stopped)} stopped" if self._stopped else ""
        if self._since is None and not self._waiting:
            return Group(Text("starting the workers ..."))
        return Group(table, Text(f"{done} of {self.total} runs done{stopped}{self._eta(', about ', ' left')}"))
