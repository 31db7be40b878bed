"""One run on several devices of this machine: `torchrun` starts a process for each, the first holds the lease.

The first process claims the run, beats, writes checkpoints and the record, and has the tracker, as one that trains
a run alone; the others train their shares of each batch. Whoever started them hears the events of the first over a
connection and tells it when to stop. The identity of the run does not depend on how many they are: losses, gradients
and batch normalisation are those of whole batches, see `train.ddp`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import psutil
import torch

from interplay import by_path
from interplay.devices import choose_device
from interplay.errors import InterplayError, SpecError
from interplay.executors.attempt import attempt, load
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.executors.process import Stop
from interplay.lab.settings import RunFailedError
from interplay.notes import notice
from interplay.spec import RunSpec
from interplay.speed.estimate import training_images
from interplay.store.leases import Claims, claim_of
from interplay.store.store import Store
from interplay.trackers.choose import open_tracker
from interplay.train.ddp import Group, OthersFailedError, joined
from interplay.train.events import Emit, Event, Note, RunEnded
from interplay.train.loop import Interrupted, train

FOLDER = "INTERPLAY_TOGETHER"
"""Environment variable of the processes: a folder that they share with whoever started them."""

POLL_SECONDS = 0.2


class Together:
    """Processes that `torchrun` starts, in a session of their own: Ctrl-C reaches who started them alone.

    Args:
        processes: how many.
        module: what each of them runs, as ``python -m`` would.
        words: its arguments.
        threads: of each on CPUs; 0 for one.
        quiet: whether what they print is kept, for `last_words`, and not shown.
    """

    def __init__(self, processes: int, module: str, words: Sequence[str], *, threads: int = 0, quiet: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="interplay-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        (self.folder / "pid").write_text(str(os.getpid()))
        # torchrun would choose one thread, too, and say so in a paragraph.
        environment = {"OMP_NUM_THREADS": "1", **os.environ, FOLDER: self._folder.name}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        self._said = (self.folder / "said").open("wb")
        told: Any = self._said if quiet else None
        self._process = subprocess.Popen(
            [*launcher, "-m", module, *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.ended is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                this = psutil.Process(self._process.pid)
                for process in [*this.children(recursive=True), this]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
            self._process.wait()
        self._said.close()
        self._folder.cleanup()

    @property
    def ended(self) -> int | None:
        """The exit code once all have ended."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """The exit code once all have ended, or ``None`` after some seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.ended

    def stop(self) -> None:
        """Ask the processes to stop at the end of their epoch."""
        (self.folder / "stop").touch()

    def last_words(self) -> str:
        """The last line of an error that they printed."""
        lines = (self.folder / "said").read_text(errors="replace").splitlines()
        errors = [line.strip() for line in lines if "Error: " in line and not line.startswith((" ", "E1", "W1"))]
        return errors[0] if errors else ""

    def code(self, of_torchrun: int) -> int:
        """The exit code that the first process left by `told_by_code`; where it left none, that of torchrun."""
        try:
            return int((self.folder / "code").read_text())
        except (OSError, ValueError):
            return of_torchrun


def told_by_code(work: Callable[[], object], say: Callable[[InterplayError], None]) -> int:
    """In one of the processes: do ``work``; an error that it is ready for ends all of them in an orderly way.

    The first process says what was wrong, by ``say``, and leaves its exit code to who started it. torchrun, which would
    print a page about a process that ends with another one than 0, sees 0.
    """
    folder, leads = os.environ.get(FOLDER), os.environ.get("RANK", "0") == "0"
    try:
        work()
    except OthersFailedError:
        return 0
    except InterplayError as error:
        if folder is None:
            raise
        if leads:
            say(error)
            (Path(folder) / "code").write_text(str(error.exit_code))
    return 0


def asked_to_stop() -> bool:
    """In one of the processes: whether it is to stop, because it was asked to or since who started it is gone."""
    name = os.environ.get(FOLDER)
    if name is None:
        return False
    folder = Path(name)
    try:
        return (folder / "stop").exists() or not psutil.pid_exists(int((folder / "pid").read_text()))
    except (OSError, ValueError):
        return True  # the folder goes with who made it


def resolved(asked: int, spec: RunSpec, device: str) -> int:
    """How many processes train ``spec``, of which ``asked`` were asked for; 0 asks for one a GPU.

    Args:
        asked: as the option says.
        spec: the run.
        device: as the option says.

    Raises:
        SpecError: more than there are GPUs, one GPU by its number for several, or a batch without an image for one.
    """
    if asked == 1:
        return 1
    on_gpus = choose_device(device).startswith("cuda")
    gpus = torch.cuda.device_count() if on_gpus else 0
    count = asked or max(1, gpus)
    if count > 1 and ":" in device:
        raise SpecError(f"--processes {count} take the first {count} GPUs; leave out --device {device}")
    if on_gpus and count > gpus:
        raise SpecError(f"--processes {count}: there {'is 1 GPU' if gpus == 1 else f'are {gpus} GPUs'} here")
    images = training_images(spec)
    if images is not None:
        Group(0, count).check(images, spec.batch_size)
    return count


