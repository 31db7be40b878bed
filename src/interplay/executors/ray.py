"""Ray, core only: one actor a seat, anywhere in the cluster, and this process as the supervisor.

Ray is told never to repeat anything (``max_restarts=0, max_task_retries=0``): whether a run is tried again is for the
ledger to say, and whether it is done for the store. The data and the output folder must mean the same on every node.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from interplay.errors import InterplayError, SpecError
from interplay.executors.attempt import End, Hooks, Job, Outcome, attempt
from interplay.executors.base import Executor, Listener, Sitting
from interplay.executors.queue import Ledger, Report
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.store.leases import Claims, claim_of
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker

MAX_START_FAILURES = 3
"""Actors of one seat that may in a row die before they are ready, or find their device broken."""

NODE_SECONDS = 20.0
"""Within which Ray is expected to know that a lost actor has gone with its node."""


class RayError(InterplayError):
    """Ray is not there, or its cluster has not what is asked for; the message says what to do."""

    exit_code = 2


class Seat:
    """The actor: one worker process, training one run at a time. A second thread hears that it is to stop."""

    def __init__(self, job: dict[str, Any], name: str, facts: dict[str, Any]) -> None:
        self.job, self.facts = Job.from_dict(job), facts
        if self.job.device == "cpu":
            torch.set_num_threads(1)  # as every other worker, so that a run may go on elsewhere with the same bits
        self.store = Store(Path(self.job.output_dir))
        self.claims = Claims(self.store.runs, name, self.job.lease)
        self.stopping = False
        self._notes: list[str] = []
        self.tracker = open_tracker(self.job.tracking, self._notes.append)

    def ready(self) -> str:
        """The node that it is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def attempt(self, spec: dict[str, Any]) -> dict[str, Any]:
        """One attempt at a run, as `worker.attempt`."""

        def on_epoch(spec: RunSpec, metrics: EpochMetrics) -> bool:
            return self.stopping

        hooks = Hooks(on_epoch=on_epoch, on_note=self._notes.append)
        outcome = attempt(RunSpec.from_dict(spec), self.store, self.claims, self.job, hooks, self.tracker, self.facts)
        notes, self._notes[:] = list(self._notes), []
        record = outcome.record.to_dict() if outcome.record is not None else None
        return {"end": str(outcome.end), "reason": outcome.reason, "record": record, "notes": notes}

    def stop(self) -> None:
        """Stop at the next epoch, with a checkpoint."""
        self.stopping = True


@dataclass
class Place:
    """A seat as the supervisor sees it: its present actor, and what it is doing."""

    name: str
    actor: Any
    waiting: Any
    """The answer that is outstanding: that it is ready, or the end of an attempt; ``None`` while it is idle."""
    node: str = ""
    spec: RunSpec | None = None
    sign: str = ""
    heard: float = field(default_factory=time.monotonic)


