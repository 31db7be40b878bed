"""The documented hypernetwork script: one run under a lease, with one checkpoint file and the lines of its document.

With several GPUs the script starts itself again in one process for each, see `distributed`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from interplay.devices import choose_device, fitted
from interplay.errors import InterplayError
from interplay.executors.attempt import load, tracked
from interplay.executors.signals import StopRequest
from interplay.lab.distributed import POLL_SECONDS, Together, asked_to_stop, told_by_code
from interplay.lab.progress import epoch_line
from interplay.lab.run import NO_GPU
from interplay.lab.settings import InterruptedRunError, Settings
from interplay.notes import notice
from interplay.record import EpochMetrics, RunRecord
from interplay.spec import RunSpec
from interplay.store.leases import Claims, Heartbeat
from interplay.trackers.base import TrackedRun, epoch_row
from interplay.trackers.choose import announcement, open_tracker
from interplay.trackers.registry import TrackerSettings, require
from interplay.train import checkpoint
from interplay.train.checkpoint import Checkpoints
from interplay.train.ddp import Group, joined
from interplay.train.events import BatchSeen, EpochEnded, Event, ModelReady
from interplay.train.loop import Interrupted, train

PREVIOUS = ".previous"
"""What a checkpoint that a new run would replace is called from then on, before its suffix."""


class TakenError(InterplayError):
    """Another process trains this very run."""

    exit_code = 2


class ResumeError(InterplayError):
    """There is nothing to go on from, or it is of another run; the message says which."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class Script:
    """What the script is asked for besides the run itself; each is a flag of it.

    ``wandb_name`` is the name of the run there.
    """

    checkpoint_path: Path
    resume: bool
    wandb: bool
    wandb_project: str
    wandb_entity: str | None
    wandb_name: str
    data_dir: Path
    output_dir: Path


