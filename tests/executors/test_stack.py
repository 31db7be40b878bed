"""One attempt at several runs: claims, commits and accidents, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interplay.devices import Slot
from interplay.executors import attempt as module
from interplay.executors.attempt import Way, attempt
from interplay.executors.base import Listener
from interplay.executors.inline import InlineExecutor
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.executors.pool import Member, Pool
from interplay.executors.process import Ready, Train
from interplay.executors.queue import Queue
from interplay.executors.signals import StopRequest
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.plan import SpeedPlan
from interplay.stack import memory
from interplay.stack.grouping import kind as kind_of
from interplay.store.leases import Claims, Lease
from interplay.store.store import Store
from interplay.train.events import EpochEnded, Event, RunEnded

BASE = RunSpec(dataset="digits", model="mlp", precision="fp32", epochs=4, label_noise=0.2)
SPECS = [BASE.replace(lr=0.02 * (i + 1), seed=i) for i in range(3)]


class Bench:
    """A store, a job, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder)
        self.job = Job(data_dir="/nonexistent", output_dir=str(folder))
        self.told: dict[RunSpec, Outcome] = {}

    def claims(self, worker: str = "this") -> Claims:
        return Claims(self.store.runs, worker, Lease(beat=0.02, lapse=60))

    def attempt(
        self,
        specs: list[RunSpec],
        watch: Callable[[Event], None] = lambda event: None,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        way: Way = "fused",
        **facts: Any,
    ) -> dict[RunSpec, Outcome]:
        self.told = {}

        def emit(event: Event) -> None:
            if isinstance(event, RunEnded):
                assert event.spec not in self.told, "an outcome is told once"
                self.told[event.spec] = event.outcome
            watch(event)

        attempt(specs, self.store, self.claims(), self.job, emit, should_stop, facts=facts, way=way)
        left = [json.loads(path.read_text())["worker"] for path in self.store.runs.glob("*/claim.json")]
        assert "this" not in left, "every lease is given back"
        return self.told

    def ends(self) -> list[End]:
        return [self.told[spec].end for spec in SPECS]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def losses(record: RunRecord | None) -> list[float | None]:
    assert record is not None
    return [m.test_loss for m in record.history]


def test_every_run_of_a_stack_is_committed_with_its_own_record_and_row(bench: Bench) -> None:
    bench.attempt(SPECS, probe={"alone": 1.0})
    assert bench.ends() == [End.COMMITTED] * 3
    for spec in SPECS:
        record = bench.store.record(spec.run_id)
        assert record is not None
        assert record.status is Status.FINISHED
        assert {"path": "fused", "stack": 3, "probe": {"alone": 1.0}}.items() <= record.environment.items()
        lines = (bench.store.folder(spec.run_id) / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
        assert not (bench.store.folder(spec.run_id) / "last.pt").exists()
    assert len(bench.store.results.read_text().splitlines()) == 4
    assert set(bench.attempt(SPECS).values()) == {Outcome(End.DONE)}


def test_runs_that_are_done_or_taken_leave_the_rest_to_the_stack(bench: Bench) -> None:
    bench.attempt(SPECS[:1])
    bench.store.open(SPECS[1])
    other = bench.claims("another").take(SPECS[1].run_id)
    assert other is not None
    told = {spec: outcome.end for spec, outcome in bench.attempt(SPECS).items()}
    assert told == {SPECS[0]: End.DONE, SPECS[1]: End.TAKEN, SPECS[2]: End.COMMITTED}
    assert (bench.store.folder(SPECS[1].run_id) / "claim.json").exists()


def test_a_run_taken_over_leaves_and_the_others_go_on(bench: Bench) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.spec == SPECS[0] and event.metrics.epoch == 2:
            claim = bench.store.folder(SPECS[1].run_id) / "claim.json"
            owner = json.loads(claim.read_text())
            claim.write_text(json.dumps({**owner, "attempt": "theirs", "worker": "another"}))

    told = [(spec, outcome.end) for spec, outcome in bench.attempt(SPECS, watch).items()]
    assert told == [(SPECS[1], End.TAKEN), (SPECS[0], End.COMMITTED), (SPECS[2], End.COMMITTED)]
    assert not bench.store.is_done(SPECS[1].run_id)
    assert [m.epoch for m in bench.store.history(SPECS[1].run_id)] == [1]
    assert json.loads((bench.store.folder(SPECS[1].run_id) / "claim.json").read_text())["attempt"] == "theirs"


@pytest.mark.parametrize("then", ["alone", "stack", "other stack"])
def test_a_stack_asked_to_stop_leaves_checkpoints_that_either_path_takes_up(bench: Bench, then: str) -> None:
    seen: list[int] = []
    bench.attempt(
        SPECS,
        lambda event: seen.append(event.metrics.epoch) if isinstance(event, EpochEnded) else None,
        lambda: seen[-1] == 2,
    )
    assert bench.ends() == [End.INTERRUPTED] * 3
    assert all((bench.store.folder(spec.run_id) / "last.pt").exists() for spec in SPECS)
    if then == "alone":
        bench.attempt(SPECS, way="single")
        assert bench.ends() == [End.COMMITTED] * 3
    else:
        for part in ([SPECS], [SPECS[2:], SPECS[:2]])[then == "other stack"]:
            bench.attempt(part)
    fresh = Bench(bench.store.root / "fresh")
    fresh.attempt(SPECS)
    for spec in SPECS:
        record = bench.store.record(spec.run_id)
        expected = losses(fresh.store.record(spec.run_id))
        assert losses(record)[:2] == pytest.approx(expected[:2], rel=1e-4)
        assert losses(record) == pytest.approx(expected, rel=0.03)  # rounding may grow by then, see train/test_fused.py
        assert [m.epoch for m in bench.store.history(spec.run_id)] == [1, 2, 3, 4]


def test_a_diverged_run_is_committed_while_the_others_train(bench: Bench) -> None:
    wild = BASE.replace(lr=1e9, seed=5)
    order: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, RunEnded):
            order.append(event.spec.run_id)
            assert event.spec != wild or bench.store.is_done(wild.run_id)

    bench.attempt([*SPECS, wild], watch)
    assert order[0] == wild.run_id
    record = bench.store.record(wild.run_id)
    assert record is not None
    assert record.status is Status.DIVERGED
    assert len(list(bench.store.records())) == 4


