"""All GPUs or cores of this machine: a supervisor with one worker process a slot."""

from __future__ import annotations

import contextlib
import io
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from interplay.devices import Slot
from interplay.executors.attempt import End, Job, Outcome
from interplay.executors.base import Executor, Listener, Sitting
from interplay.executors.queue import Ledger, Patience, Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.speed.choose import Stacking
from interplay.store.store import Store
from interplay.train.loop import BatchMetrics

MAX_START_FAILURES = 3
"""Worker processes of one slot that may in a row die before they are ready, or find their device broken."""

START_SECONDS = 600.0
"""Within which a worker process must be ready; importing torch from a busy file server may take minutes."""


@dataclass
class Worker:
    """One worker process and what it is doing."""

    slot: Slot
    process: subprocess.Popen[str]
    events: io.FileIO
    errors: IO[bytes]
    runs: dict[str, RunSpec] = field(default_factory=dict)
    """What it has been given and has not ended yet, by run_id: one run, or those of a stack."""
    ready: bool = False
    leaving: bool = False
    """It has said that it will take no more runs."""
    sharing: int = 1
    """Workers on its GPU when it was given its runs."""
    heard: float = field(default_factory=time.monotonic)
    partial: bytes = b""

    def send(self, order: dict[str, Any]) -> None:
        """Write one order; a process that is gone is noticed by its events ending."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def last_words(self) -> str:
        """The end of what the process wrote to its standard error."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else ""