def start(
    spec: RunSpec,
    flags: Script,
    processes: int,
    module: str,
    words: Sequence[str],
    say: Callable[[InterplayError], None],
) -> int:
    """Train in this process, or in one for each GPU; returns the exit code of the script.

    Args:
        spec: what to compute.
        flags: how.
        processes: how many; 0 for one a GPU.
        module: the script itself, as ``python -m`` would run it,
        words: and its command line, to start it again in several processes.
        say: takes an error of one of those.

    Raises:
        InterplayError: nothing to resume from, another process trains it, or it was stopped.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    count = processes or gpus
    if "WORLD_SIZE" in os.environ:
        return told_by_code(lambda: _train(spec, flags, gpus), say)
    if count <= 1:
        _train(spec, flags, gpus)
        return 0
    notice(f"training with {count} processes")
    with StopRequest() as stop, Together(count, module, words, quiet=False) as together:
        stop.armed = True
        while (code := together.wait(POLL_SECONDS)) is None:
            if stop.requested:
                together.stop()
        return together.code(code)


def _train(spec: RunSpec, flags: Script, gpus: int) -> None:
    local = os.environ.get("LOCAL_RANK")
    device = choose_device("auto" if local is None or not gpus else f"cuda:{local}")
    spec = fitted(spec, device)
    with joined(device) as group:
        if group.leads and device == "cpu":
            notice(NO_GPU)
        state = _state_to_resume(flags, spec, group, device) if flags.resume else None
        data = load(spec, str(flags.data_dir), device)
        Session(flags, spec, group).train(data, state)


def _state_to_resume(flags: Script, spec: RunSpec, group: Group, device: str) -> dict[str, Any] | None:
    """The checkpoint's content, made sure to be of this run or of the same one with fewer epochs.

    ``None`` if it is damaged: it is set aside, and the run starts again.

    Raises:
        ResumeError: no checkpoint, one of another run, or one that has all its epochs behind it.
        CheckpointError: the file is something else.
    """

    path = flags.checkpoint_path
    if not path.exists():
        raise ResumeError(f"there is nothing to resume: {path} does not exist")
    state: dict[str, Any] = {}
    damage = None
    try:
        state = checkpoint.read(path)
    except checkpoint.DamagedCheckpointError as error:
        damage = error
    # No process may rename the file before all have read it.
    if group.any(damage is not None, torch.device(device)):
        if group.leads:
            words = damage or f"{path} is not a readable checkpoint for another process"
            print(f"note: {words}; kept as {checkpoint.set_aside(path).name}. The run goes on from its start")
        return None
    checkpoint.require_standing(state, path)
    other = {
        name: value
        for name, value in state["spec"].items()
        if name not in ("epochs", "fingerprint", "precision") and spec.to_dict().get(name) != value
    }
    if other:
        words = ", ".join(f"{name} {value}" for name, value in other.items())
        raise ResumeError(f"{path} is of another run, with {words}: give it the same flags, or start anew")
    if state["epoch"] >= spec.epochs:
        raise ResumeError(
            f"{path} has {state['epoch']} epochs behind it already, and --epochs is {spec.epochs}: nothing to resume"
        )
    weights = state["model_state_dict"]
    state["model_state_dict"] = {name.removeprefix("module."): value for name, value in weights.items()}
    return state


class Session:
    """One start of the script: what it prints, saves and logs."""

    def __init__(self, flags: Script, spec: RunSpec, group: Group) -> None:

        self.flags, self.spec, self.group = flags, spec, group
        self.stop = StopRequest(announce=group.leads)
        self.beats: Heartbeat | None = None
        self.best: EpochMetrics | None = None
        follows = flags.wandb and group.leads
        if follows:
            require("wandb")
        settings = TrackerSettings(
            "wandb" if follows else "none",
            flags.wandb_project,
            flags.wandb_entity,
            group="hypernetworks",
            run_name=flags.wandb_name,
        )
        if (words := announcement(settings, flags.output_dir)) is not None:
            notice(words)
        self.tracker = open_tracker(settings, lambda text: notice(f"note: {text}"))

    def train(self, data: Any, state: dict[str, Any] | None) -> RunRecord:
        """Train, save after each epoch, and enter the record in the store.

        Raises:
            InterruptedRunError: stopped by a signal; the checkpoint says where to go on.
        """

        planned = None if state is None else int(state["spec"]["epochs"])
        files = Files(self.flags.checkpoint_path)
        if state is None:
            self._keep_previous(files.last)
        else:
            self._say_resume(state, planned)
        try:
            with self.stop, contextlib.ExitStack() as held:
                with self.group.together(data.device):
                    self._take(held)
                record = train(
                    self.spec,
                    data,
                    emit=self.hear,
                    should_stop=lambda: self.stop.requested or asked_to_stop(),
                    # Only one process writes; the others have no file to look at either, which may be moving.
                    checkpoints=files.checkpoints() if self.group.leads else None,
                    group=self.group,
                    state=state,
                )
                with self.group.together(data.device):
                    if self.group.leads:
                        self._conclude(record, files)
        except Interrupted as error:
            raise InterruptedRunError(f"stopped after epoch {error.epoch}; --resume goes on from there") from None
        finally:
            self.tracker.close()
        return record

    def _take(self, held: contextlib.ExitStack) -> None:
        """Claim the run, and beat as long as it is trained, so that nobody else trains it meanwhile.

        A run that has its record already is trained all the same, as the document says, and claimed by nobody.

        Raises:
            TakenError: somebody has it.
        """

        settings = Settings(output_dir=self.flags.output_dir)
        store, run_id = settings.store(), self.spec.run_id
        if not self.group.leads or store.is_done(run_id):
            return
        store.open(self.spec)
        claim = Claims(store.runs, "hypernetworks", settings.lease).take(run_id)
        if claim is None:
            raise TakenError(f"run {run_id} is being trained by another process; see interplay status")
        self.beats = held.enter_context(Heartbeat(claim, settings.lease))

    # -- events -------------------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Take every event."""

        match event:
            case ModelReady():
                self.start(event)
            case BatchSeen():
                self.batch(event)
            case EpochEnded():
                self.epoch(event.metrics)

    def start(self, event: ModelReady) -> None:
        """The network is there: say what it is, and tell the tracker."""

        self.stop.armed = True
        if not self.group.leads:
            return
        model, root = event.model, self.flags.output_dir
        run = TrackedRun(self.spec, self.flags.wandb_name, model, event.parameters, root, self._folder(), event.history)
        notice(f"{type(model).__name__}, {run.parameters:,} parameters, {self.group.world} process(es)")
        for metrics in event.history:
            self._note_best(metrics)
        self.tracker.start(run)

    def batch(self, progress: BatchSeen) -> None:
        """Every 50 batches and at the last one of each epoch."""

        if self.beats is not None:
            facts = {"epoch": progress.epoch, "epochs": self.spec.epochs}
            self.beats.progress(**facts, loss=progress.loss, accuracy=progress.accuracy)
        if not self.group.leads or not progress.is_logged:
            return
        notice(
            f"epoch {progress.epoch}/{self.spec.epochs}  batch {progress.batch}/{progress.batches}  "
            f"loss {progress.loss:.4f}  accuracy {progress.accuracy:.2f} %",
        )
        self.tracker.batch(tracked(progress))

    def epoch(self, metrics: EpochMetrics) -> None:
        """The line of an epoch, and what is saved after it."""

        if self.beats is not None:
            self.beats.claim.check()  # a process that slept through its lease must not write any more
        if self.group.leads:
            better = self._note_best(metrics)
            best = f"best {self.best.test_acc:.2f} % (epoch {self.best.epoch})" if self.best else "no accuracy yet"
            notice(f"{epoch_line(metrics, self.spec.epochs)}  {best}")
            files = Files(self.flags.checkpoint_path)
            notice(f"model saved: {files.last}" + (f", the best so far: {files.best}" if better else ""))
            self.tracker.epoch(epoch_row(metrics))

    def _note_best(self, metrics: EpochMetrics) -> bool:
        if metrics.test_acc is None:
            return False
        if self.best is None or metrics.test_acc > (self.best.test_acc or 0.0):
            self.best = metrics
            return True
        return False

    # -- words and files ----------------------------------------------------------------------------------------------

    def _folder(self) -> Path:
        folder = self.flags.output_dir / "hypernetworks" / self.spec.run_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _keep_previous(self, path: Path) -> None:
        if not self.group.leads:
            return
        # Also the mark of what an earlier run of the same spec has logged: this one starts anew.
        (self._folder() / "tracked.json").unlink(missing_ok=True)
        if path.exists():
            kept = path.with_name(f"{path.stem}{PREVIOUS}{path.suffix}")
            path.replace(kept)
            notice(f"a new run: the checkpoint that was there is kept as {kept} (--resume would have gone on from it)")

    def _say_resume(self, state: Mapping[str, Any], planned: int | None) -> None:
        if not self.group.leads:
            return
        notice(f"resuming after epoch {state['epoch']}, best accuracy {state['metrics']['best_test_acc']} %")
        if planned != self.spec.epochs:
            notice(
                f"the run was planned for {planned} epochs: its schedule is planned anew for {self.spec.epochs}, "
                "so it follows no single plan and is not entered in results.csv"
            )

    def _conclude(self, record: RunRecord, files: Files) -> None:

        store = Settings(output_dir=self.flags.output_dir).store()
        self.tracker.finish(record, files.best if files.best.exists() else None)
        best = f"{self.best.test_acc:.2f} % at epoch {self.best.epoch}" if self.best else "none"
        print(f"{record.status} after {len(record.history)} epochs; best test accuracy {best}; {files.last}")
        if "replanned" not in record.environment:
            store.open(self.spec)
            entered = store.commit(record, *([] if self.beats is None else [self.beats.claim.check])) is not None
            where = f"entered in {store.results}" if entered else f"in {store.results} already: the first one counts"
            print(f"run {record.run_id} is {where}")


@dataclasses.dataclass(frozen=True)
class Files:
    """The checkpoint file of the script, and the one of its best weights beside it."""

    last: Path

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.last.with_name(f"{self.last.stem}_best{self.last.suffix}")

    def checkpoints(self) -> Any:
        """For the training loop: the state after every epoch in one file, the best weights in the other."""

        names = (self.last.name, self.best.name, self.last.name)
        return Checkpoints(self.last.parent, keep=True, every_seconds=0.0, names=names)
