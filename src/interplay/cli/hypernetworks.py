"""The documented hypernetwork script: CIFAR-10, Adam, one checkpoint file, Weights & Biases, all GPUs.

``run_hypernetworks_gpu.sh`` calls this. With several GPUs it starts itself again in one process for each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from interplay.cli.flags import Command
from interplay.cli.main import call
from interplay.errors import InterplayError, SpecError
from interplay.notes import notice

if TYPE_CHECKING:
    from interplay.record import EpochMetrics, RunRecord
    from interplay.spec import RunSpec
    from interplay.train.ddp import Group
    from interplay.train.events import BatchSeen

PREVIOUS = ".previous"
"""What a checkpoint that a new run would replace is called from then on, before its suffix."""


class ResumeError(InterplayError):
    """There is nothing to go on from, or it is of another run; the message says which."""

    exit_code = 2


@dataclasses.dataclass(kw_only=True)
class HyperFlags(Command):
    """Train a hypernetwork (or its direct twin) on CIFAR-10."""

    EXAMPLE = "./run_hypernetworks_gpu.sh --batch_size 128 --epochs 200 --no_wandb"

    batch_size: Annotated[int, arg(help="images per step, over all GPUs together")] = 128
    epochs: Annotated[int, arg(help="passes over the training images")] = 200
    lr: Annotated[float, arg(help="learning rate; halved at 30, 60 and 80 % of the epochs")] = 0.002
    weight_decay: Annotated[float, arg(help="decay, coupled to the gradient as in torch.optim.Adam")] = 0.0005
    checkpoint_path: Annotated[Path, arg(help="where the state is saved after each epoch")] = Path(
        "./hypernetworks_cifar_gpu.pth"
    )
    resume: Annotated[bool, arg(help="go on from the checkpoint")] = False
    wandb: Annotated[bool, arg(help="log to Weights & Biases; --no_wandb to leave it")] = True
    wandb_project: Annotated[str, arg(help="project of Weights & Biases")] = "hypernetworks-gpu"
    wandb_name: Annotated[
        str | None, arg(help="name there (default: hypernetworks_b{batch_size}_lr{lr}_e{epochs})")
    ] = None
    wandb_entity: Annotated[str | None, arg(help="entity there (default: that of the environment or account)")] = None
    data_dir: Annotated[Path, arg(help="where CIFAR-10 lies or is downloaded to")] = Path("data")
    output_dir: Annotated[Path, arg(help="where the record, results.csv and logs of trackers go")] = Path("outputs")
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False
    train_limit: Annotated[int | None, arg(help="train on this many images only")] = None
    model: Annotated[str, arg(help="hyper_resnet, or wide_resnet, its twin with weights of its own")] = "hyper_resnet"
    widening: Annotated[int, arg(help="factor on the channels: 1 or 2 in the paper")] = 1
    blocks_per_stage: Annotated[int, arg(help="residual blocks in each of three stages: 6 in the paper")] = 6
    seed: Annotated[int, arg(help="seed of everything random")] = 42
    processes: Annotated[int, arg(help="processes to train with (0: one for each GPU)")] = 0

    def spec(self) -> RunSpec:
        """What is computed."""
        from interplay.data.identity import resolve
        from interplay.study.presets import hypernetwork

        names = ("batch_size", "epochs", "lr", "weight_decay", "train_limit", "model", "widening", "blocks_per_stage")
        spec = hypernetwork(**{name: getattr(self, name) for name in names}, seed=self.seed)
        return resolve(spec, self.data_dir, allow_modified_data=self.allow_modified_data)

    def call(self) -> int:
        """Train in this process, or start one for each GPU."""
        if self.processes < 0:
            raise SpecError(f"processes must be 0 or greater, not {self.processes}")
        self.spec()  # what is impossible is refused before anything starts
        processes = self.processes or _gpus()
        if processes > 1 and "WORLD_SIZE" not in os.environ:
            return _launch(processes)
        _train(self)
        return 0

    @property
    def name(self) -> str:
        """Of the run in Weights & Biases."""
        return self.wandb_name or f"hypernetworks_b{self.batch_size}_lr{self.lr:g}_e{self.epochs}"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _launch(processes: int) -> int:
    """Start this command again under ``torchrun``; returns its exit code."""
    import subprocess

    notice(f"training with {processes} processes")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    # One thread each, as torchrun itself would choose with a warning.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    return subprocess.run([*launcher, "-m", "interplay.cli.hypernetworks", *sys.argv[1:]], env=environment).returncode


def _train(flags: HyperFlags) -> None:
    from interplay.devices import choose_device, fitted
    from interplay.executors.attempt import load
    from interplay.lab.run import NO_GPU
    from interplay.train.ddp import joined

    local = os.environ.get("LOCAL_RANK")
    device = choose_device("auto" if local is None or not _gpus() else f"cuda:{local}")
    spec = fitted(flags.spec(), device)
    with joined(device) as group:
        if group.leads and device == "cpu":
            notice(NO_GPU)
        state = _state_to_resume(flags, spec, group, device) if flags.resume else None
        data = load(spec, str(flags.data_dir), device)
        _Session(flags, spec, group).train(data, state)


def _state_to_resume(flags: HyperFlags, spec: RunSpec, group: Group, device: str) -> dict[str, Any] | None:
    """The checkpoint's content, made sure to be of this run or of the same one with fewer epochs.

    ``None`` if it is damaged: it is set aside, and the run starts again.

    Raises:
        ResumeError: no checkpoint, one of another run, or one that has all its epochs behind it.
        CheckpointError: the file is something else.
    """
    import torch

    from interplay.train import checkpoint

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


class _Session:
    """One start of the script: what it prints, saves and logs."""

    def __init__(self, flags: HyperFlags, spec: RunSpec, group: Group) -> None:
        from interplay.executors.signals import StopRequest
        from interplay.trackers.base import TrackerSettings
        from interplay.trackers.choose import announcement, open_tracker, require

        self.flags, self.spec, self.group = flags, spec, group
        self.stop = StopRequest(announce=group.leads)
        self.best: EpochMetrics | None = None
        follows = flags.wandb and group.leads
        if follows:
            require("wandb")
        settings = TrackerSettings(
            "wandb" if follows else "none",
            flags.wandb_project,
            flags.wandb_entity,
            group="hypernetworks",
            run_name=flags.name,
        )
        if (words := announcement(settings, flags.output_dir)) is not None:
            notice(words)
        self.tracker = open_tracker(settings, lambda text: notice(f"note: {text}"))

    def train(self, data: Any, state: dict[str, Any] | None) -> RunRecord:
        """Train, save after each epoch, and enter the record in the store.

        Raises:
            InterruptedRunError: stopped by a signal; the checkpoint says where to go on.
        """
        from interplay.lab.settings import InterruptedRunError
        from interplay.train.loop import Interrupted, train

        planned = None if state is None else int(state["spec"]["epochs"])
        files = _Files(self.flags.checkpoint_path)
        if state is None:
            self._keep_previous(files.last)
        else:
            self._say_resume(state, planned)
        try:
            with self.stop:
                record = train(
                    self.spec,
                    data,
                    on_epoch=self.epoch,
                    on_batch=self.batch,
                    on_model=self.start,
                    # Only one process writes; the others have no file to look at either, which may be moving.
                    checkpoints=files.checkpoints() if self.group.leads else None,
                    group=self.group,
                    state=state,
                )
            if self.group.leads:
                self._conclude(record, files)
        except Interrupted as error:
            raise InterruptedRunError(f"stopped after epoch {error.epoch}; --resume goes on from there") from None
        finally:
            self.tracker.close()
        return record

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def start(self, model: Any, history: Sequence[EpochMetrics]) -> None:
        """The network is there: say what it is, and tell the tracker."""
        from interplay.trackers.base import TrackedRun

        self.stop.armed = True
        if not self.group.leads:
            return
        run = TrackedRun(self.spec, self.flags.name, model, self.flags.output_dir, self._folder(), tuple(history))
        notice(f"{type(model).__name__}, {run.parameters:,} parameters, {self.group.world} process(es)")
        for metrics in history:
            self._note_best(metrics)
        self.tracker.start(run)

    def batch(self, progress: BatchSeen) -> None:
        """Every 50 batches and at the last one of each epoch."""
        from interplay.executors.attempt import tracked

        if not self.group.leads or not progress.is_logged:
            return
        notice(
            f"epoch {progress.epoch}/{self.spec.epochs}  batch {progress.batch}/{progress.batches}  "
            f"loss {progress.loss:.4f}  accuracy {progress.accuracy:.2f} %",
        )
        self.tracker.batch(tracked(progress))

    def epoch(self, metrics: EpochMetrics) -> bool:
        """The line of an epoch, and what is saved after it; returns whether to stop."""
        from interplay.lab.progress import epoch_line
        from interplay.trackers.base import epoch_row

        if self.group.leads:
            better = self._note_best(metrics)
            best = f"best {self.best.test_acc:.2f} % (epoch {self.best.epoch})" if self.best else "no accuracy yet"
            notice(f"{epoch_line(metrics, self.spec.epochs)}  {best}")
            files = _Files(self.flags.checkpoint_path)
            notice(f"model saved: {files.last}" + (f", the best so far: {files.best}" if better else ""))
            self.tracker.epoch(epoch_row(metrics))
        return self.stop.requested

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

    def _conclude(self, record: RunRecord, files: _Files) -> None:
        from interplay.lab.settings import Settings

        store = Settings(output_dir=self.flags.output_dir).store()
        self.tracker.finish(record, files.best if files.best.exists() else None)
        best = f"{self.best.test_acc:.2f} % at epoch {self.best.epoch}" if self.best else "none"
        print(f"{record.status} after {len(record.history)} epochs; best test accuracy {best}; {files.last}")
        if "replanned" not in record.environment:
            store.open(self.spec)
            entered = store.commit(record) is not None
            where = f"entered in {store.results}" if entered else f"in {store.results} already: the first one counts"
            print(f"run {record.run_id} is {where}")


@dataclasses.dataclass(frozen=True)
class _Files:
    """The checkpoint file of the script, and the one of its best weights beside it."""

    last: Path

    @property
    def best(self) -> Path:
        """The weights of the best epoch."""
        return self.last.with_name(f"{self.last.stem}_best{self.last.suffix}")

    def checkpoints(self) -> Any:
        """For the training loop: the state after every epoch in one file, the best weights in the other."""
        from interplay.train.checkpoint import Checkpoints

        names = (self.last.name, self.best.name, self.last.name)
        return Checkpoints(self.last.parent, keep=True, every_seconds=0.0, names=names)


def main(argv: Sequence[str] | None = None) -> int:
    """The script; returns its exit code (2 for impossible values, 1 for what went wrong, 130 interrupted)."""
    return call(HyperFlags, "run_hypernetworks_gpu.sh", sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