class RayExecutor(Executor):
    """Seats in a Ray cluster.

    A lost actor is noticed by Ray at once, a lost node within seconds; the run goes on elsewhere from its checkpoint
    as soon as its claim has lapsed. A node's loss does not count against the run, a worker's death does.

    Args:
        address: of the cluster; ``auto`` for the one of this machine, ``None`` to start one here and end it afterwards.
        workers: runs at a time; 0 for as many as the cluster has CPUs, or places on GPUs.
        per_gpu: runs that share a GPU; 0 for the CPU.
        max_attempts: how often a run may kill its worker.
    """

    def __init__(self, address: str | None = None, workers: int = 0, per_gpu: int = 0, max_attempts: int = 3) -> None:
        self.address, self.workers, self.per_gpu, self.max_attempts = address, workers, per_gpu, max_attempts

    def check(self) -> None:
        """Raise `RayError` unless Ray is installed. Does not import it, see `_keep_to_this_machine`."""
        if importlib.util.find_spec("ray") is None:
            raise RayError("--executor ray needs Ray: in a checkout, pip install -e '.[ray]'")

    def run(self, specs: Sequence[RunSpec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if not specs:
            return Report()
        self.check()
        ours = _connect(self.address, self.workers)
        root = store.root.resolve()
        job = replace(job, data_dir=str(Path(job.data_dir).resolve()), output_dir=str(root))
        try:
            sitting = _Sitting(self, Ledger(specs, store, self.max_attempts), job, listener)
            return sitting.to_the_end(len(specs), stop)
        finally:
            if ours:
                import ray

                ray.shutdown()


def _connect(address: str | None, workers: int) -> bool:
    """Join the cluster unless this process has; returns whether it is for this sitting to leave it."""
    if address is None:
        _keep_to_this_machine()
    import ray

    if ray.is_initialized():
        return False
    quiet = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        if address is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            ray.init(address="local", num_cpus=max(workers, cores), include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RayError(f"no Ray cluster at {address or 'this machine'}: {str(error).splitlines()[0]}") from error
    finally:
        # Ray takes SIGTERM for itself and would end this process without a checkpoint.
        for number, handler in handlers.items():
            with contextlib.suppress(ValueError):  # not the main thread, where signals are not ours anyway
                signal.signal(number, handler)
    return True


def _keep_to_this_machine() -> None:
    """A Ray that is started here listens on 127.0.0.1 only and answers nobody without its token.

    Whoever reaches Ray's ports may run code. Ray binds to all interfaces unless it is told, by this variable and before
    it is imported, that it shall not make clusters; `ray.init` has no argument that does it. The token is in the
    environment of this process and of its workers and in no file.
    """
    if "ray" in sys.modules:
        return  # both are read when Ray is imported; whoever did that has settled them
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


class _Sitting(Sitting):
    """The state of one call of ``run``."""

    def __init__(self, executor: RayExecutor, ledger: Ledger, job: Job, listener: Listener) -> None:
        import ray

        self.ray: Any = ray
        self.executor, self.ledger, self.job, self.listener = executor, ledger, job, listener
        self.places: dict[str, Place] = {}
        self._start_failures: dict[str, int] = {}
        self._looked = time.monotonic()
        self._stopping = False
        resources = ray.cluster_resources()
        self.gpus = int(resources.get("GPU", 0))
        if executor.per_gpu and not self.gpus:
            raise SpecError("--gpus all: the Ray cluster has no GPU; leave --gpus out to run on its CPUs")
        there = self.gpus * executor.per_gpu if executor.per_gpu else int(resources.get("CPU", 0))
        self.seats = executor.workers or max(1, there)

    # -- actors ---------------------------------------------------------------------------------------------------

    def start(self, count: int) -> None:
        """Ask for the actors; those for which there is no room now start when there is."""
        for index in range(min(self.seats, count)):
            self._seat(f"ray{index}")

    def _seat(self, name: str) -> None:
        share = 1.0 / self.executor.per_gpu if self.executor.per_gpu else 0.0
        wanted = {"num_cpus": 1, "num_gpus": share, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2}
        variables = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "1"}
        kind = self.ray.remote(Seat).options(**wanted, runtime_env={"env_vars": variables})
        facts = {"at_once": self.executor.per_gpu} if self.executor.per_gpu else {}
        actor = kind.remote(self.job.to_dict(), f"{name} of {os.getpid()}", facts)
        self.places[name] = Place(name, actor, actor.ready.remote())

    def end(self) -> None:
        """Let go of all actors; those that still train were cut short."""
        for place in self.places.values():
            self._kill(place)
        self.places.clear()

    def _kill(self, place: Place) -> None:
        with contextlib.suppress(Exception):  # it may have gone by itself, in one of Ray's many ways
            self.ray.kill(place.actor, no_restart=True)

    def stop(self) -> None:
        """Ask every actor to stop at its next epoch; hand out nothing more."""
        if not self._stopping:
            self._stopping = True
            self.ledger.stop()
            for place in self.places.values():
                place.actor.stop.remote()

    # -- one turn of the loop -------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Hand out runs, hear how attempts ended, look after those that show no sign of life."""
        for place in self.places.values():
            if place.waiting is None and (spec := self.ledger.next()) is not None:
                place.spec, place.sign, place.heard = spec, "", time.monotonic()
                self.listener.started(place.name, spec)
                place.waiting = place.actor.attempt.remote(spec.to_dict())
        waiting = {place.waiting: place for place in self.places.values() if place.waiting is not None}
        if not waiting:
            time.sleep(0.05)
            return
        answered, _ = self.ray.wait(list(waiting), num_returns=1, timeout=0.2)
        for answer in answered:
            self._hear(waiting[answer], answer)
        if time.monotonic() - self._looked > max(1.0, self.job.lease.lapse / 4):
            self._looked = time.monotonic()
            self._look_for_hangs()

    def _hear(self, place: Place, answer: Any) -> None:
        place.waiting = None
        try:
            value = self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            self._lost(place, error)
            return
        if place.spec is None:
            place.node = value
            self._start_failures[place.name] = 0
            return
        spec, place.spec = place.spec, None
        for note in value["notes"]:
            self.listener.note(note)
        record = RunRecord.from_dict(value["record"]) if value["record"] else None
        outcome = Outcome(End(value["end"]), record, value["reason"])
        if outcome.end is End.OUT_OF_MEMORY and self.executor.per_gpu > 1 and len(self.places) > 1:
            # It may not have had its GPU to itself: once more, with one seat fewer in the cluster.
            self.listener.note(f"a GPU is out of memory: {len(self.places) - 1} instead of {len(self.places)} seats")
            self._kill(self.places.pop(place.name))
            self.ledger.again(spec)
            return
        if outcome.end is End.COMMITTED:
            self._start_failures[place.name] = 0
        self.ledger.ended(spec, outcome)
        self.listener.ended(place.name, spec, outcome)
        if outcome.end is End.DEVICE:
            self._replace(place, "its device is broken")

    def _lost(self, place: Place, error: Exception) -> None:
        """The actor died, alone or with its node."""
        words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        spec = place.spec
        if spec is None:
            self._replace(place, words)
            return
        place.spec = None
        if self._is_gone(place, error):
            self.ledger.again(spec)
            self.listener.note(f"the node of worker {place.name} has gone; run {spec.run_id} goes on elsewhere")
            self._replace(place)
            return
        reason = f"worker {place.name} died ({words})"
        again = self.ledger.died(spec, reason)
        self.listener.note(f"{reason}; run {spec.run_id} {'is tried again' if again else 'is marked failed'}")
        if not again:
            self.listener.ended(place.name, spec, Outcome(End.FAILED, reason=reason))
        self._replace(place)

    def _is_gone(self, place: Place, error: Exception) -> bool:
        """Whether the actor was lost with its node; waits until Ray knows, which may be after the call breaks off."""
        deadline = time.monotonic() + NODE_SECONDS
        while time.monotonic() < deadline:
            if not any(each["NodeID"] == place.node and each["Alive"] for each in self.ray.nodes()):
                return True
            if isinstance(error, self.ray.exceptions.ActorDiedError) and "its node" not in str(error):
                return False  # its process died, and that is known at once
            try:
                self.ray.get(place.actor.ready.remote(), timeout=1.0)
                return False  # it lives: the call broke off, and its claim will say whether the run goes on
            except self.ray.exceptions.GetTimeoutError:
                continue
            except self.ray.exceptions.RayError as found:
                error = found
                time.sleep(0.2)
        return False

    def _replace(self, place: Place, failure: str | None = None) -> None:
        """Another actor for the seat, wherever there is room; not where starting one failed again and again."""
        self._kill(self.places.pop(place.name))
        if failure is not None:
            self._start_failures[place.name] = self._start_failures.get(place.name, 0) + 1
            self.listener.note(f"worker {place.name}: {failure}")
        if self._start_failures.get(place.name, 0) >= MAX_START_FAILURES:
            if not self.places:
                self.ledger.stop(f"no Ray worker can be started: {failure}")
        elif not self.ledger.stopped:
            self._seat(place.name)

    def _look_for_hangs(self) -> None:
        """Kill actors whose run has shown no sign of life: its beats cease when the training does not move."""
        for place in list(self.places.values()):
            if place.spec is None:
                continue
            sign = str(claim_of(self.ledger.store.folder(place.spec.run_id)))
            if sign != place.sign:
                place.sign, place.heard = sign, time.monotonic()
            elif time.monotonic() - place.heard > self.job.lease.hang + self.job.lease.lapse:
                self.listener.note(f"worker {place.name} shows no progress for {self.job.lease.hang:g} s: killed")
                self._kill(place)
