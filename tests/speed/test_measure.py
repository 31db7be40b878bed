from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from interplay.devices import Slot
from interplay.executors.process import WorkerProcess
from interplay.record import EpochMetrics
from interplay.spec import RunSpec
from interplay.speed.measure import (
    Measure,
    Measured,
    Meter,
    ProbeWorkers,
    epoch_seconds,
    measure_here,
    on_a_core,
)
from interplay.speed.rates import Rates, Way, climb, fastest, few

PLAIN, CAPTURED, COMPILED = Way("single"), Way("fused"), Way("compiled")
BY_CUDNN, BY_INDUCTOR, BY_BOTH = (Way("compiled", autotune=name) for name in ("cudnn", "inductor", "both"))
SPEC = RunSpec(dataset="digits", model="mlp", precision="fp32", batch_size=32)


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({PLAIN: 100.0, CAPTURED: 110.0}, PLAIN),  # within the noise
        ({PLAIN: 100.0, CAPTURED: 200.0}, CAPTURED),
        ({PLAIN: 100.0, CAPTURED: 200.0, COMPILED: 205.0}, CAPTURED),  # nearly as fast, and without a compiler
        ({PLAIN: 100.0, CAPTURED: 200.0, COMPILED: 300.0}, COMPILED),
        ({CAPTURED: 200.0}, CAPTURED),  # the plain path did not run
        ({PLAIN: 100.0}, PLAIN),
        ({}, PLAIN),
        # A longer search is taken for less, but not for noise, nor where another way is the fastest without it.
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 205.0}, BY_CUDNN),
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 203.0}, COMPILED),
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 210.0, BY_BOTH: 212.0}, BY_CUDNN),
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 210.0, BY_BOTH: 216.0}, BY_BOTH),
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 0.0, BY_INDUCTOR: 210.0}, BY_INDUCTOR),
        ({PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 0.0}, COMPILED),  # it failed
        (
            {PLAIN: 100.0, COMPILED: 200.0, BY_CUDNN: 210.0, Way("compiled_streams", 2): 250.0},
            Way("compiled_streams", 2),
        ),
        ({PLAIN: 100.0, Way("single", autotune="cudnn"): 110.0}, Way("single", autotune="cudnn")),
    ],
)
def test_the_plain_path_goes_unless_another_is_clearly_faster(rates: dict[Way, float], best: Way) -> None:
    assert fastest(rates) == best


@pytest.mark.parametrize(
    ("rates", "tried", "best"),
    [
        ([10.0, 18.0, 24.0, 25.0, 25.1], [1, 2, 3, 4, 5], 3),  # as at small batches
        ([10.0, 13.0, 13.1, 12.0, 99.0], [1, 2, 3, 4], 2),
        ([10.0, 10.2, 10.1, 99.0], [1, 2, 3], 1),  # as at large ones; what comes later is not tried
        ([10.0, 12.0, None], [1, 2], 2),  # the third does not fit
        ([None], [], 1),
        ([10.0], [1], 1),
    ],
)
def test_processes_are_added_until_they_gain_nothing(rates: list[float | None], tried: list[int], best: int) -> None:
    found = climb(lambda count: rates[count - 1], len(rates))
    assert list(found) == tried
    assert few(found) == best


@pytest.mark.parametrize(
    ("alone", "stacked", "way"),
    [
        (100.0, {}, PLAIN),
        (100.0, {2: 90.0, 4: 110.0}, PLAIN),  # within the noise
        (100.0, {2: 150.0, 4: 200.0, 8: 300.0, 16: 310.0}, Way("fused", 8)),  # nearly as fast, and half as large
        (100.0, {2: 120.0, 4: 90.0}, Way("fused", 2)),
        (100.0, {4: 200.0, 8: 400.0}, Way("fused", 8)),
    ],
)
def test_the_smallest_stack_that_is_nearly_the_fastest_is_taken(
    alone: float, stacked: dict[int, float], way: Way
) -> None:
    found = Rates({PLAIN: alone} | {Way("fused", size): rate for size, rate in stacked.items()}, {})
    assert found.way == way


