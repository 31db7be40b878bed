from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from interplay.cli.main import main
from interplay.errors import InterplayError, SchemaError, SpecError
from interplay.executors.job import Job
from interplay.executors.outcomes import End, Outcome
from interplay.executors.queue import Patience, Queue
from interplay.executors.slurm.allocation import Allocation, scattered
from interplay.executors.slurm.executor import SlurmError, SlurmExecutor, _parameters
from interplay.executors.slurm.jobs import Submission, alive, endings, states, submissions
from interplay.lab.plan import forecast
from interplay.lab.settings import Settings
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.ends import Ends
from interplay.store.leases import Claim, Claims
from interplay.store.manifest import Manifest, read_manifest
from interplay.store.store import Store
from interplay.study.files import load
from interplay.study.slurm import SlurmOptions
from interplay.study.study import Study

SPECS = tuple(RunSpec(dataset="digits", seed=seed, lr=lr) for seed in (1, 2) for lr in (0.1, 0.2))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30:00", 90), ("0:0:1", 1), ("2-12:00:00", 3600), ("2-12", 3600), ("90:30", 91), ("1-0:30", 1470)],
)
def test_time_limits_are_read_as_sbatch_reads_them(text: str, minutes: int) -> None:
    assert SlurmOptions(time=text).minutes == minutes


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"partitions": "gpu"}, "unknown key 'partitions'; did you mean 'partition'"),
        ({"time": "soon"}, "time must be minutes, H:MM:SS or D-HH:MM:SS, not 'soon'"),
        ({"time": 0}, "time must be greater than 0"),
        ({"gpus_per_node": -1}, "gpus_per_node must be a whole number, 0 or greater"),
        ({"workers_per_gpu": 0}, "workers_per_gpu must be a whole number, 1 or greater"),
        ({"gpus_per_node": True}, "gpus_per_node must be a whole number"),
        ({"sbatch": ["#SBATCH --qos=x"]}, "is no option of sbatch; write --name or --name=value"),
        ({"sbatch": "--qos=x"}, "sbatch must be a list of lines"),
        ({"setup": ["a\nb"]}, "setup must be a list of lines"),
        ({"gpus_per_node": 2, "workers_per_node": 4}, "workers_per_node is for allocations without GPUs"),
        ({"time": 2, "notice_seconds": 120}, "notice_seconds 120 is not shorter than the time limit"),
    ],
)
def test_an_impossible_table_is_refused_before_anything_is_submitted(
    table: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SpecError) as refused:
        SlurmOptions.from_table(table, "study.toml: slurm")
    assert "study.toml: slurm" in str(refused.value)
    assert message in str(refused.value)


