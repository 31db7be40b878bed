"""Worker processes: what surrounds them, and how their end is noticed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from interplay.devices import Slot
from interplay.executors import process
from interplay.executors.process import WorkerProcess

SLOT = Slot("gpu1", "cpu", "GPU-abc")


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Workers run ``code`` from now on; ``fd`` is their end of the connection."""
    program = folder / "worker"
    program.write_text(f"#!{sys.executable} -IS\nimport os, sys, time\nfd = int(sys.argv[-1])\n{code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_worker_has_an_environment_and_a_session_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS")
    code = f"print(*(os.environ[name] for name in {names}), flush=True)\nos.read(fd, 1)"
    stand_in(tmp_path, monkeypatch, code)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    worker = WorkerProcess(SLOT, threads=3)
    assert os.getsid(worker.pid) == worker.pid  # Ctrl-C at the terminal does not reach it
    worker.dismiss()
    assert worker.close() == "(exit code 0): GPU-abc PCI_BUS_ID 3"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_a_death_is_noticed_though_a_fork_of_the_worker_holds_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "pidfd_open"):
        pytest.skip("this system tells of no death but by the end of the connection")
    fork = "pid = os.fork()\nif not pid:\n    time.sleep(60)\nos.write(2, f'left {pid}'.encode())\nos._exit(3)"
    stand_in(tmp_path, monkeypatch, fork)
    worker = WorkerProcess(SLOT)
    with pytest.raises(EOFError):
        worker.answer(30)
    words = worker.close()
    fork_pid = int(words.rpartition(" ")[2])
    assert psutil.pid_exists(fork_pid)
    os.kill(fork_pid, signal.SIGKILL)
    assert words == f"(exit code 3): left {fork_pid}"
    assert worker.close() == words


def test_a_worker_that_stops_inside_a_message_does_not_stop_its_supervisor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STUCK_SECONDS", 1)
    stand_in(tmp_path, monkeypatch, "os.write(fd, (1000).to_bytes(4, 'big') + b'some')\ntime.sleep(60)")
    worker = WorkerProcess(SLOT)
    try:
        with pytest.raises(EOFError):
            worker.answer(30)
    finally:
        worker.end()
    assert worker.close() == "(SIGKILL)"


def test_silence_is_no_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "os.read(fd, 1)")
    worker = WorkerProcess(SLOT)
    assert worker.answer(0.05) is None
    worker.end()
    worker.send("an order for nobody")  # costs nothing


def test_a_worker_goes_when_its_supervisor_is_killed() -> None:
    code = """
import time
from interplay.devices import Slot
from interplay.executors.process import WorkerProcess
print(WorkerProcess(Slot("cpu0", "cpu")).pid, flush=True)
time.sleep(600)
"""
    supervisor = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert supervisor.stdout is not None
    worker = psutil.Process(int(supervisor.stdout.readline()))
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    _, alive = psutil.wait_procs([worker], timeout=120)
    for each in alive:
        each.kill()
    assert alive == []


SCRIPT = """
from pathlib import Path
from interplay.devices import cpu_slots
from interplay.executors.base import Listener
from interplay.executors.job import Job
from interplay.executors.local import LocalExecutor
from interplay.executors.signals import StopRequest
from interplay.spec import RunSpec
from interplay.store.store import Store

print("the script begins")
specs = [RunSpec(dataset="digits", model="mlp", epochs=1, precision="fp32", seed=seed) for seed in (1, 2)]
report = LocalExecutor(cpu_slots(2)).run(specs, Store(Path("o")), Job("data", "o"), Listener(), StopRequest())
print(len(report.committed), report.problem)
"""


@pytest.mark.slow  # its workers import torch
@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_script_without_a_guard_is_not_run_again_by_workers(way: str, tmp_path: Path) -> None:
    """As a notebook has none: the workers must import nothing of the program that started them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py" if way == "file" else "-"],
        input=SCRIPT,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script begins", "2 None"]
