"""TensorBoard: event files under ``tensorboard/<run_id>/``, by `torch.utils.tensorboard`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from interplay.record import RunRecord, best_epoch
from interplay.trackers.base import Row, TrackedRun, Tracker


class TensorboardTracker(Tracker):
    """Rows become scalars: those of batches over the step, those of epochs over the epoch."""

    survives_kills = True

    @staticmethod
    def announcement(output_dir: Path) -> str | None:
        """See `Tracker`."""
        return f"TensorBoard: tensorboard --logdir {shlex.quote(str(output_dir / 'tensorboard'))}"

    def __init__(self) -> None:
        self._writer: Any = None

    def start(self, run: TrackedRun) -> None:
        """See `Tracker`; a run that goes on gets a further file in the same folder, which TensorBoard joins."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.output_dir / "tensorboard" / run.spec.run_id))
        if not run.history:
            spec = json.dumps({"name": run.name, **run.spec.to_dict()}, indent=1)
            self._writer.add_text("spec", f"```\n{spec}\n```")
            self._writer.add_scalar("parameters", run.parameters, 0)

    def batch(self, row: Row) -> None:
        """See `Tracker`."""
        self._add(row, "step", leave_out=("epoch",))

    def epoch(self, row: Row) -> None:
        """See `Tracker`."""
        self._add(row, "epoch")
        self._writer.flush()

    def _add(self, row: Row, axis: str, leave_out: tuple[str, ...] = ()) -> None:
        for name, value in row.items():
            if name != axis and name not in leave_out:
                self._writer.add_scalar(name, value, int(row[axis]))

    def finish(self, record: RunRecord, best: Path | None) -> None:
        """See `Tracker`."""
        if (found := best_epoch(record.history)) is not None:
            self._writer.add_scalar("best_accuracy", found.test_acc, found.epoch)
        self.close()

    def close(self) -> None:
        """See `Tracker`."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()