class LocalExecutor(Executor):
    """One process a slot, CUDA_VISIBLE_DEVICES set before it starts.

    A worker that dies is noticed at once, because its pipe ends; its run is tried again in a new process, and marked
    failed after ``max_attempts``. A worker without a sign of progress for the lease's ``hang`` is killed and counts as
    dead. After a GPU ran out of memory its slots become one fewer, down to one.

    Args:
        slots: where workers go.
        threads: CPU threads of each worker (0: torch's choice).
        max_attempts: how often a run may kill its worker.
        patience: with runs that workers of other supervisors have.
        stacking: which runs are trained in stacks, see `paths.Stacking`; by default none.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        threads: int = 1,
        max_attempts: int = 3,
        patience: Patience | None = None,
        stacking: Stacking | None = None,
    ) -> None:
        self.slots, self.threads, self.max_attempts, self.patience = list(slots), threads, max_attempts, patience
        self.stacking = stacking or Stacking()

    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if not specs:
            return Report()
        ledger = Ledger(specs, store, self.max_attempts, self.patience, self.stacking.limit)
        return _Sitting(self, ledger, job, listener).to_the_end(len(specs), stop)


class _Sitting(Sitting):
    """The state of one call of ``run``."""

    def __init__(self, executor: LocalExecutor, ledger: Ledger, job: Job, listener: Listener) -> None:
        self.executor, self.ledger, self.job, self.listener = executor, ledger, job, listener
        self.workers: dict[str, Worker] = {}
        self._selector = selectors.DefaultSelector()
        self._start_failures: dict[str, int] = {}
        self._stopping = False

    # -- processes ------------------------------------------------------------------------------------------------

    def start(self, count: int) -> None:
        """Start the workers of the first ``count`` slots."""
        for slot in self.executor.slots[:count]:
            self._spawn(slot)

    def _spawn(self, slot: Slot) -> None:
        reading, writing = os.pipe()
        # The driver numbers GPUs by their bus, CUDA by their speed unless it is told otherwise.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": slot.visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        if self.executor.threads:
            environment |= {"OMP_NUM_THREADS": str(self.executor.threads)}
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = subprocess.Popen(
            [sys.executable, "-m", "interplay.executors.process", "--events", str(writing)],
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            pass_fds=[writing],
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C is for the supervisor alone
        )
        os.close(writing)
        os.set_blocking(reading, False)
        worker = Worker(slot, process, io.FileIO(reading, "rb"), errors)
        self.workers[slot.name] = worker
        self._selector.register(worker.events, selectors.EVENT_READ, worker)
        job = {**self.job.to_dict(), "device": slot.device}
        worker.send({"job": job, "threads": self.executor.threads, "worker": f"{slot.name} of {os.getpid()}"})

    def _remove(self, worker: Worker) -> None:
        self._selector.unregister(worker.events)
        del self.workers[worker.slot.name]
        worker.events.close()
        if worker.process.stdin is not None:
            with contextlib.suppress(OSError):
                worker.process.stdin.close()
        _wait(worker.process)
        worker.errors.close()

    def end(self) -> None:
        """Let idle workers go and kill those that still run: the sitting is over or was cut short."""
        for worker in self.workers.values():
            if worker.runs:
                worker.process.kill()
            elif worker.process.stdin is not None:
                with contextlib.suppress(OSError):
                    worker.process.stdin.close()
        for worker in list(self.workers.values()):
            self._remove(worker)
        self._selector.close()

    def stop(self) -> None:
        """Ask every worker to stop at its next epoch; hand out nothing more."""
        if self._stopping:
            return
        self._stopping = True
        self.ledger.stop()
        for worker in self.workers.values():
            worker.send({"stop": True})

    # -- one turn of the loop -------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Hand out runs, hear what workers have to say, look after those that say nothing."""
        self._hand_out()
        for key, _ in self._selector.select(timeout=0.2):
            self._hear(key.data)
        self._look_for_hangs()

    def _hand_out(self) -> None:
        for worker in self.workers.values():
            if not worker.ready or worker.leaving or worker.runs:
                continue
            idle = sum(not other.runs and not other.leaving for other in self.workers.values())
            beside = self._beside(worker)
            given = self.ledger.take(idle, self._room_for(beside))
            if given is None:
                continue
            first, stacking = given.specs[0], self.executor.stacking
            worker.runs = {spec.run_id: spec for spec in given.specs}
            worker.heard = time.monotonic()
            worker.sharing = 1 + len(beside)
            facts = stacking.facts(first)
            if worker.slot.visible:
                facts["at_once"] = 1 + sum(bool(other.runs) for other in beside)
            worker.send(
                {
                    "specs": [spec.to_dict() for spec in given.specs],
                    "stacked": given.stacked,
                    "compiled": stacking.is_compiled(first),
                    "facts": facts,
                }
            )

    def _room_for(self, beside: Sequence[Worker]) -> Callable[[RunSpec], bool]:
        """Whether a GPU can take a run besides those of the workers ``beside``: each takes its measured share of it."""
        busy = [next(iter(other.runs.values())) for other in beside if other.runs]
        slots, stacking = 1 + len(beside), self.executor.stacking
        taken = sum(stacking.share(spec, slots) for spec in busy)

        def room(spec: RunSpec) -> bool:
            # The tolerance is for sums such as three thirds.
            return not busy or taken + stacking.share(spec, slots) < 1 + 1e-6

        return room

    def _hear(self, worker: Worker) -> None:
        data = worker.events.read(1 << 20)
        if data is None:  # woken for nothing
            return
        if not data:
            self._bury(worker)
            return
        worker.heard = time.monotonic()
        *lines, worker.partial = (worker.partial + data).split(b"\n")
        for line in lines:
            self._event(worker, json.loads(line))
            if worker.slot.name not in self.workers:  # its slot was given up
                return

    def _event(self, worker: Worker, event: dict[str, Any]) -> None:
        name = worker.slot.name
        if event["kind"] == "ready":
            worker.ready = True
            self._start_failures[name] = 0
            return
        if event["kind"] == "note":
            self.listener.note(event["text"])
            return
        spec = worker.runs.get(event["run_id"])
        if spec is None:
            raise RuntimeError(f"worker {name} reports run {event['run_id']}, which it was not given")
        match event["kind"]:
            case "started":
                self.listener.started(name, spec)
            case "batch":
                self.listener.batch(name, spec, BatchMetrics(**event["progress"]))
            case "epoch":
                self.listener.epoch(name, spec, EpochMetrics.from_dict(event["metrics"]))
            case "ended":
                record = RunRecord.from_dict(event["record"]) if event["record"] else None
                self._ended(worker, spec, Outcome(End(event["end"]), record, event["reason"]))

    def _ended(self, worker: Worker, spec: RunSpec, outcome: Outcome) -> None:
        worker.runs.pop(spec.run_id, None)
        if outcome.end is End.OUT_OF_MEMORY and worker.sharing > 1 and not self.ledger.shared(spec):
            # It never had the GPU to itself: once more, with less beside it.
            self._give_up_slot(worker)
            self.ledger.again(spec)
            return
        if outcome.end in (End.INTERRUPTED, End.DEVICE):
            worker.leaving = True  # asked to go, or its device is broken for this process
        if outcome.end is End.DEVICE:
            self._start_failures[worker.slot.name] = self._start_failures.get(worker.slot.name, 0) + 1
        elif outcome.end is End.COMMITTED:
            self._start_failures[worker.slot.name] = 0
        self.ledger.ended(spec, outcome)
        self.listener.ended(worker.slot.name, spec, outcome)

    def _beside(self, worker: Worker) -> list[Worker]:
        """The other workers on the same GPU."""
        if not worker.slot.visible:
            return []
        return [w for w in self.workers.values() if w is not worker and w.slot.visible == worker.slot.visible]

    def _give_up_slot(self, worker: Worker) -> None:
        """Close this slot if its GPU has another one."""
        others = self._beside(worker)
        if not others:
            return
        self.listener.note(
            f"GPU {worker.slot.visible} is out of memory: {len(others)} instead of {len(others) + 1} slots"
        )
        worker.process.kill()
        self._remove(worker)

    def _bury(self, worker: Worker) -> None:
        """The worker's pipe has ended: find out why, look after its run, and start another process for the slot."""
        code = _wait(worker.process)
        words = worker.last_words()
        runs, slot, ready, leaving = list(worker.runs.values()), worker.slot, worker.ready, worker.leaving
        self._remove(worker)
        reason = f"worker {slot.name} died ({_cause(code)})" + (f": {words}" if words else "")
        for spec in reversed(runs):  # each is put back at the front
            again = self.ledger.died(spec, reason)
            self.listener.note(f"{reason}; run {spec.run_id} {'is tried again' if again else 'is marked failed'}")
            if not again:
                self.listener.ended(slot.name, spec, Outcome(End.FAILED, reason=reason))
        if not (runs or self._stopping or leaving):
            self.listener.note(reason)
        if not ready:
            self._start_failures[slot.name] = self._start_failures.get(slot.name, 0) + 1
        if self._start_failures.get(slot.name, 0) >= MAX_START_FAILURES:
            if not self.workers:
                self.ledger.stop(f"no worker process can be started: {reason}")
            return
        if not self.ledger.stopped:
            self._spawn(slot)

    def _look_for_hangs(self) -> None:
        for worker in list(self.workers.values()):
            limit = self.job.lease.hang if worker.runs else START_SECONDS
            if (worker.runs or not worker.ready) and time.monotonic() - worker.heard > limit:
                self.listener.note(f"worker {worker.slot.name} shows no progress for {limit:g} s: killed")
                worker.heard = time.monotonic()
                worker.process.kill()  # its pipe ends, and the next turn buries it


def _wait(process: subprocess.Popen[str], seconds: float = 10.0) -> int:
    """The exit code; a process that does not end (a driver may hang in its last call) is killed, then left behind."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
