"""What goes wrong on purpose: a kill, Ctrl-C, no memory, a failed capture. What the lab makes of each."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch

from interplay.executors import attempt as attempt_module
from interplay.executors.attempt import Way
from interplay.executors.job import Job
from interplay.executors.outcomes import End
from interplay.record import Status
from interplay.spec import RunSpec
from interplay.store.store import Store
from session_parts.book import Options, Sections, Session
from session_parts.lab import carried_out, random_npz, settled

PROGRAM = Path(__file__).with_name("one_run.py")
EPOCHS = 4
ROOM = 192 * 2**20
"""Bytes that are left on a GPU that is filled on purpose."""


def sections(session: Session, options: Options) -> Sections:
    """Each fault on a store of its own."""
    faults = Faults(session, options)
    return {"kill": faults.kill, "interrupt": faults.interrupt, "memory": faults.memory, "capture": faults.capture}


class Faults:
    """What the sections share: a short run on random images."""

    def __init__(self, session: Session, options: Options) -> None:
        self._session, self._options = session, options
        self._model = "resnet8_s2" if options.tiny else "resnet18"
        self._npz = random_npz(options.out / "faults" / "random.npz", 128 if options.tiny else 6_400)
        self._way: Way = "fused"

    def _root(self, name: str) -> Path:
        """An empty store: nothing of an earlier session is gone on with."""
        root = self._options.out / "faults" / name
        shutil.rmtree(root, ignore_errors=True)
        return root

    def _words(self, root: Path, way: Way, *more: str) -> list[str | Path]:
        run = (root, self._options.place, self._npz, self._model, str(EPOCHS), way)
        return [sys.executable, PROGRAM, *run, *more]

    # -- kills ------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL after the second epoch; another process goes on."""
        self._ended_and_resumed("kill", signal.SIGKILL)

    def interrupt(self) -> None:
        """Ctrl-C after the second epoch, which ends with a checkpoint; another process goes on."""
        self._ended_and_resumed("interrupt", signal.SIGINT)

    def _ended_and_resumed(self, name: str, by: signal.Signals) -> None:
        root = self._root(name)
        with self._session.child(self._words(root, self._way, "--pause", "1")) as process:
            first = _until(process, "epoch 2")
            process.send_signal(by)
            rest = list(map(str.strip, process.stdout or ()))
            code = process.wait(60)
        again = self._said(root, self._way)
        come_from, run_id = next(line.split()[1:] for line in again if line.startswith("from "))
        record = Store(root).record(run_id)
        assert record is not None, f"no record after the second process said {again}"
        epochs = [each.epoch for each in record.history]
        sittings = len(record.environment.get("earlier_sittings", []))
        self._session.keep(first=[*first, *rest], exit_code=code, again=again)
        columns = ["sent", "exit code", "goes on after epoch", "status", "epochs", "earlier sittings"]
        row = [by.name, code, come_from, record.status, len(epochs), sittings]
        self._session.table(f"{name} and resume", columns, [row])
        assert record.status is Status.FINISHED, record.reason
        assert epochs == list(range(1, EPOCHS + 1)), epochs
        assert int(come_from) >= 1, "the run began anew: no checkpoint was left"
        assert sittings == 1, record.environment

    def _said(self, root: Path, way: Way, *more: str) -> list[str]:
        with self._session.child(self._words(root, way, *more)) as process:
            said, _ = process.communicate(timeout=max(1.0, self._session.left()))
        return str(said).splitlines()

    # -- errors -----------------------------------------------------------------------------------------------------

    def memory(self) -> None:
        """A GPU that others have filled: the end says so, nothing is blamed on the run, and later it goes on."""
        root, rows = self._root("memory"), []
        for way in ("single", "fused"):
            with filled(self._options.device):
                full, reason = self._attempted(root, way)
            after, _ = self._attempted(root, way)
            rows.append([way, full, after])
            self._session.keep(**{f"reason_{way}": reason})
            self._session.table("out of memory on purpose", ["", "while it is full", "after that"], rows)
            assert full is End.OUT_OF_MEMORY, reason
            assert after is End.COMMITTED, after

    def _attempted(self, root: Path, way: Way) -> tuple[End, str | None]:
        place = self._options.place
        size = 32 if self._options.tiny else 512
        spec = RunSpec(dataset=str(self._npz), model=self._model, epochs=1, batch_size=size, lr=0.01, augment="none")
        job = Job("data", root, place, lapse_seconds=20.0)
        [outcome] = carried_out([settled(spec.replace(seed=len(way)), Path("data"), place)], root, job, way)
        return outcome.end, outcome.reason

    def capture(self) -> None:
        """A step that no graph can hold, in a process of its own; another one trains the run on the plain path."""
        root = self._root("capture")
        spoilt = self._said(root, "fused", "--spoil_capture")
        plain = self._said(root, "single")
        ends = [next((line for line in said if line.startswith("end ")), "no end") for said in (spoilt, plain)]
        self._session.keep(spoilt=spoilt, plain=plain)
        self._session.table("a capture that fails on purpose", ["", "captured", "then plain"], [["", *ends]])
        assert ends == [f"end {End.CAPTURE}", f"end {End.COMMITTED}"], spoilt


@contextlib.contextmanager
def filled(device: torch.device) -> Iterator[None]:
    """A GPU with next to no memory left; on a CPU loading the data raises what a GPU would."""
    if device.type == "cpu":
        error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        with patch.object(attempt_module, "load", side_effect=error):
            yield
        return
    torch.cuda.empty_cache()
    blocks: list[torch.Tensor] = []
    try:
        while (free := torch.cuda.mem_get_info(device)[0]) > 2 * ROOM:
            blocks.append(torch.empty(min(free - ROOM, 2**34), dtype=torch.uint8, device=device))
        yield
    finally:
        blocks.clear()
        torch.cuda.empty_cache()


def _until(process: subprocess.Popen[str], line: str) -> list[str]:
    """What a process says up to ``line``.

    Raises:
        RuntimeError: it ended before.
    """
    said: list[str] = []
    for each in process.stdout or ():
        said.append(each.strip())
        if said[-1] == line:
            return said
    raise RuntimeError(f"the process ended before it said {line!r}:\n" + "\n".join(said[-40:]))