def test_the_table_of_a_study_file_enters_no_identity_and_flags_go_first(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    text = '[base]\ndataset = "digits"\nmodel = "mlp"\n'
    path.write_text(text)
    plain = load(path)
    path.write_text(text + '[slurm]\npartition = "gpu"\ngpus_per_node = 4\nsbatch = ["--qos=long"]\n')
    asked = load(path)
    assert [s.run_id for s in asked.specs] == [s.run_id for s in plain.specs]
    found = SlurmOptions(partition="cpu").over(asked.slurm)
    assert (found.partition, found.gpus_per_node, found.sbatch) == ("cpu", 4, ("--qos=long",))


def test_what_submitit_is_told() -> None:
    options = SlurmOptions(gpus_per_node=4, workers_per_gpu=2, mem="64G", sbatch=("--qos=long", "--exclusive"))
    assert options.per_allocation == 8
    asked = _parameters(options, "lr", 3)
    assert asked["gpus_per_node"] == 4
    assert asked["cpus_per_task"] == 8
    assert asked["srun_args"] == ["--cpus-per-task=8"]  # a step does not inherit it
    assert asked["time"] == 60
    assert asked["signal_delay_s"] == 120
    assert asked["additional_parameters"] == {"requeue": True, "qos": "long", "exclusive": True}
    assert "partition" not in asked
    assert SlurmExecutor(options, 20, Manifest("lr", SPECS)).allocations == 3


def test_flags_of_slurm_without_slurm_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--output_dir", str(tmp_path / "o")]
    assert main(["study", "lr-ordering", "--partition", "gpu", *words]) == 2
    assert "--partition is for --executor slurm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--executor slurm --gpus all", "--gpus is for --executor local or inline or ray; say --gpus_per_node"),
        ("--executor slurm --per_gpu 2", "--per_gpu is for --executor local or inline or ray; say --gpus_per_node"),
        ("--executor slurm --path fused", "--path is for --executor local or inline"),
        ("--executor ray --autotune cudnn", "--autotune is for --executor local or inline"),
        ("--executor ray --stack 4", "--stack is for --executor local or inline"),
        ("--executor ray --wait", "--wait is for --executor slurm"),
        ("--address auto", "--address is for --executor ray"),
    ],
)
def test_a_flag_that_an_executor_would_pass_over_is_refused(
    words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "lr-ordering", *words.split(), "--output_dir", str(tmp_path / "o")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_a_controller_that_does_not_answer_does_not_end_the_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay.executors.base import Listener
    from interplay.executors.signals import StopRequest
    from interplay.executors.slurm import executor as slurm

    store, asked = Store(tmp_path), []
    store.commit(RunRecord(SPECS[0], Status.FINISHED))

    def silent(jobs: list[Submission]) -> list[Submission]:
        asked.append(jobs)
        if len(asked) < 3:
            raise InterplayError("squeue does not answer")
        store.commit(RunRecord(SPECS[1], Status.FINISHED))
        return []

    monkeypatch.setattr(slurm, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(slurm, "alive", silent)
    made = Submission("slurm", "7", "s", "m", 1, 1)
    report = slurm._follow(made, SPECS[:3], store, Listener(), StopRequest())
    assert [record.spec for record in report.committed] == list(SPECS[:2])
    assert report.left == [SPECS[2]]
    assert report.problem is not None
    assert "Slurm job 7 has ended" in report.problem


def test_gpu_hours_are_of_gpus_and_not_of_the_runs_that_shared_them(tmp_path: Path) -> None:
    """Two runs of an hour each, measured side by side on one GPU: a further one costs half an hour of a GPU."""
    store = Store(tmp_path)
    base = RunSpec(dataset="digits", model="mlp", epochs=1)
    where = {"device_name": "NVIDIA H100", "at_once": 2}
    history = (EpochMetrics(1, 0.1, 1.0, 50.0, 1.5, 60.0),)
    for seed in (1, 2):
        store.commit(
            RunRecord(base.replace(seed=seed), Status.FINISHED, history, environment=where, wall_seconds=3600.0)
        )
    study = Study("s", "?", (), "", "", tuple(base.replace(seed=seed) for seed in range(1, 11)))
    said = str(forecast(study, Settings(output_dir=tmp_path, per_gpu=4), 4, "h100"))
    assert "a worker is one of 2 on a GPU" in said
    assert "note: measured with 2 runs at once on a GPU, so planned for 2" in said
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["4"]]
    assert line.split()[1:4] == ["2", "h", "0"] or "2 h" in line or "120 min" in line
    assert " 4.00 " in line  # eight runs of half an hour
    unasked = str(forecast(study, Settings(output_dir=tmp_path), 4, "h100"))
    assert "note:" not in unasked
    assert line in unasked


def test_plan_says_nothing_of_sharing_unless_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from interplay.lab import plan

    asked: list[Settings] = []
    monkeypatch.setattr(plan, "forecast", lambda study, settings, *_: asked.append(settings))
    assert main(["plan", "lr-ordering", "--workers", "4", "--gpu", "H100"]) == 0
    assert [settings.per_gpu for settings in asked] == [0]


def test_a_machine_without_slurm_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="there is no sbatch here"):
        SlurmExecutor(SlurmOptions(), 0, Manifest("x", SPECS)).check()
    assert main(["study", "lr-ordering", "--executor", "slurm", "--output_dir", str(tmp_path / "o")]) == 2
    assert "there is no sbatch here" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    made = Submission("slurm", "7", "s", "m", 1, 1)
    assert (states([made]), alive([made]), endings(made)) == (None, [], "no accounting here")


