"""A worker, in whichever process it is: takes orders, carries them out, tells. Also the program of worker processes.

When the supervisor is gone, the connection ends, and the worker stops at the next epoch with a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import FrameType

import torch

from interplay.executors.allocator import keep_freed_memory
from interplay.executors.attempt import attempt
from interplay.executors.outcomes import End
from interplay.executors.process import Begin, Ready, Stop, Train
from interplay.speed.measure import Measure, Measured, carry_out
from interplay.store.leases import Claims
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.events import Note, RunEnded


class Worker:
    """Carries out `process` orders one after the other.

    Args:
        tell: takes each answer; raises `OSError` where nobody listens any more.
    """

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell
        self._orders: SimpleQueue[object] = SimpleQueue()
        self.stopping = False
        self._leaving = False

    def give(self, order: object) -> None:
        """Take an order, from any thread; `Stop` ends the work at the next epoch."""
        self.stopping |= isinstance(order, Stop)
        self._orders.put(order)

    def serve(self) -> None:
        """Carry out orders until there are no more, or a run was interrupted, or the device is broken."""
        order = self._orders.get()
        while not self._leaving and isinstance(order, Begin | Train | Measure):
            following: object = None
            if isinstance(order, Begin):
                self._begin(order)
            elif isinstance(order, Measure):
                following = self._measure(order)
            else:
                self._train(order)
            order = following if following is not None or self._leaving else self._orders.get()

    def tell(self, answer: object) -> None:
        """Report; a supervisor that no longer listens is no reason to lose a run."""
        try:
            self._tell(answer)
        except OSError:
            self.stopping = True
        if isinstance(answer, RunEnded):
            # After a CUDA error, or a capture that was broken off, nothing works in this process any more.
            self._leaving |= answer.outcome.end in (End.INTERRUPTED, End.DEVICE, End.CAPTURE)

    def _begin(self, order: Begin) -> None:
        self.job = order.job
        self.store = Store(Path(order.job.output_dir))
        self.leases = Claims(self.store.runs, order.name, order.job.lease)
        self.tracker = open_tracker(order.job.tracking, lambda text: self.tell(Note(text)))
        self.tell(Ready())

    def _train(self, order: Train) -> None:
        attempt(
            order.specs,
            self.store,
            self.leases,
            self.job,
            self.tell,
            lambda: self.stopping,
            tracker=self.tracker,
            facts=order.facts,
            way=order.way,
            autotune=order.autotune,
        )

    def _measure(self, order: Measure) -> object:
        """Carry out this order and those that follow it; returns the one that does not, if it has come already."""
        try:
            return carry_out(order, self.tell, self._orders.get)
        except Exception as error:  # whatever it is, this way of training is none that can be chosen
            self.tell(Measured(error=f"{type(error).__name__}: {error}"))
            return None


def main() -> None:
    """Serve the supervisor at the other end of the connection that the command line names."""
    threads, descriptor = int(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(descriptor, False)  # no program that this one starts may hold the connection open
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    supervisor = Connection(descriptor)
    one_at_a_time = threading.Lock()  # trackers tell from threads of their own

    def tell(answer: object) -> None:
        with one_at_a_time:
            supervisor.send(answer)

    worker = Worker(tell)

    def read() -> None:
        while True:
            try:
                order = supervisor.recv()
            except (EOFError, OSError):
                order = Stop()
            worker.give(order)
            if isinstance(order, Stop):
                return

    def terminate(number: int, frame: FrameType | None) -> None:
        worker.stopping = True

    # Ctrl-C goes to the whole terminal; the supervisor hears it and says what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # So does what Slurm sends before the time limit, which goes to every process of a job.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=read, name="orders", daemon=True).start()
    worker.serve()


if __name__ == "__main__":
    main()
