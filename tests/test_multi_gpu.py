"""Scheduling over several GPUs. With GPUs it uses them; without, it drives the same code with logical ones."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from interplay.cli.documented import multi_gpu
from interplay.devices import Gpu, Slot, gpu_slots, visible_gpus
from interplay.executors.base import Listener
from interplay.executors.job import Job
from interplay.executors.local import LocalExecutor, Processes
from interplay.executors.outcomes import End, Outcome
from interplay.executors.signals import StopRequest
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.store.store import Store


class Witness(Listener):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def slots_here(count: int, per_gpu: int = 1) -> list[Slot]:
    """Slots on real GPUs where there are enough, on logical ones otherwise."""
    real = visible_gpus()
    if real:
        return gpu_slots("all", per_gpu if len(real) >= count else count, real)
    return gpu_slots("all", per_gpu, [Gpu(str(index)) for index in range(count)], device="cpu")


def test_runs_spread_over_the_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    """By the documented script, which runs by itself."""
    assert multi_gpu([]) == 0
    out = capsys.readouterr().out
    workers = dict(re.findall(r"^(gpu\d+): (\d+) runs$", out, flags=re.MULTILINE))
    assert len(workers) == (len(visible_gpus()) or 2)
    assert min(map(int, workers.values())) > 0
    assert f"each once, over {len(workers)} workers" in out


@pytest.mark.parametrize(("problem", "rows", "said"), [("no driver", 0, "no driver"), (None, 8, "no run reached gpu")])
def test_the_script_fails_where_runs_or_workers_are_missing(
    problem: str | None, rows: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(self: LocalExecutor, specs: list[RunSpec], *_: object) -> object:
        monkeypatch.setattr(Store, "records", lambda self: iter(specs[: rows and len(specs)]))
        return SimpleNamespace(problem=problem)

    monkeypatch.setattr(LocalExecutor, "run", run)
    assert multi_gpu([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_gpu_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert multi_gpu(["--gpus", "99"]) == 2
    assert "no GPU 99" in capsys.readouterr().err


@pytest.fixture
def _idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes that only wait to be let go: for what is decided about them, none need import torch."""
    script = "import os, sys\nwhile os.read(int(sys.argv[-1]), 1 << 16): pass\n"
    (tmp_path / "idle").write_text(f"#!{sys.executable} -IS\n{script}")
    (tmp_path / "idle").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "idle"))