def test_submissions_are_remembered_and_damaged_files_passed_over(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "slurm-1.json").write_text("{")
    (tmp_path / "jobs" / "slurm-2.json").write_text('{"engine": "slurm"}')
    assert submissions(tmp_path) == []


def test_a_manifest_is_read_back_whatever_the_models(tmp_path: Path) -> None:
    specs = (*SPECS, RunSpec(dataset="digits", model="wide_resnet", widening=2), RunSpec(dataset="digits", lr=1))
    path = Manifest("a b/c", specs, 2).write(tmp_path)
    assert path.parent == tmp_path / "studies"
    assert path.name.startswith("a-b-c-")
    found = read_manifest(path)
    assert found == Manifest("a b/c", specs, 2)
    assert [s.run_id for s in found.specs] == [s.run_id for s in specs]
    assert Manifest("a b/c", specs[::-1]).write(tmp_path) == path  # the same runs, the same file
    path.write_text(path.read_text().replace('"lr": 0.2', '"lrs": 0.2'))
    with pytest.raises(SchemaError, match=r"a-b-c-.*lr"):
        read_manifest(path)


def test_allocations_begin_at_different_runs_and_long_runs_still_come_first() -> None:
    specs = [RunSpec(dataset="digits", model="mlp", epochs=e, seed=s) for e in (10, 1000) for s in range(200)]
    orders = [scattered(specs, 8, random.Random(seed)) for seed in range(50)]
    assert all(sorted(o, key=lambda s: s.run_id) == sorted(specs, key=lambda s: s.run_id) for o in orders)
    assert len({order[0] for order in orders}) > 25
    assert all({spec.epochs for spec in order[:192]} == {1000} for order in orders)


def test_an_allocation_knows_what_has_ended_from_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from interplay.executors.signals import StopRequest

    store = Store(tmp_path)
    for spec in SPECS:
        store.commit(RunRecord(spec, Status.FINISHED))
    path = Manifest("x", SPECS).write(tmp_path)
    report = Allocation(str(path), Job("data", str(tmp_path))).run(StopRequest())
    assert report.left == []
    assert "0 of 4 runs missing" in capsys.readouterr().out


def test_gpus_of_an_allocation_are_those_that_slurm_lets_it_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    slots = Allocation("m", Job("data", "out", "cuda:0"), per_gpu=2).slots()
    assert [(slot.name, slot.visible, slot.device) for slot in slots] == [
        ("gpu0.0", "2", "cuda:0"),
        ("gpu1.0", "5", "cuda:0"),
        ("gpu0.1", "2", "cuda:0"),
        ("gpu1.1", "5", "cuda:0"),
    ]


def test_the_ends_of_runs_are_followed_through_appending_and_rewriting(tmp_path: Path) -> None:
    store, ends = Store(tmp_path), Ends(Store(tmp_path).results)
    assert ends.look() == []
    store.commit(RunRecord(SPECS[0], Status.FINISHED))
    assert ends.look() == [SPECS[0].run_id]
    assert ends.look() == []
    store.fail(RunRecord(SPECS[1], Status.FAILED, reason="a, b"))
    store.commit(RunRecord(SPECS[2], Status.DIVERGED, reason="x"))
    assert ends.look() == [SPECS[1].run_id, SPECS[2].run_id]
    assert [ends.status[s.run_id] for s in SPECS[:3]] == ["finished", "failed", "diverged"]
    store.forget_failure(SPECS[1].run_id)  # the table is written anew
    assert ends.look() == []
    assert SPECS[1].run_id not in ends.status
    with store.results.open("a") as file:
        file.write("half a row")
    assert ends.look() == []
    store.rebuild()
    store.commit(dataclasses.replace(RunRecord(SPECS[1], Status.FINISHED)))
    assert ends.look() == [SPECS[1].run_id]


