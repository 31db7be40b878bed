"""The worker process of the local executor: ``python -m interplay.executors.process``.

The supervisor writes one JSON object a line to its standard input - first the job, then runs, one or a stack of them at
a time - and reads events from the file descriptor named by ``--events``. When the supervisor is gone, the input ends,
and the worker stops at the next epoch with a checkpoint.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from interplay.executors.attempt import End, Hooks, Job, Outcome, attempt
from interplay.executors.stack import attempt_stack
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.store.leases import Claims
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.loop import BatchMetrics


class Child:
    """Reads orders, runs them, reports."""

    def __init__(self, events: int) -> None:
        os.set_inheritable(events, False)  # no process that this one starts may keep the supervisor waiting for its end
        self._events = os.fdopen(events, "w", encoding="utf-8", buffering=1)
        self._orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.stopping = False
        self._broken = False
        threading.Thread(target=self._read, name="orders", daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if order.get("stop"):
                self.stopping = True
                self._orders.put(None)
            else:
                self._orders.put(order)
        self.stopping = True
        self._orders.put(None)

    def tell(self, kind: str, **facts: Any) -> None:
        """Report one event; a supervisor that no longer listens is no reason to lose a run."""
        try:
            self._events.write(json.dumps({"kind": kind, **facts}) + "\n")
        except (BrokenPipeError, OSError):
            self.stopping = True

    def serve(self) -> None:
        """Run orders until there are no more."""
        first = self._orders.get()
        if first is None:
            return
        job, threads = Job.from_dict(first["job"]), first["threads"]
        if threads:
            torch.set_num_threads(threads)
        store = Store(Path(job.output_dir))
        claims = Claims(store.runs, first["worker"], job.lease)
        hooks = Hooks(self._started, self._epoch, self._batch, self._note)
        tracker = open_tracker(job.tracking, self._note)
        self.tell("ready")
        while not self.stopping:
            order = self._orders.get()
            if order is None:
                break
            specs = [RunSpec.from_dict(values) for values in order["specs"]]
            if order["stacked"]:
                compiled = order["compiled"]
                attempt_stack(specs, store, claims, job, hooks, self._ended, order["facts"], compiled=compiled)
            else:
                for spec in specs:
                    self._ended(spec, attempt(spec, store, claims, job, hooks, tracker, order["facts"]))
            if self._broken:
                break  # after a CUDA error nothing works in this process any more

    def _ended(self, spec: RunSpec, outcome: Outcome) -> None:
        record = outcome.record.to_dict() if outcome.record is not None else None
        self.tell("ended", run_id=spec.run_id, end=str(outcome.end), reason=outcome.reason, record=record)
        self._broken |= outcome.end is End.DEVICE

    def _note(self, text: str) -> None:
        self.tell("note", text=text)

    def _started(self, spec: RunSpec) -> None:
        self.tell("started", run_id=spec.run_id)

    def _batch(self, spec: RunSpec, progress: BatchMetrics) -> None:
        self.tell("batch", run_id=spec.run_id, progress=asdict(progress))

    def _epoch(self, spec: RunSpec, metrics: EpochMetrics) -> bool:
        self.tell("epoch", run_id=spec.run_id, metrics=metrics.to_dict())
        return self.stopping


def main() -> None:
    """Serve the supervisor whose pipe is named on the command line."""
    child = Child(int(sys.argv[sys.argv.index("--events") + 1]))

    def terminate(number: int, frame: FrameType | None) -> None:
        child.stopping = True

    # Ctrl-C goes to the whole terminal; the supervisor hears it and says what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So does what Slurm sends before the time limit, which goes to every process of a job.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    child.serve()


if __name__ == "__main__":
    main()