def visible(pid: int) -> str:
    """CUDA_VISIBLE_DEVICES as the process was started with it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:  # the kernel shows an empty environment for a moment
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"CUDA_VISIBLE_DEVICES="):
                return entry.decode()
        time.sleep(0.01)
    return "not set"


@pytest.mark.usefixtures("_idle")
def test_a_worker_is_started_with_its_gpu_visible_before_torch_is(tmp_path: Path) -> None:
    """The variable must be set in the environment of the process itself, not by code that runs in it."""
    from interplay.executors.queue import Queue

    slots = gpu_slots("1,3", 1, [Gpu(name) for name in ("0", "1", "2", "GPU-abc")], device="cpu")
    job = Job(data_dir="data", output_dir=str(tmp_path))
    specs = [RunSpec(dataset="digits", model="mlp", precision="fp32", seed=seed) for seed in range(2)]
    pool = Processes(LocalExecutor(slots), Queue(specs, Store(tmp_path)), job, Witness())
    pool.start()
    try:
        found = {name: visible(member.handle.pid) for name, member in pool.members.items()}
    finally:
        pool.end()
    assert found == {"gpu1": "CUDA_VISIBLE_DEVICES=1", "gpu3": "CUDA_VISIBLE_DEVICES=GPU-abc"}


@pytest.mark.usefixtures("_idle")
def test_out_of_memory_costs_a_slot_and_not_the_run(tmp_path: Path) -> None:
    from interplay.executors.queue import Queue

    spec = RunSpec(dataset="digits", model="mlp", precision="fp32")
    slots = gpu_slots("all", 2, [Gpu("0"), Gpu("1")], device="cpu")
    queue, witness = Queue([spec, spec.replace(seed=1)], Store(tmp_path)), Witness()
    pool = Processes(LocalExecutor(slots), queue, Job("data", str(tmp_path)), witness)
    for slot in slots:
        pool._start(slot)
    try:
        full = Outcome(End.OUT_OF_MEMORY, reason="OutOfMemoryError: CUDA out of memory")
        both = [pool.members["gpu0.1"], pool.members["gpu0.0"]]
        given = [queue.next() for _ in both]
        for worker, each in zip(both, given, strict=True):  # both at once: neither ever had the GPU to itself
            assert each is not None
            worker.runs, worker.sharing = {each: None}, 2
        for worker, each in zip(both, given, strict=True):
            assert each is not None
            pool._ended(worker, each, full)
        assert set(pool.members) == {"gpu0.0", "gpu1.0", "gpu1.1"}
        assert not list(Store(tmp_path).records())
        alone = pool.members["gpu0.0"]
        failing = queue.next()
        assert failing is not None
        alone.runs, alone.sharing = {failing: None}, 1
        pool._ended(alone, failing, full)
        assert set(pool.members) == {"gpu0.0", "gpu1.0", "gpu1.1"}
    finally:
        pool.end()
    assert witness.notes == ["GPU 0 is out of memory: 1 instead of 2 slots"]
    record = Store(tmp_path).record(failing.run_id)  # alone on its GPU and still too large: failed, and named
    assert record is not None
    assert record.reason == "OutOfMemoryError: CUDA out of memory"


@pytest.mark.usefixtures("_idle")
def test_a_gpu_gets_as_many_runs_at_once_as_their_measured_shares_allow(tmp_path: Path) -> None:
    """Batch 64 three at a time, 512 alone; runs that fit are given out before those that do not."""
    from interplay.executors.queue import Queue
    from interplay.speed.plan import SpeedPlan
    from interplay.stack.grouping import kind

    base = RunSpec(dataset="digits", model="mlp", precision="fp32")
    small, large = ([base.replace(batch_size=size, lr=0.1 * n) for n in (1, 2, 3, 4)] for size in (64, 512))
    speed = SpeedPlan(shares={kind(small[0]): 3, kind(large[0]): 1}, why={kind(small[0]): {"probe": {}}})
    slots = gpu_slots("all", 4, [Gpu("0")], device="cpu")
    order = [small[0], large[0], *small[1:], *large[1:]]
    queue = Queue(order, Store(tmp_path))
    pool = Processes(LocalExecutor(slots, speed=speed), queue, Job("data", str(tmp_path)), Witness())
    pool.start()
    try:
        sent: list[Any] = []
        for member in pool.members.values():
            member.ready, member.handle.send = True, sent.append  # type: ignore[method-assign]

        def at_work() -> list[RunSpec]:
            pool._hand_out()
            return [spec for member in pool.members.values() for spec in member.runs]

        def end(spec: RunSpec) -> None:
            (member,) = [each for each in pool.members.values() if spec in each.runs]
            pool._ended(member, spec, Outcome(End.DONE))

        assert at_work() == small[:3]
        assert [order.facts for order in sent] == [{"probe": {}, "at_once": n} for n in (1, 2, 3)]
        end(small[0])
        assert set(at_work()) == set(small[1:])  # the large one comes first and does not fit
        for spec in small[1:3]:
            end(spec)
        assert at_work() == [small[3]]
        end(small[3])
        for spec in large:
            assert at_work() == [spec]
            end(spec)
    finally:
        pool.end()


@pytest.mark.slow  # each of its three workers imports torch
def test_a_worker_asked_to_go_by_the_system_costs_its_run_nothing(tmp_path: Path) -> None:
    """SIGTERM to single workers, as an administrator sends it: each run goes on, none counts as failed."""
    import os
    import signal

    slots = slots_here(1)
    specs = [RunSpec(dataset="digits", model="mlp", epochs=100, seed=seed, precision="fp32") for seed in range(2)]
    store, terminated = Store(tmp_path), []

    class Terminating(Witness):
        def epoch(self, worker: str, spec: RunSpec, metrics: EpochMetrics) -> None:
            if metrics.epoch == 30 and spec.seed not in terminated:
                terminated.append(spec.seed)
                claim = json.loads((store.folder(spec.run_id) / "claim.json").read_text())
                os.kill(claim["pid"], signal.SIGTERM)

    witness = Terminating()
    job = Job(data_dir="data", output_dir=str(tmp_path), device=slots[0].device)
    report = LocalExecutor(slots).run(specs, store, job, witness, StopRequest())
    assert terminated == [0, 1]
    assert len(report.committed) == 2
    assert report.failed == []
    for record in report.committed:
        assert [m.epoch for m in record.history] == list(range(1, 101))


def test_workers_that_cannot_start_end_the_study_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").write_text("#!/bin/sh\necho 'no torch here' >&2\nexit 3\n")
    (tmp_path / "broken").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "broken"))
    spec = RunSpec(dataset="digits", model="mlp", precision="fp32")
    job = Job(data_dir="data", output_dir=str(tmp_path))
    report = LocalExecutor([Slot("cpu0", "cpu"), Slot("cpu1", "cpu")]).run(
        [spec, spec.replace(seed=1)], Store(tmp_path), job, Witness(), StopRequest()
    )
    assert report.problem is not None
    assert "no worker can be started" in report.problem
    assert "exit code 3): no torch here" in report.problem
    assert len(report.left) == 2