def test_status_of_a_large_store_opens_no_record_of_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay.executors import status as module

    monkeypatch.setattr(module, "THOROUGH", len(SPECS) - 1)  # a store of more runs than this is large
    status = module.status
    store, opened = Store(tmp_path), []
    for spec in SPECS[:2]:
        store.commit(RunRecord(spec, Status.FINISHED))
    store.commit(RunRecord(SPECS[2], Status.DIVERGED, reason="x"))
    store.open(SPECS[3])
    real = Store.record
    monkeypatch.setattr(Store, "record", lambda self, run_id: opened.append(run_id) or real(self, run_id))
    found = status(store, [*SPECS, RunSpec(dataset="digits", seed=9)])
    assert sorted(found.finished) == sorted(spec.run_id for spec in SPECS[:2])
    assert [record.run_id for record in found.diverged] == [SPECS[2].run_id]
    assert (len(found.interrupted), len(found.missing)) == (1, 1)
    assert opened == [SPECS[2].run_id, SPECS[3].run_id]


def test_many_queues_in_their_own_orders_finish_a_study_with_few_wasted_asks(tmp_path: Path) -> None:
    """The traffic of supervisors that train nothing; benchmarks/store_scale.py has the measurement in full."""
    runs = [RunSpec(dataset="digits", model="mlp", epochs=1, seed=seed) for seed in range(60)]
    store, asks = Store(tmp_path), {"committed": 0, "in vain": 0}
    queues = [Queue(scattered(runs, 6, random.Random(i)), store, patience=Patience(look_again=0.0)) for i in range(6)]
    workers = [Claims(store.runs, f"w{i}") for i in range(6)]
    busy: dict[int, tuple[RunSpec, Claim]] = {}
    while not all(queue.finished for queue in queues):
        for index, queue in enumerate(queues):
            if index in busy:
                spec, claim = busy.pop(index)
                committed = store.commit(RunRecord(spec, Status.FINISHED))
                claim.release()
                assert committed is not None
                asks["committed"] += 1
                queue.ended(spec, Outcome(End.COMMITTED, committed))
            elif (next_one := queue.next()) is not None:
                store.open(next_one)
                taken = None if store.is_done(next_one.run_id) else workers[index].take(next_one.run_id)
                if taken is None:
                    asks["in vain"] += 1
                    queue.ended(next_one, Outcome(End.DONE if store.is_done(next_one.run_id) else End.TAKEN))
                else:
                    busy[index] = (next_one, taken)
    assert asks["committed"] == 60
    assert asks["in vain"] < 60  # in one common order it is several times as many
    assert len(list(store.records())) == 60


@pytest.mark.slow
def test_a_ray_that_is_started_here_listens_to_this_machine_only_and_wants_its_token(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    script = """
import os, psutil
from interplay.executors.ray_actors import RayExecutor, _connect
RayExecutor().check()
assert _connect(None, 1)
found = [psutil.Process(), *psutil.Process().children(recursive=True)]
listening = {c.laddr.ip for p in found if p.is_running() for c in p.net_connections("inet") if c.status == "LISTEN"}
print(sorted(listening), os.environ["RAY_AUTH_MODE"], len(os.environ["RAY_AUTH_TOKEN"]))
import ray; ray.shutdown()
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    addresses, _, rest = done.stdout.splitlines()[-1].partition("]")
    assert set(addresses.strip("[").replace("'", "").split(", ")) <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert rest.split() == ["token", "64"]
    assert not (tmp_path / ".ray").exists()