def test_what_was_found_survives_a_file() -> None:
    found = Rates({PLAIN: 100.0, COMPILED: 200.0}, {1: 200.0, 2: 300.0, 3: 310.0})
    assert Rates.from_dict(found.to_dict()) == found
    assert (found.way, found.processes) == (COMPILED, 2)
    assert found.to_dict()["ways"] == {"single": 100.0, "compiled 1": 200.0}
    assert "autotune" not in found.to_dict()
    searched = Way("single", autotune="cudnn"), Way("compiled_streams", 3, "both"), BY_INDUCTOR
    for way in searched:
        found = Rates({PLAIN: 100.0, way.untuned: 100.0, way: 200.0}, {1: 200.0})
        assert Rates.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert (found.way == way) == (way.path == "single")  # the others are no faster than the plain path


def test_what_earlier_versions_found_is_read() -> None:
    on_a_cpu = {"alone": 1000.0, "stacked": {"2": 1500.0, "4": 2000.0}}
    assert Rates.from_dict(on_a_cpu) == Rates({PLAIN: 1000.0, Way("fused", 2): 1500.0, Way("fused", 4): 2000.0}, {})
    on_gpu = {"path": "fused", "networks": 1, "ways": {"single": 100.0, "fused 1": 200.0}, "at_once": {"1": 200.0}}
    assert Rates.from_dict(on_gpu) == Rates({PLAIN: 100.0, CAPTURED: 200.0}, {1: 200.0})
    assert Rates.from_dict(on_gpu).way.autotune == "none"
    searched = {"ways": {"single": 1.0, "compiled 1 autotune=all": 2.0}, "at_once": {}}
    for damaged in ({}, searched, {"ways": {"by hand": 1.0}, "at_once": {}}, {"alone": 1.0, "stacked": {"x": 1.0}}):
        with pytest.raises((KeyError, ValueError)):
            Rates.from_dict(damaged)


def test_a_measurement_has_whole_batches_of_the_data_that_there_are() -> None:
    def images(steps: int, **knobs: int) -> int:
        return Measure(SPEC.replace(**knobs), PLAIN, "cpu", steps).images

    assert images(3) == 3 * 32
    assert images(10**6, train_limit=1000) == 31 * 32
    assert images(10**6, train_limit=1000, batch_size=1000) == 1000


def test_both_ways_are_measured_in_this_process() -> None:
    found = on_a_core(SPEC, [Way("fused", 2), Way("fused", 4)], "cpu", lambda rate: True)
    assert list(found.ways) == [PLAIN, Way("fused", 2), Way("fused", 4)]
    assert all(rate > 0 for rate in found.ways.values())
    assert list(on_a_core(SPEC, [Way("fused", 2)], "cpu", lambda rate: False).ways) == [PLAIN]


def test_a_way_that_cannot_be_compiled_is_none_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*args: Any, **words: Any) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("interplay.stack.step.compiled_form", no_compiler)
    found = on_a_core(SPEC, [COMPILED, Way("fused", 2)], "cpu", lambda rate: True)
    assert list(found.ways) == [PLAIN, Way("fused", 2)]


def test_an_epoch_takes_longer_with_more_images_to_train_on_and_to_look_at() -> None:
    spec = RunSpec(dataset="cifar100", model="cnn", train_limit=1000, precision="fp32")
    # The least of three: a neighbour on the machine may take any one of them.
    short = min(epoch_seconds(spec, "cpu") for _ in range(3))
    long = epoch_seconds(spec.replace(train_limit=20_000), "cpu")
    assert 0 < 2 * short < long
    found = measure_here(Measure(spec, PLAIN, "cpu", 2, 1e-9, tested=256))
    assert found.rate > 0
    assert found.test_seconds > 0


def started() -> WorkerProcess:
    return WorkerProcess(Slot("cpu0", "cpu"))


def test_a_real_process_measures_a_stack() -> None:
    with ProbeWorkers(Measure(SPEC, Way("fused", 4), "cpu"), started) as workers:
        rate = workers.rate(1, window=0.05)
    assert rate is not None, workers.error
    assert rate > 0
    assert workers.memory == 0


class Counted:
    """Starts processes and counts them."""

    count = 0

    def __call__(self) -> WorkerProcess:
        """Start one."""
        self.count += 1
        return started()


def test_processes_that_are_there_measure_again_with_more_beside_them() -> None:
    counted = Counted()
    with ProbeWorkers(Measure(SPEC, PLAIN, "cpu"), counted) as workers:
        first = workers.rate(1, window=0.05)
        both = workers.rate(2, window=0.05)
    assert counted.count == 2
    assert first is not None, workers.error
    assert both is not None, workers.error
    assert min(first, both) > 0


