"""Ctrl-C and SIGTERM as requests: once to stop at the next epoch boundary with a checkpoint, twice to stop at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from interplay.notes import notice, on_terminal


class StopRequest:
    """A context in which the first SIGINT or SIGTERM sets ``requested`` and the second raises ``KeyboardInterrupt``.

    Until it is ``armed`` - while data load or download - the first one raises already.

    Outside the main thread signals cannot be caught; there the context does nothing.
    """

    def __init__(self, *, announce: bool = True) -> None:
        self.requested = False
        self.armed = False
        """Whether there is an epoch to wait for; before that a signal interrupts at once."""
        self._announce = announce
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in (signal.SIGINT, signal.SIGTERM):
                self._previous[name] = signal.signal(name, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, handler in self._previous.items():
            signal.signal(name, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested or not self.armed:
            raise KeyboardInterrupt
        self.requested = True
        if self._announce:
            # On a terminal behind the ^C that it shows.
            start = "\n" if on_terminal() else ""
            notice(f"{start}stopping after this epoch, with a checkpoint; once more to stop at once")
