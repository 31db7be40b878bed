"""Weights & Biases: one W&B run a run, under the same id, grouped by study.

The package is imported by the first run, in the process that trains it. Keys and accounts are left to the package:
none is read here beyond the question whether there is one.
"""

from __future__ import annotations

import contextlib
import netrc
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from interplay.record import RunRecord, best_epoch
from interplay.trackers.base import Row, TrackedRun, Tracker
from interplay.trackers.registry import TrackerSettings

INIT_SECONDS = 30.0
FINISH_SECONDS = 240.0
"""Limits of W&B itself, below those of the guard, so that it gives up in its own orderly way first."""

WATCH_EVERY = 100
"""Steps between two histograms of the gradients and the parameters."""

_SERVER = "https://api.wandb.ai"

Mode = Literal["online", "offline", "disabled"]


def wandb_mode() -> Mode:
    """``WANDB_MODE`` where it is set; else online with a login, offline without one. Nobody is ever asked for a key."""
    wish = os.environ.get("WANDB_MODE", "").strip().lower()
    if wish in ("offline", "dryrun"):
        return "offline"
    if wish == "disabled":
        return "disabled"
    return "online" if wish in ("online", "run") or _logged_in() else "offline"


def _logged_in() -> bool:
    """Whether W&B would find a key for its server."""
    if os.environ.get("WANDB_API_KEY", "").strip() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE", "").strip():
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or _SERVER).hostname or ""
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in files:
        with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError):
            if netrc.netrc(str(Path(file).expanduser())).hosts.get(host) is not None:
                return True
    return False


@dataclass
class _Service:
    """What the trackers of one process share."""

    mode: Mode
    open: int = 0
    """Runs that are followed now."""


