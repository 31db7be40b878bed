"""How runs and studies show themselves: live on a terminal, plain lines in a file."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from interplay.notes import notice, on_terminal
from interplay.record import EpochMetrics

if TYPE_CHECKING:
    from interplay.train.events import BatchSeen


class RunProgress:
    """Shows batches and epochs of one run on ``stream``; by default as lines of the logger "interplay"."""

    def __init__(self, epochs: int, stream: TextIO | None = None) -> None:
        self.epochs = epochs
        self.stream = stream
        self._bar: Any = None
        self._live = on_terminal() if stream is None else stream.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def batch(self, progress: BatchSeen) -> None:
        """Show progress inside an epoch; nothing in a file."""
        if not self._live:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.batches,
                desc=f"epoch {progress.epoch}/{self.epochs}",
                unit="batch",
                file=self.stream or sys.stderr,
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.update(progress.batch - self._bar.n)
        self._bar.set_postfix_str(f"loss {progress.loss:.4g}  accuracy {progress.accuracy:.2f} %", refresh=False)

    def epoch(self, metrics: EpochMetrics) -> None:
        """One line for an epoch that has ended."""
        self._close()
        line = epoch_line(metrics, self.epochs)
        if self.stream is None:
            notice(line)
        else:
            print(line, file=self.stream, flush=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def epoch_line(metrics: EpochMetrics, epochs: int) -> str:
    """The plain line of an epoch, such as ``epoch  3/10  lr 0.09  train 3.1 (22.1 %)  test 3.0 (24.0 %)  12.1 s``."""
    width = len(str(epochs))
    parts = [
        f"epoch {metrics.epoch:>{width}}/{epochs}",
        f"lr {metrics.lr:.4g}",
        f"train {_pair(metrics.train_loss, metrics.train_acc)}",
    ]
    # Absent between two looks at the test images; a loss that is not finite ends the run, and its end says why.
    if metrics.test_loss is not None or metrics.train_loss is None:
        parts.append(f"test {_pair(metrics.test_loss, metrics.test_acc)}")
    if metrics.val_loss is not None:
        parts.append(f"val {_pair(metrics.val_loss, metrics.val_acc)}")
    parts.append(f"{metrics.seconds:.1f} s")
    return "  ".join(parts)


def _pair(loss: float | None, accuracy: float | None) -> str:
    return "not finite" if loss is None or accuracy is None else f"{loss:.4f} ({accuracy:.2f} %)"
