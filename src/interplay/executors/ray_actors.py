"""Ray, core only: one actor a slot, anywhere in the cluster, and this process as the supervisor.

Ray is told never to repeat anything (``max_restarts=0, max_task_retries=0``): whether a run is tried again is for the
queue to say, and whether it is done for the store. The data and the output folder must mean the same on every node.
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
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Self

import torch

from interplay.devices import Slot
from interplay.errors import InterplayError, SpecError
from interplay.executors.allocator import keep_freed_memory
from interplay.executors.base import Asked, Executor, Listener
from interplay.executors.job import Job
from interplay.executors.pool import Gone, Member, Pool
from interplay.executors.process import Stop
from interplay.executors.queue import Queue, Report
from interplay.executors.signals import StopRequest
from interplay.executors.worker import Worker
from interplay.store.manifest import Manifest
from interplay.store.store import Store
from interplay.trial import Spec

POLL_SECONDS = 5.0
"""Within which an actor answers a question, though it has nothing to say."""

NODE_SECONDS = 20.0
"""Within which Ray is expected to know that a lost actor has gone with its node."""


class RayError(InterplayError):
    """Ray is not there, or its cluster has not what is asked for; the message says what to do."""

    exit_code = 2


class Actor:
    """A worker in a process of Ray's. Each method has a thread of its own."""

    def __init__(self) -> None:
        self._answers: SimpleQueue[object] = SimpleQueue()
        self._worker = Worker(self._answers.put)

    def serve(self) -> None:
        """Carry out orders to the end."""
        torch.set_num_threads(1)  # as every other worker, so that a run may go on elsewhere with the same bits
        keep_freed_memory()
        try:
            self._worker.serve()
        finally:
            self._answers.put(Gone("(it has left)"))

    def give(self, order: object) -> None:
        """Take an order."""
        self._worker.give(order)

    def answers(self) -> list[object]:
        """What it says: waits for something, a few seconds at most."""
        found: list[object] = []
        with contextlib.suppress(Empty):
            found.append(self._answers.get(timeout=POLL_SECONDS))
            while True:
                found.append(self._answers.get_nowait())
        return found

    def node(self) -> str:
        """The node that it is on."""
        import ray

        return str(ray.get_runtime_context().get_node_id())


