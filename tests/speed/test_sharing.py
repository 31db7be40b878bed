from __future__ import annotations

import io
from typing import Any

import pytest

from interplay.spec import RunSpec
from interplay.speed import sharing
from interplay.speed.rate import Clock
from interplay.speed.sharing import CONTEXT, Crowd, Sharing, Way, climb, fastest, few, measure_gpu

PLAIN, CAPTURED, COMPILED = Way("single"), Way("fused"), Way("compiled")
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


def test_what_was_found_survives_a_file() -> None:
    found = Sharing(COMPILED, {"single": 100.0, "compiled 1": 200.0}, {1: 200.0, 2: 300.0, 3: 310.0})
    assert Sharing.from_dict(found.to_dict()) == found
    assert found.best == 2


def test_a_real_process_measures_a_stack() -> None:
    with Crowd(SPEC, Way("fused", 4), "cpu") as crowd:
        rate = crowd.rate(1, window=0.05)
    assert rate is not None, crowd.error
    assert rate > 0
    assert crowd.memory == 0


def test_processes_that_are_there_measure_again_with_more_beside_them() -> None:
    with Crowd(SPEC, PLAIN, "cpu") as crowd:
        first = crowd.rate(1, window=0.05)
        both = crowd.rate(2, window=0.05)
        assert len(crowd._processes) == 2
    assert first is not None, crowd.error
    assert both is not None, crowd.error
    assert min(first, both) > 0
    assert crowd.memory == 0
    assert all(process.returncode is not None for process in crowd._processes)


def test_a_way_that_cannot_train_is_left_out_with_its_reason() -> None:
    generated = RunSpec(dataset="cifar10", model="hyper_resnet", optimizer="adam", lr=1e-3, precision="fp32")
    with Crowd(generated, CAPTURED, "cpu") as crowd:
        assert crowd.rate(1) is None
    assert crowd.error is not None
    assert "ValueError" in crowd.error


class Pretend(Crowd):
    """Processes that never start: three fit, and two are nearly as fast as three."""

    asked: list[tuple[str, int]]

    def rate(self, count: int, window: float = 1.0) -> float | None:
        way = f"{self._order['path']} {self._order['networks']}"
        self.asked.append((way, count))
        self.memory = 10 * 2**30
        return {1: 100.0, 2: 190.0, 3: 195.0, 4: 400.0}[count] * (3 if way == "fused 1" else 1)


@pytest.mark.parametrize(("gigabytes", "tried"), [(80, 4), (35, 3), (21, 1), (1, 0)])
def test_no_more_processes_are_tried_than_memory_holds(
    monkeypatch: pytest.MonkeyPatch, gigabytes: int, tried: int
) -> None:
    Pretend.asked = []
    monkeypatch.setattr(sharing, "Crowd", Pretend)
    found = measure_gpu(SPEC, [PLAIN, CAPTURED], 4, gigabytes * 2**30, "cuda:0", "3")
    assert found.way == CAPTURED
    assert found.ways == {"single": 100.0, "fused 1": 300.0}
    assert Pretend.asked[:3] == [("single 1", 1), ("fused 1", 1), ("fused 1", 1)]
    # The first process tells what it takes; it runs whatever that is.
    assert len(found.at_once) == max(1, tried)
    assert max(found.at_once) * (10 * 2**30 + CONTEXT) <= max(gigabytes * 2**30, 10 * 2**30 + CONTEXT)


def test_a_clock_counts_what_falls_into_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 11.0, 12.0, 13.0, 20.0])
    monkeypatch.setattr("interplay.speed.rate.time.perf_counter", lambda: next(now))
    said: list[dict[str, Any]] = []
    clock = Clock(600, io.StringIO("2.5\n"), said.append, lambda: 7)
    ends = [clock.epoch() for _ in range(4)]  # warm-up; then epochs that end 1, 2 and 3 seconds into the window
    assert ends == [False, False, False, True]
    assert said == [{"ready": True}, {"rate": 600.0, "memory": 7}, {"ready": True}]
