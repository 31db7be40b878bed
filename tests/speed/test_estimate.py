from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from interplay.errors import SpecError
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.speed.estimate import alike, estimate, makespan, plan, readable, schedule
from interplay.speed.measure import probe
from interplay.store.store import Store
from interplay.study.presets import documented_sets
from interplay.study.study import combined
from interplay.text import seconds_of


def test_runs_are_sorted_by_what_is_to_be_done_and_long_ones_start_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    specs = [RunSpec(dataset="digits", model="mlp", epochs=e) for e in (5, 50, 10, 20, 30)]
    store.commit(RunRecord(specs[0], Status.DIVERGED, reason="x"))
    store.fail(RunRecord(specs[1], Status.FAILED, reason="x"))
    store.open(specs[2])
    found = plan(specs, store)
    assert found.done == (specs[0],)
    assert found.failed == (specs[1],)
    assert [s.epochs for s in found.missing] == [30, 20, 10]


def finished(spec: RunSpec, seconds_per_epoch: float) -> RunRecord:
    history = tuple(EpochMetrics(e, 0.1, 1.0, 50.0, 1.0, 50.0) for e in range(1, spec.epochs + 1))
    return RunRecord(spec, Status.FINISHED, history, wall_seconds=seconds_per_epoch * spec.epochs)


def test_the_estimate_comes_from_finished_runs_of_the_same_kind() -> None:
    base = RunSpec(dataset="digits", model="mlp", epochs=10, precision="fp32")
    records = [finished(base.replace(batch_size=b), s) for b, s in ((64, 2.0), (128, 1.0), (128, 1.2), (128, 9.0))]
    missing = [base.replace(lr=0.2), base.replace(batch_size=64, epochs=20), base.replace(batch_size=256, lr=0.4)]
    found = estimate(missing, records, workers=1)
    assert found is not None
    # The median of its own batch size; without one, of all batch sizes.
    assert found.run_seconds == pytest.approx(10 * 1.2 + 20 * 2.0 + 10 * 1.6)
    assert found.source == "4 finished runs"
    assert estimate([base.replace(model="cnn")], records, workers=1) is None
    assert estimate([base.replace(train_limit=500)], records, workers=1) is None


def test_wall_time_counts_workers_and_the_longest_run() -> None:
    assert makespan([4, 3, 3, 2], 2) == 6
    assert makespan([10, 1, 1], 3) == 10
    assert makespan([], 3) == 0


def test_data_whose_shape_is_not_known_cannot_be_probed() -> None:
    assert probe([RunSpec(dataset="own.npz", fingerprint="npz:1")], "cpu", 2) is None


def test_each_kind_of_run_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def two_seconds(spec: RunSpec, device: str) -> float:
        asked.append(spec.batch_size)
        return 2.0

    monkeypatch.setattr("interplay.speed.measure.epoch_seconds", two_seconds)
    base = RunSpec(dataset="cifar100", model="cnn", precision="fp32")
    found = probe([base.replace(epochs=e, batch_size=b) for e in (1, 4) for b in (64, 128)], "cpu", 2)
    assert found is not None
    assert asked == [64, 128]
    assert (found.run_seconds, found.wall_seconds) == (20, 10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (45, "45 s"), (600, "10 min"), (7500, "2 h 5 min"), (200_000, "2 d 8 h")],
)
def test_readable_times(seconds: float, text: str) -> None:
    assert readable(seconds) == text


def test_the_queue_is_simulated_with_its_tail() -> None:
    found = schedule([4, 3, 3, 2], 3)  # 4 | 3+2 | 3: the first is idle after 3, the last ends after 5
    assert (found.wall_seconds, found.busy_seconds, found.tail_seconds) == (5, 12, 2)
    alone = schedule([7], 4)
    assert (alone.wall_seconds, alone.busy_seconds, alone.tail_seconds) == (7, 7, 7)
    even = schedule([2] * 8, 4)
    assert (even.wall_seconds, even.tail_seconds) == (4, 0)


def test_a_prediction_for_a_gpu_rests_on_measurements_on_that_gpu(tmp_path: Path) -> None:
    from interplay.lab.plan import forecast
    from interplay.lab.settings import Settings
    from interplay.study.study import Study

    store = Store(tmp_path)
    base = RunSpec(dataset="digits", model="mlp", epochs=36)
    for seed, name, seconds in ((1, "NVIDIA H100 80GB", 100.0), (2, "NVIDIA A100", 300.0)):
        record = dataclasses.replace(finished(base.replace(seed=seed), seconds), environment={"device_name": name})
        store.commit(record)
    study = Study("s", "q", (), "", "", tuple(base.replace(seed=seed) for seed in range(10, 18)))
    assert len(alike(store, study.specs, gpu="h100")) == 1
    settings = Settings(output_dir=tmp_path)
    text = str(forecast(study, settings, 4, "h100"))
    assert "8 h 0 min of work, the longest run 60 min; from 1 finished run" in text
    rows = [line.split() for line in text.splitlines()[-4:-1]]
    assert rows == [
        ["2", "4", "h", "0", "min", "8.00", "none"],
        ["4", "2", "h", "0", "min", "8.00", "none"],
        ["8", "60", "min", "8.00", "none"],
    ]
    assert "24 h 0 min of work" in str(forecast(study, settings, 4, "A100"))
    hour = 3600.0
    assert "deadline 2 h 0 min: met by 4 workers or more, in 2 h 0 min" in str(
        forecast(study, settings, 1, "h100", 2 * hour)
    )
    assert "deadline 3 h 0 min: met by 3 workers" in str(forecast(study, settings, 1, "h100", 3 * hour))
    assert "met by 1 worker or more" in str(forecast(study, settings, 1, "h100", 15 * 24 * hour))
    assert "not met by any number of workers" in str(forecast(study, settings, 1, "h100", hour / 2))
    assert "no estimate: nothing like" in str(forecast(study, settings, 4, "V100"))


@pytest.mark.parametrize(
    ("duration", "seconds"), [("15d", 1_296_000), ("36h", 129_600), ("90m", 5400), ("1d12h", 129_600), ("0.5 h", 1800)]
)
def test_a_deadline_is_a_duration(duration: str, seconds: float) -> None:
    assert seconds_of(duration) == seconds


@pytest.mark.parametrize("duration", ["", "15", "d", "-1d", "0d", "15 days", "1e3d", "nan", "9" * 400 + "d"])
def test_what_is_no_duration_is_refused_with_the_value(duration: str) -> None:
    with pytest.raises(SpecError, match="deadline must be a duration such as 15d"):
        seconds_of(duration)


def test_sets_are_planned_together_and_shared_runs_counted_once() -> None:
    together = combined(documented_sets((42, 43)))
    assert len(together.specs) == 2 * 74
    assert together.name == "lr-ordering + eta-lambda + batch-scaling"
    assert combined([together]) is together
    with pytest.raises(SpecError, match="which study"):
        combined([])