class ActorHandle:
    """An actor as the supervisor sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.ray, self.actor = ray, actor
        self.node = actor.node.remote()
        actor.serve.remote()
        self.waiting = actor.answers.remote()
        """What it says next, once it does."""

    def send(self, order: object) -> None:
        """See `Handle`."""
        self.actor.give.remote(order)

    def dismiss(self) -> None:
        """See `Handle`."""
        self.send(Stop())

    def kill(self) -> None:
        """See `Handle`."""
        with contextlib.suppress(Exception):  # it may have gone by itself, in one of Ray's many ways
            self.ray.kill(self.actor, no_restart=True)

    def close(self) -> None:
        """See `Handle`."""
        self.kill()


class RayExecutor(Executor):
    """Workers in a Ray cluster.

    A lost actor is noticed by Ray at once, a lost node within seconds; the run goes on elsewhere from its checkpoint
    as soon as its claim has lapsed. A node's loss does not count against the run, a worker's death does.

    Args:
        address: of the cluster; ``auto`` for the one of this machine, ``None`` to start one here and end it afterwards.
        workers: runs at a time; 0 for as many as the cluster has CPUs, or slots on GPUs.
        per_gpu: runs that share a GPU; 0 for the CPU.
        max_attempts: how often a run may kill its worker.
    """

    def __init__(self, address: str | None = None, workers: int = 0, per_gpu: int = 0, max_attempts: int = 3) -> None:
        self.address, self.workers, self.per_gpu, self.max_attempts = address, workers, per_gpu, max_attempts

    @classmethod
    def slots(cls, asked: Asked) -> list[Slot]:
        """See `Executor.slots`. How many there are is for the cluster to say, where nobody else does."""
        return _slots(asked.workers or 1, "cpu" if asked.gpus is None else "cuda:0")

    @classmethod
    def make(cls, asked: Asked, study: Manifest, slots: Sequence[Slot]) -> Self:
        """See `Executor.make`."""
        if asked.gpus not in (None, "all"):
            raise SpecError(f"--gpus {asked.gpus}: Ray chooses among its GPUs; say --gpus all, or --workers N")
        found = cls(asked.address, asked.workers, max(1, asked.per_gpu) if asked.gpus is not None else 0)
        found.check()
        return found

    def check(self) -> None:
        """Raise `RayError` unless Ray is installed. Does not import it, see `_keep_to_this_machine`."""
        if importlib.util.find_spec("ray") is None:
            raise RayError("--executor ray needs Ray: in a checkout, pip install -e '.[ray]'")

    def run(self, specs: Sequence[Spec], store: Store, job: Job, listener: Listener, stop: StopRequest) -> Report:
        """See `Executor.run`."""
        if not specs:
            return Report()
        self.check()
        ours = _connect(self.address, self.workers)
        root = store.root.resolve()
        job = replace(job, data_dir=str(Path(job.data_dir).resolve()), output_dir=str(root))
        try:
            return Actors(self, Queue(specs, store, self.max_attempts), job, listener).run(stop)
        finally:
            if ours:
                import ray

                ray.shutdown()


def _connect(address: str | None, workers: int) -> bool:
    """Join the cluster unless this process has; returns whether it is for the caller to leave it."""
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


def _slots(count: int, device: str) -> list[Slot]:
    return [Slot(f"ray{index}", device) for index in range(count)]


class Actors(Pool[ActorHandle]):
    """Workers that Ray places, wherever there is room for one."""

    start_seconds = float("inf")  # an actor for which there is no room now starts when there is

    def __init__(self, executor: RayExecutor, queue: Queue, job: Job, listener: Listener) -> None:
        import ray

        self.ray: Any = ray
        self.per_gpu = executor.per_gpu
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        if self.per_gpu and not gpus:
            raise SpecError("--gpus all: the Ray cluster has no GPU; leave --gpus out to run on its CPUs")
        there = gpus * self.per_gpu if self.per_gpu else int(resources.get("CPU", 0))
        super().__init__(_slots(executor.workers or max(1, there), job.device), queue, job, listener)

    def start_worker(self, slot: Slot) -> ActorHandle:
        """See `Pool`."""
        share = 1.0 / self.per_gpu if self.per_gpu else 0.0
        # Threads: one that serves, and one for each kind of question.
        wanted = {"num_cpus": 1, "num_gpus": share, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 4}
        variables = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "1"}
        kind = self.ray.remote(Actor).options(**wanted, runtime_env={"env_vars": variables})
        return ActorHandle(self.ray, kind.remote())

    def beside(self, member: Member[ActorHandle]) -> list[Member[ActorHandle]]:
        """See `Pool`. Which actors share a GPU only Ray knows: any of them may."""
        return [each for each in self.members.values() if each is not member] if self.per_gpu > 1 else []

    def at_once(self, member: Member[ActorHandle]) -> int | None:
        """See `Pool`."""
        return self.per_gpu or None

    def messages(self, seconds: float) -> list[tuple[Member[ActorHandle], object]]:
        """See `Pool`."""
        waiting = {member.handle.waiting: member for member in self.members.values()}
        if not waiting:
            time.sleep(0.05)
            return []
        found: list[tuple[Member[ActorHandle], object]] = []
        for answer in self.ray.wait(list(waiting), num_returns=1, timeout=seconds)[0]:
            member = waiting[answer]
            try:
                found += [(member, message) for message in self.ray.get(answer)]
                member.handle.waiting = member.handle.actor.answers.remote()
            except self.ray.exceptions.RayError as error:
                words = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                found.append((member, Gone(f"({words})", blameless=self._is_without_node(member.handle, error))))
        return found

    def _is_without_node(self, handle: ActorHandle, error: Exception) -> bool:
        """Whether the actor was lost with its node; waits until Ray knows, which may be after the call breaks off."""
        deadline = time.monotonic() + NODE_SECONDS
        try:
            node = self.ray.get(handle.node, timeout=1.0)
        except self.ray.exceptions.RayError:
            return False  # it has never begun
        while time.monotonic() < deadline:
            if not any(each["NodeID"] == node and each["Alive"] for each in self.ray.nodes()):
                return True
            if isinstance(error, self.ray.exceptions.ActorDiedError) and "its node" not in str(error):
                return False  # its process died, and that is known at once
            try:
                self.ray.get(handle.actor.node.remote(), timeout=1.0)
                return False  # it lives: the call broke off, and its lease will say whether the run goes on
            except self.ray.exceptions.GetTimeoutError:
                continue
            except self.ray.exceptions.RayError as found:
                error = found
                time.sleep(0.2)
        return False