def test_one_process_measures_one_way_after_another_and_a_new_one_after_an_error() -> None:
    counted = Counted()
    with ProbeWorkers(Measure(SPEC, PLAIN, "cpu"), counted) as workers:
        found = []
        for way in (PLAIN, CAPTURED, Way("streams", 2), Way("fused", 3)):
            workers.turn_to(way)
            found.append(workers.rate(1, window=0.05))
        assert counted.count == 1
        assert all(rate is not None and rate > 0 for rate in found), workers.error
        workers.order = replace(workers.order, spec=SPEC.replace(dampening=0.5))  # has no stacked form
        workers.turn_to(CAPTURED)
        assert workers.rate(1, window=0.05) is None
        workers.turn_to(PLAIN)
        assert workers.rate(1, window=0.05) is not None, workers.error
    assert counted.count == 2


def test_a_way_that_cannot_train_is_left_out_with_its_reason() -> None:
    generated = RunSpec(dataset="cifar10", model="hyper_resnet", optimizer="adam", lr=1e-3, precision="fp32")
    with ProbeWorkers(Measure(generated, CAPTURED, "cpu"), started) as workers:
        assert workers.rate(1) is None
    assert workers.error is not None
    assert "ValueError" in workers.error


def test_a_process_that_dies_is_no_measurement() -> None:
    def dying() -> WorkerProcess:
        worker = started()
        worker.kill()
        return worker

    with ProbeWorkers(Measure(SPEC, PLAIN, "cpu"), dying) as workers:
        assert workers.rate(1) is None
    assert workers.error == "it ended without a word"


def test_a_meter_counts_what_falls_into_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    warm = Measure(SPEC, PLAIN, "cpu", steps=10)
    now = iter([0.0, 10.0, 11.0, 12.0, 13.0, 20.0])
    monkeypatch.setattr("interplay.speed.measure.time.perf_counter", lambda: next(now))
    answers: list[Measured] = []
    orders = iter([replace(warm, seconds=2.5), replace(warm, way=CAPTURED)])
    meter = Meter(warm, answers.append, lambda: next(orders))
    epoch = EpochMetrics(1, 0.1, 1.0, 50.0, 1.0, 50.0)
    # Warm-up; then epochs that end 1, 2 and 3 seconds into the window; the next order is for other runs.
    assert [meter.epoch(epoch) for _ in range(4)] == [False, False, False, True]
    assert answers == [Measured(), Measured(320.0)]
    assert meter.next == replace(warm, way=CAPTURED)
    assert time.perf_counter() == 20.0


@pytest.mark.slow
def test_a_process_that_has_searched_measures_no_other_search_of_cudnn() -> None:
    counted = Counted()
    with ProbeWorkers(Measure(SPEC, CAPTURED, "cpu"), counted) as workers:
        for autotune, started in (("none", 1), ("cudnn", 2), ("none", 3), ("inductor", 3), ("both", 4)):
            workers.turn_to(Way("fused", autotune=autotune))  # type: ignore[arg-type]
            assert workers.rate(1, window=0.01) is not None, workers.error
            assert counted.count == started


def test_a_measurement_searches_as_its_way_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def training(*runs: Any, autotune: str, **words: Any) -> None:
        asked.append(autotune)
        raise KeyError

    monkeypatch.setattr("interplay.speed.measure.train", training)
    monkeypatch.setattr("interplay.speed.measure.train_stack", training)
    for way in (PLAIN, Way("single", autotune="cudnn"), Way("streams", 2, "cudnn"), BY_BOTH):
        with pytest.raises(KeyError):
            measure_here(Measure(SPEC, way, "cpu"))
    assert asked == ["none", "cudnn", "cudnn", "both"]


class Searching:
    """A process whose first measurement of all takes memory for a search, and no later one."""

    def __init__(self) -> None:
        self._memory = 20

    def send(self, order: object) -> None:
        """See `ProbeWorker`."""

    def answer(self, seconds: float) -> Measured:
        """See `ProbeWorker`."""
        memory, self._memory = self._memory, 10
        return Measured(1.0, memory)

    def end(self) -> None:
        """See `ProbeWorker`."""


def test_the_memory_of_a_search_counts_when_its_way_is_measured_again_in_the_same_process() -> None:
    with ProbeWorkers(Measure(SPEC, BY_CUDNN, "cpu"), Searching) as workers:
        for way, memory in ((BY_CUDNN, 20), (BY_BOTH, 10), (BY_CUDNN, 20)):
            workers.turn_to(way)
            workers.rate(1)
            assert workers.memory == memory
