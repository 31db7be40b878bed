"""A trial whose training is a function of Python, called in the process of the worker."""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Any, TextIO

from interplay.errors import InterplayError
from interplay.record import RunRecord
from interplay.study.functions import Function, found
from interplay.trainers.base import Running, TrialFailedError, TrialStoppedError
from interplay.trainers.code import environment
from interplay.trial import Trial

BEAT_SECONDS = 1.0
"""Between two signs of life of a function that is at work."""


class _PastTimeoutError(BaseException):
    """The function has had its time. No `Exception`, so that a function that catches those does not go on."""


def carry_out(run: Running, device: str, facts: Mapping[str, Any]) -> RunRecord:
    """Call the function of a trial, again after failures as often as it may, and return its record.

    Raises:
        TrialFailedError: it raised, took too long, or returned nothing by which the run could be judged.
        TrialStoppedError: it was asked to stop, and was at the end of an epoch.
        SpecError: the function is not to be found in this process.
    """
    trial = run.trial
    run.run_dir.mkdir(exist_ok=True)
    function = found(trial.trainer.name, trial.options)
    noted = {**environment(trial, device), **facts}
    for attempt in range(trial.options.retries + 1):
        try:
            run.curve.begin(time.monotonic())
            _call(run, function)
            return run.record(noted)
        except TrialFailedError as error:
            if attempt == trial.options.retries or run.should_stop():
                raise
            run.note(f"run {trial.run_id}: {error.reason}; tried again ({attempt + 1} of {trial.options.retries})")
    raise AssertionError("the last attempt returns or raises")


def _call(run: Running, function: Function) -> None:
    header = f"== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {run.trial.trainer.name}\n"
    folder = run.folder
    with (folder / "stdout.log").open("a") as out, (folder / "stderr.log").open("a") as err:
        for file in (out, err):
            file.write(header)
        with _alive(run):
            answer = _guarded(run, out, err, lambda: function(**arguments(run.trial, function, run)))
            if isinstance(answer, Mapping):
                run.take(answer)
                return
            if not hasattr(answer, "__next__"):
                raise TrialFailedError(
                    f"the function returned {answer!r:.80}; it must return a mapping of numbers, or yield one an epoch"
                )
            _iterate(run, answer, out, err)


def _iterate(run: Running, answer: Iterator[Any], out: TextIO, err: TextIO) -> None:
    number = 0
    end = object()
    try:
        while (values := _guarded(run, out, err, lambda: next(answer, end))) is not end:
            if not isinstance(values, Mapping):
                raise TrialFailedError(f"the function yielded {values!r:.80}; it must yield mappings of numbers")
            number += 1
            run.take(values if "epoch" in values else {**values, "epoch": number})
            if run.curve.diverged is not None:
                return
            if run.should_stop():
                raise TrialStoppedError(f"stopped after {number} epochs; run_dir is {run.run_dir}")
    finally:
        with contextlib.suppress(Exception):  # what it does as it is closed cannot change the result
            close = getattr(answer, "close", None)
            if close is not None:
                close()


def arguments(trial: Trial, function: Function, run: Running) -> dict[str, Any]:
    """What a function is called with: its knobs, and ``seed`` and ``run_dir`` where it has such arguments."""
    given = {"seed": trial.seed, "run_dir": run.run_dir}
    try:
        names = set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        names = set()
    return {**trial.knobs, **{name: value for name, value in given.items() if name in names}}


def _guarded(run: Running, out: TextIO, err: TextIO, call: Any) -> Any:
    """Call it with its words in the logs; whatever it raises is its failure."""
    limit = run.trial.options.timeout
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _limited(run, limit):
            return call()
    except _PastTimeoutError:
        raise TrialFailedError(f"it ran past its timeout of {limit:g} s", traceback.format_exc()) from None
    except InterplayError as error:
        raise TrialFailedError(f"{type(error).__name__}: {error}", traceback.format_exc()) from error
    except SystemExit as error:
        raise TrialFailedError(f"the function left by SystemExit({error.code!r})", traceback.format_exc()) from error
    except Exception as error:
        words = next((line for line in str(error).splitlines() if line.strip()), "")
        reason = f"{type(error).__name__}: {words}" if words else type(error).__name__
        raise TrialFailedError(reason, traceback.format_exc()) from error


@contextmanager
def _limited(run: Running, seconds: float) -> Iterator[None]:
    """End what takes longer than ``seconds`` since the run began, where that can be: in the main thread."""
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(number: int, frame: FrameType | None) -> None:
        raise _PastTimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, max(1e-3, run.started + seconds - time.monotonic()))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _alive(run: Running) -> Iterator[None]:
    """Tell that the function lives, while it may: it may take hours to return, and is hung past its timeout."""
    over = threading.Event()
    limit = run.trial.options.timeout

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            if limit and time.monotonic() - run.started > limit + BEAT_SECONDS:
                return
            try:
                run.alive()
            except InterplayError:
                return  # the run is lost, which the next epoch notices in its own thread

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