def test_an_error_is_blamed_on_no_run_of_several_but_on_a_run_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **words: Any) -> None:
        raise ValueError("Expected more than 1 value per channel")

    monkeypatch.setattr(module, "train_stack", broken)
    bench.attempt(SPECS)
    assert bench.ends() == [End.APART] * 3
    assert not list(bench.store.records())
    assert bench.attempt(SPECS[:1])[SPECS[0]].end is End.FAILED
    record = bench.store.record(SPECS[0].run_id)
    assert record is not None
    assert record.status is Status.FAILED
    assert "broken" in (record.traceback or "")
    assert record.environment["path"] == "fused"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (RuntimeError("CUDA error: an illegal memory access"), End.DEVICE),
        (RuntimeError("CUDA error: operation not permitted when stream is capturing"), End.CAPTURE),
        (RuntimeError("CUDA out of memory"), End.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), End.UNABLE),
    ],
)
def test_accidents_of_the_machine_are_told_of_every_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, end: End
) -> None:
    def broken(*args: Any, **words: Any) -> None:
        raise error

    monkeypatch.setattr(module, "train_stack", broken)
    bench.attempt(SPECS)
    assert bench.ends() == [end] * 3
    assert not list(bench.store.records())


def test_between_kinds_of_runs_a_gpu_gets_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    monkeypatch.setattr(memory, "_last", [])
    for kind, times in (("a", 0), ("a", 0), ("b", 1), ("b", 1), ("a", 2)):
        memory.make_room(kind, "cuda:0")
        assert len(emptied) == times
    memory.make_room("c", "cpu")
    assert len(emptied) == 2


def test_a_process_with_a_broken_gpu_tries_no_further_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[RunSpec] = []

    def broken(specs: list[RunSpec], *args: Any, **words: Any) -> None:
        tried.extend(specs)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(module, "train_stack", broken)
    store, job = Store(tmp_path), Job(data_dir="/nonexistent", output_dir=str(tmp_path))
    plan = SpeedPlan({kind_of(SPECS[0]): 1})
    report = InlineExecutor(plan).run(SPECS, store, job, Listener(), StopRequest())
    assert tried == [SPECS[0]]
    assert report.left == SPECS
    assert not report.failed
    assert "illegal memory access" in str(report.problem)
    assert "the same command goes on" in str(report.problem)