def attempt_together(
    spec: RunSpec, job: Job, processes: int, threads: int, emit: Emit, should_stop: Callable[[], bool]
) -> None:
    """`attempt` at one run with several processes; emits the same events, the last of them `RunEnded`.

    Args:
        spec: the run.
        job: its settings; ``device`` says whether on GPUs.
        processes: how many.
        threads: of each on CPUs; 0 for one.
        emit: takes every event.
        should_stop: asked several times a second; True ends the run after its epoch, with a checkpoint.

    Raises:
        RunFailedError: the processes ended without a word.
    """
    store = Store(Path(job.output_dir))
    if store.is_done(spec.run_id):  # by whom it was waited for
        emit(RunEnded(spec, Outcome(End.DONE)))
        return
    owner = claim_of(store.folder(spec.run_id))
    if owner is not None and not Claims(store.runs, "interplay run", job.lease).lapsed(spec.run_id, owner):
        emit(RunEnded(spec, Outcome(End.TAKEN, reason="another worker has it")))  # spares a start
        return
    notice(f"starting {processes} processes ...")
    kind = "cuda" if job.device.startswith("cuda") else "cpu"
    with Together(processes, __name__, [kind], threads=threads, quiet=True) as together:
        connection = _connected(together)
        ended = False
        if connection is not None:
            with connection:
                ended = _hear(connection, spec, job, emit, should_stop)
        code = together.wait(60 if ended else 600)
        if not ended:
            words = together.last_words() or "nothing was said"
            raise RunFailedError(
                f"the {processes} processes ended ({code}) without a record: {words}\n"
                "The same command goes on from the last checkpoint"
            )


def _connected(together: Together) -> Connection | None:
    """The connection to the first process; ``None`` where all end before there is one."""
    with Listener(str(together.folder / "events"), "AF_UNIX") as listener:
        found: SimpleQueue[Connection] = SimpleQueue()
        # Its thread is left behind where nobody connects; being a daemon, it keeps nothing alive.
        threading.Thread(target=lambda: found.put(listener.accept()), name="accept", daemon=True).start()
        while together.ended is None:
            with contextlib.suppress(Empty):
                return found.get(timeout=POLL_SECONDS)
    return None


def _hear(connection: Connection, spec: RunSpec, job: Job, emit: Emit, should_stop: Callable[[], bool]) -> bool:
    """Emit what the first process says to the end; returns whether it told how the run ended."""
    stopping, ended = False, False
    with contextlib.suppress(EOFError, OSError):
        connection.send((spec, job))
        while True:
            if should_stop() and not stopping:
                stopping = True
                connection.send(Stop())
            if connection.poll(POLL_SECONDS):
                event = connection.recv()
                ended |= isinstance(event, RunEnded)
                emit(event)
    return ended


# -- in the processes -------------------------------------------------------------------------------------------------


def main() -> None:
    """Train as one of several, see `attempt_together`; the command line says on what kind of device."""
    device = "cpu" if sys.argv[1] == "cpu" else f"cuda:{os.environ['LOCAL_RANK']}"
    with joined(device) as group:
        connection = Client(str(Path(os.environ[FOLDER]) / "events"), "AF_UNIX") if group.leads else None
        spec, job = group.same(None if connection is None else connection.recv())
        job = dataclasses.replace(job, device=device)
        if connection is not None:
            _lead(spec, job, group, connection)
        else:
            _follow(spec, job, group)


def _lead(spec: RunSpec, job: Job, group: Group, connection: Connection) -> None:
    stopping, begun = False, False
    end: End | None = None
    one_at_a_time = threading.Lock()  # trackers tell from threads of their own

    def tell(event: Event) -> None:
        nonlocal stopping, end
        if isinstance(event, RunEnded):
            end = event.outcome.end
        try:
            with one_at_a_time:
                connection.send(event)
        except OSError:  # nobody hears it any more, which is no reason to lose a run
            stopping = True

    def read() -> None:
        nonlocal stopping
        with contextlib.suppress(EOFError, OSError):
            connection.recv()  # there is one order, and that is to stop; the end of the connection says the same
        stopping = True

    def train_together(*words: Any, **more: Any) -> None:
        nonlocal begun
        begun = True
        group.same(True)
        train(*words, **more, group=group)

    threading.Thread(target=read, name="orders", daemon=True).start()
    store = Store(Path(job.output_dir))
    tracker = open_tracker(job.tracking, lambda text: tell(Note(text)))
    leases = Claims(store.runs, "interplay run", job.lease)
    attempt([spec], store, leases, job, tell, lambda: stopping, tracker=tracker, trains=train_together)
    if not begun:
        group.same(False)
    elif end in (End.FAILED, End.OUT_OF_MEMORY, End.DEVICE, End.CAPTURE):
        # The others are in the middle of a step that never ends. torchrun ends them when one has failed.
        os._exit(1)


def _follow(spec: RunSpec, job: Job, group: Group) -> None:
    if not group.same(None):
        return
    by_path.use(*job.code_dirs)
    data = load(spec, job.data_dir, job.device)
    with contextlib.suppress(Interrupted, OthersFailedError):
        train(spec, data, instruments=job.instruments, test_every=job.test_every, group=group)


if __name__ == "__main__":
    main()