class WandbTracker(Tracker):
    """See the module.

    Rows have their own axes, ``step`` and ``epoch``: W&B's own step starts anew in every offline file, these rise
    over interruptions.

    Args:
        settings: project, entity, group.
        say: takes one line where a run had to be kept offline although somebody is logged in.
    """

    wants_weights = True

    def __init__(self, settings: TrackerSettings, say: Callable[[str], None]) -> None:
        self._settings, self._say = settings, say
        self._service = _Service(wandb_mode())
        self._reinit: Literal["finish_previous", "create_new"] = "finish_previous"
        self._run: Any = None
        self._folder = Path()
        self._known: set[str] = set()
        self._best = float("-inf")
        self._watching = False
        self._trouble: Exception | None = None

    @classmethod
    def opened(cls, settings: TrackerSettings, say: Callable[[str], None]) -> WandbTracker:
        """See `Tracker`."""
        return cls(settings, say)

    @staticmethod
    def destination(settings: TrackerSettings) -> str:
        """See `Tracker`."""
        return f"wandb {settings.entity or ''}/{settings.project}"

    @staticmethod
    def announcement(output_dir: Path) -> str | None:
        """See `Tracker`."""
        if wandb_mode() != "offline":
            return None
        runs = f"{shlex.quote(str(output_dir / 'wandb'))}/offline-run-*"
        return f"Weights & Biases: offline, since nobody is logged in; to upload: wandb sync {runs}"

    def beside(self) -> WandbTracker:
        """See `Tracker`."""
        other = WandbTracker(self._settings, self._say)
        other._service, other._reinit = self._service, "create_new"
        return other

    # -- the calls of the protocol ------------------------------------------------------------------------------------

    def start(self, run: TrackedRun) -> None:
        """See `Tracker`."""
        self._folder = run.output_dir / "wandb"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._known, self._trouble = set(), None
        before = best_epoch(run.history)
        self._best = before.test_acc if before is not None and before.test_acc is not None else float("-inf")
        with _kept_under(self._folder):
            self._run = self._begun(run)
        self._service.open += 1
        for axis in ("step", "epoch"):
            self._run.define_metric(axis)
        for watched in ("gradients/*", "parameters/*"):
            self._run.define_metric(watched, step_metric="step")
        self._run.summary["parameters"] = run.parameters
        if before is not None:  # a kill may have lost it
            self._run.summary.update({"best_accuracy": before.test_acc, "best_epoch": before.epoch})
        if run.model is not None:  # a stack has no network of one run whose passes could be watched
            self._watch(run.model)

    def batch(self, row: Row) -> None:
        """See `Tracker`."""
        self._log(row, "step")

    def epoch(self, row: Row) -> None:
        """See `Tracker`."""
        self._log(row, "epoch")
        accuracy = row.get("test_accuracy")
        if accuracy is not None and accuracy > self._best:
            self._best = accuracy
            self._run.summary.update({"best_accuracy": accuracy, "best_epoch": int(row["epoch"])})

    def finish(self, record: RunRecord, best: Path | None) -> None:
        """See `Tracker`."""
        self._raise_trouble()
        self._watching = False
        summary: dict[str, Any] = {"status": str(record.status)}
        if record.reason is not None:
            summary["reason"] = record.reason
        if (found := best_epoch(record.history)) is not None:
            summary |= {"best_accuracy": found.test_acc, "best_epoch": found.epoch}
        self._run.summary.update(summary)
        with _kept_under(self._folder):
            copy = self._upload(record, best) if best is not None else None
            self._end(exit_code=0)
        if copy is not None and self._service.mode == "online":
            copy.unlink(missing_ok=True)

    def close(self) -> None:
        """See `Tracker`."""
        self._watching = False
        if self._run is not None:
            self._end(exit_code=1)

    def let_go(self) -> None:
        """See `Tracker`."""
        self._watching = False

    # -- how they are done ------------------------------------------------------------------------------------------

    def _begun(self, run: TrackedRun) -> Any:
        if self._service.mode != "online":
            return self._init(run, self._service.mode)
        try:
            return self._init(run, "online")
        except Exception as error:
            import wandb

            self._service.mode = "offline"  # for all runs that follow, too: a dead network is waited for once
            if not self._service.open:  # else it would end the runs that are followed besides
                wandb.teardown(exit_code=1)  # the service would still hold the name of the run
            kept = self._init(run, "offline")
            files = shlex.quote(str(self._folder)) + "/offline-run-*"
            self._say(
                f"Weights & Biases cannot be reached ({type(error).__name__}), so runs are kept offline; "
                f"to upload: wandb sync {files}"
            )
            return kept

    def _init(self, run: TrackedRun, mode: Mode) -> Any:
        import wandb

        wandb.setup(settings=wandb.Settings(silent=True))
        return wandb.init(
            project=self._settings.project,
            entity=self._settings.entity,
            group=self._settings.group,
            id=run.spec.run_id,
            name=run.name,
            resume="allow",
            config=run.spec.to_dict(),
            dir=str(run.output_dir),
            mode=mode,
            reinit=self._reinit,
            settings=_settings(),
        )

    def _watch(self, model: Any) -> None:
        """``watch`` gradients and parameters of ``model``.

        Its hooks run inside the passes of the training, where an error would be one of the training; each is put
        behind a guard that keeps the first error for the next row, and that stays shut once the tracker has let go.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]
        before = [set(p._backward_hooks or ()) for p in parameters]
        forward = set(model._forward_hooks)
        self._watching = True
        # With an index of its own, the names of a worker's second run would differ from those of its first.
        self._run.watch(model, log="all", log_freq=WATCH_EVERY, idx=0)
        for parameter, known in zip(parameters, before, strict=True):
            hooks = parameter._backward_hooks or {}
            for key in set(hooks) - known:
                hooks[key] = self._guarded(hooks[key])
        for key in set(model._forward_hooks) - forward:
            model._forward_hooks[key] = self._in_training(self._guarded(model._forward_hooks[key]))

    def _guarded(self, hook: Callable[..., object]) -> Callable[..., None]:
        def guarded(*arguments: Any) -> None:
            if self._watching:
                try:
                    hook(*arguments)
                except Exception as error:
                    self._watching, self._trouble = False, error

        return guarded

    @staticmethod
    def _in_training(hook: Callable[..., None]) -> Callable[..., None]:
        """``hook`` after forward passes of the training alone, so that it counts steps and not passes."""

        def training_only(module: Any, *arguments: Any) -> None:
            if module.training:
                hook(module, *arguments)

        return training_only

    def _raise_trouble(self) -> None:
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    def _log(self, row: Row, axis: str) -> None:
        self._raise_trouble()
        for name in row.keys() - self._known - {"step", "epoch"}:
            self._run.define_metric(name, step_metric=axis)
            self._known.add(name)
        whole = {name: int(row[name]) for name in ("step", "epoch") if name in row}
        self._run.log({**row, **whole})

    def _upload(self, record: RunRecord, best: Path) -> Path:
        """Log the best weights as an artifact, from a second name of the file, which is returned.

        The file may be uploaded only much later, by ``wandb sync``; the run's folder need not keep it so long.
        """
        import wandb

        copy = (self._folder / "artifacts" / record.run_id / "best.pt").absolute()
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.unlink(missing_ok=True)
        try:
            os.link(best, copy)
        except OSError:
            shutil.copyfile(best, copy)  # another file system, or one without hard links
        found = best_epoch(record.history)
        facts = {} if found is None else {"epoch": found.epoch, "test_accuracy": found.test_acc}
        artifact = wandb.Artifact(f"model-{record.run_id}", type="model", metadata=facts)
        artifact.add_file(str(copy), name="best.pt", policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact, aliases=["best"])
        return copy

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        self._service.open -= 1
        run.finish(exit_code=exit_code)


def _settings() -> Any:
    """What W&B may do on this machine: write the rows it is given, and nothing about the machine or the code."""
    import wandb

    wanted: dict[str, Any] = {
        "console": "off",
        "host": "",
        "silent": True,
        "init_timeout": INIT_SECONDS,
        "finish_timeout": FINISH_SECONDS,
        "finish_timeout_raises": True,
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "disable_job_creation": True,
        "x_disable_meta": True,
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
    }
    known = wandb.Settings.model_fields  # some come and go with the version
    return wandb.Settings(**{name: value for name, value in wanted.items() if name in known})


@contextlib.contextmanager
def _kept_under(folder: Path) -> Iterator[None]:
    """While W&B starts and ends a run, put its caches and staging files under ``folder``, unless told elsewhere."""
    chosen = {"WANDB_CACHE_DIR": folder / "cache", "WANDB_DATA_DIR": folder / "data"}
    ours = {name: path for name, path in chosen.items() if name not in os.environ}
    os.environ.update({name: str(path.absolute()) for name, path in ours.items()})
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