def test_ctrl_c_is_heard_though_what_it_closed_failed_in_turn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **words: Any) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("unexpected pos 142976 vs 142928")

    monkeypatch.setattr(module, "train_stack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.attempt(SPECS)
    assert not bench.told


def test_absent_data_are_no_fault_of_the_runs(bench: Bench) -> None:
    specs = [spec.replace(dataset="cifar10") for spec in SPECS]
    bench.attempt(specs)
    assert {outcome.end for outcome in bench.told.values()} == {End.UNABLE}


@pytest.mark.parametrize("stacked", [True, False])
def test_a_longer_search_is_an_order_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stacked: bool
) -> None:
    asked: list[str] = []

    def broken(*args: Any, autotune: str, **words: Any) -> None:
        asked.append(autotune)
        raise RuntimeError("no such kernel")

    key = kind_of(SPECS[0])
    plan = SpeedPlan({key: 2} if stacked else {}, autotunes={key: "both"})
    monkeypatch.setattr(module, "train_stack", broken)
    monkeypatch.setitem(attempt.__kwdefaults__, "trains", broken)
    store, job = Store(tmp_path), Job(data_dir="/nonexistent", output_dir=str(tmp_path))
    InlineExecutor(plan).run(SPECS[:2], store, job, Listener(), StopRequest())
    # What has failed is tried again run by run, without it.
    assert asked == (["both", "none", "none"] if stacked else ["both", "none", "both", "none"])


def test_a_stack_that_ran_out_of_memory_searches_no_longer_when_it_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []

    def broken(specs: list[RunSpec], *args: Any, autotune: str, **words: Any) -> None:
        asked.append((len(specs), autotune))
        raise RuntimeError("CUDA out of memory")

    key = kind_of(SPECS[0])
    monkeypatch.setattr(module, "train_stack", broken)
    store, job = Store(tmp_path), Job(data_dir="/nonexistent", output_dir=str(tmp_path))
    plan = SpeedPlan({key: 2}, autotunes={key: "cudnn"})
    InlineExecutor(plan).run(SPECS[:2], store, job, Listener(), StopRequest())
    assert asked == [(2, "cudnn"), (1, "none"), (1, "none")]


@pytest.mark.parametrize("error", ["PassManager::run failed", "CUDA out of memory"])
def test_a_run_whose_longer_search_fails_is_trained_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    asked: list[str] = []
    trains = module.train_stack

    def broken(*args: Any, autotune: str, **words: Any) -> object:
        asked.append(autotune)
        if autotune != "none":
            raise RuntimeError(error)
        return trains(*args, autotune=autotune, **words)

    key = kind_of(SPECS[0])
    monkeypatch.setattr(module, "train_stack", broken)
    store, job = Store(tmp_path), Job(data_dir="/nonexistent", output_dir=str(tmp_path))
    plan = SpeedPlan({key: 1}, autotunes={key: "both"})
    report = InlineExecutor(plan).run(SPECS[:1], store, job, Listener(), StopRequest())
    assert asked == ["both", "none"]
    assert [record.run_id for record in report.committed] == [SPECS[0].run_id]
    assert "autotune" not in report.committed[0].environment


class Worker:
    """One that takes orders and carries out none."""

    def __init__(self) -> None:
        self.orders: list[Train] = []

    def send(self, order: object) -> None:
        """See `pool.Handle`."""
        self.orders += [order] if isinstance(order, Train) else []

    def dismiss(self) -> None:
        """See `pool.Handle`."""

    def kill(self) -> None:
        """See `pool.Handle`."""

    def close(self) -> str:
        """See `pool.Handle`."""
        return ""


class Workers(Pool[Worker]):
    """A pool of such; every stack fails, and then each of its runs."""

    def start_worker(self, slot: Slot) -> Worker:
        """See `Pool`."""
        return Worker()

    def messages(self, seconds: float) -> list[tuple[Member[Worker], object]]:
        """See `Pool`."""
        (member,) = self.members.values()
        if not member.ready:
            return [(member, Ready())]
        end = End.APART if len(member.runs) > 1 else End.FAILED
        return [(member, RunEnded(spec, Outcome(end, reason="no such kernel"))) for spec in member.runs]


def test_worker_processes_are_told_which_library_searches_longer(tmp_path: Path) -> None:
    key = kind_of(SPECS[0])
    plan = SpeedPlan({key: 2}, paths={key: "compiled_streams"}, autotunes={key: "both"})
    job = Job(data_dir="/nonexistent", output_dir=str(tmp_path))
    queue = Queue(SPECS[:2], Store(tmp_path), stacking=plan.limit)
    pool = Workers([Slot("gpu0", "cuda:0", "0")], queue, job, Listener(), plan)
    pool.start()
    (member,) = pool.members.values()
    while not queue.finished:
        pool.turn()
    assert [(len(order.specs), order.way, order.autotune) for order in member.handle.orders] == [
        *((2, "compiled_streams", "both"), (1, "compiled_streams", "none"), (1, "compiled_streams", "none"))
    ]
