"""What the probe of a GPU tries, in which order, and when it stops. The processes are pretended."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from interplay.spec import RunSpec
from interplay.speed import on_gpus
from interplay.speed.break_even import Group, following, groups
from interplay.speed.measure import CONTEXT, ProbeWorker, ProbeWorkers
from interplay.speed.on_gpus import Probe, on_a_gpu
from interplay.speed.rates import PLAIN, Rates, Way
from interplay.train.names import AutotuneName

LARGE = RunSpec(dataset="cifar100", model="resnet18")
SMALL = RunSpec(dataset="digits", model="mlp")
LONG = 1e12
"""Images that nothing costs too much for."""


def never_started() -> ProbeWorker:
    raise AssertionError("a process was started")


class Pretend(ProbeWorkers):
    """Processes that never start. Two are nearly as fast as three; a way without a rate fails."""

    asked: list[tuple[str, int]]
    rates: Mapping[str, float]

    def rate(self, count: int, window: float = 1.0) -> float | None:
        way = str(self.order.way)
        self.asked.append((way, count))
        self.memory = (20 if "autotune" in way else 10) * 2**30
        rate = self.rates.get(way)
        return None if rate is None else rate * {1: 1.0, 2: 1.9, 3: 1.95, 4: 4.0}[count]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> type[Pretend]:
    Pretend.asked = []
    # As measured on an H100, but for the plain path.
    Pretend.rates = {"single": 1e4, "fused 1": 4.0e4, "compiled 1": 4.8e4} | {
        f"{path} {count}": rate
        for path, rates in (("streams", (4.9e4, 5.3e4, 5.3e4)), ("compiled_streams", (5.8e4, 6.1e4, 6.2e4)))
        for count, rate in zip((2, 3, 4), rates, strict=True)
    }
    monkeypatch.setattr(on_gpus, "ProbeWorkers", Pretend)
    return Pretend


def probe(
    spec: RunSpec,
    images: float,
    *,
    most: int = 1,
    gigabytes: int = 80,
    tries: list[Group] | None = None,
    autotune: AutotuneName = "none",
) -> Probe:
    tried = groups(spec, 16) if tries is None else tries
    return Probe(spec, tried, images, most, gigabytes * 2**30, "cuda:0", never_started, autotune)


def ways(asked: list[tuple[str, int]]) -> list[str]:
    return [way for way, count in asked if count == 1]


def test_a_long_study_tries_everything_and_takes_the_fastest(pretended: type[Pretend]) -> None:
    found = on_a_gpu(probe(LARGE, LONG))
    tried = ["single", "fused 1", "streams 2", "streams 3", "streams 4", "compiled 1"]
    assert ways(pretended.asked) == [*tried, "compiled_streams 2", "compiled_streams 3", "compiled_streams 4"]
    assert found.way == Way("compiled_streams", 3)  # four are nearly the same


@pytest.mark.parametrize(
    ("images", "tried"),
    [
        (1e5, ["single"]),  # ten seconds of work
        (5e5, ["single", "fused 1"]),
        (4e6, ["single", "fused 1", "streams 2", "streams 3"]),  # a minute of work
        (2e7, ["single", "fused 1", "streams 2", "streams 3", "streams 4", "compiled 1"]),
    ],
)
def test_what_is_tried_must_be_expected_to_pay(pretended: type[Pretend], images: float, tried: list[str]) -> None:
    on_a_gpu(probe(LARGE, images))
    assert ways(pretended.asked)[: len(tried)] == tried
    spent = 6 * len(pretended.asked)
    assert spent < max(20, images / 1e4)  # never longer than the study would take on the plain path


def test_where_compiled_steps_are_no_faster_they_are_not_put_on_streams(pretended: type[Pretend]) -> None:
    pretended.rates = {**pretended.rates, "compiled 1": 3.9e4}
    found = on_a_gpu(probe(LARGE, LONG))
    assert not [way for way in ways(pretended.asked) if way.startswith("compiled_streams")]
    assert found.way == Way("streams", 3)


def test_a_way_that_fails_is_none_to_choose_and_is_not_tried_again(pretended: type[Pretend]) -> None:
    pretended.rates = {"single": 1e4, "fused 1": 4e4}
    found = on_a_gpu(probe(LARGE, LONG))
    assert found.way == Way("fused")
    assert ways(pretended.asked) == ["single", "fused 1", "streams 2", "compiled 1"]
    assert probe(LARGE, LONG).is_answered_by(Rates.from_dict(found.to_dict()))


def test_nothing_else_is_tried_where_the_plain_path_does_not_run(pretended: type[Pretend]) -> None:
    pretended.rates = {}
    found = on_a_gpu(probe(LARGE, LONG, most=4))
    assert pretended.asked == [("single", 1)]
    assert not any(found.ways.values())
    assert not probe(LARGE, LONG).is_answered_by(found)  # what was wrong with the machine may be mended


def test_stacks_of_small_networks_grow_as_long_as_they_gain(pretended: type[Pretend]) -> None:
    pretended.rates = {"single": 1e4, "fused 1": 1e5, "fused 2": 1.8e5, "fused 4": 3e5, "fused 8": 3.05e5}
    found = on_a_gpu(probe(SMALL, LONG))
    assert ways(pretended.asked)[:5] == ["single", "fused 1", "fused 2", "fused 4", "fused 8"]
    assert "fused 16" not in ways(pretended.asked)
    assert found.way == Way("fused", 4)


def test_what_is_known_is_not_measured_again_and_a_longer_study_asks_for_the_rest(pretended: type[Pretend]) -> None:
    short = on_a_gpu(probe(LARGE, 4e6))
    pretended.asked.clear()
    assert probe(LARGE, 4e6).is_answered_by(short)
    assert not probe(LARGE, LONG).is_answered_by(short)
    long = on_a_gpu(probe(LARGE, LONG), short)
    assert not set(ways(pretended.asked)) & {str(way) for way in short.ways}
    assert probe(LARGE, LONG).is_answered_by(long)
    assert probe(LARGE, 1e5).is_answered_by(long)


@pytest.mark.parametrize(("gigabytes", "tried"), [(80, 4), (35, 3), (21, 1), (1, 0)])
def test_no_more_processes_are_tried_than_memory_holds(pretended: type[Pretend], gigabytes: int, tried: int) -> None:
    found = on_a_gpu(probe(LARGE, LONG, most=4, gigabytes=gigabytes, tries=[]))
    assert found.ways == {PLAIN: 1e4}
    # The first process tells what it takes; it runs whatever that is.
    assert len(found.at_once) == max(1, tried)
    assert max(found.at_once) * (10 * 2**30 + CONTEXT) <= max(gigabytes * 2**30, 10 * 2**30 + CONTEXT)


def test_several_processes_are_tried_with_the_fastest_way_and_only_where_they_pay(pretended: type[Pretend]) -> None:
    found = on_a_gpu(probe(LARGE, LONG, most=3))
    assert [each for each in pretended.asked if each[1] > 1] == [("compiled_streams 3", 2), ("compiled_streams 3", 3)]
    assert list(found.at_once) == [1, 2, 3]
    pretended.asked.clear()
    assert on_a_gpu(probe(LARGE, 2e6, most=3)).at_once == {}
    assert [count for _, count in pretended.asked if count > 1] == []


def test_generated_networks_have_the_plain_path_alone() -> None:
    assert groups(LARGE.replace(model="hyper_resnet", dataset="cifar10"), 16) == []
    assert following([], {PLAIN: 1.0}, LONG) is None
    assert [way.networks for way in groups(LARGE, 2)[1].ways] == [2]  # two runs are left


# -- longer searches ---------------------------------------------------------------------------------------------------

BEST = "compiled_streams 3"
CUDNN, INDUCTOR, BOTH = (f"{BEST} autotune={name}" for name in ("cudnn", "inductor", "both"))


def searched(asked: list[tuple[str, int]]) -> list[str]:
    return [way for way in ways(asked) if "autotune" in way]


@pytest.mark.parametrize(
    ("gains", "tried", "best"),
    [
        ({CUDNN: 1.04, BOTH: 1.08}, [CUDNN, BOTH], BOTH),
        ({CUDNN: 1.04, BOTH: 1.05}, [CUDNN, BOTH], CUDNN),
        ({CUDNN: 1.01, INDUCTOR: 1.04}, [CUDNN, INDUCTOR], INDUCTOR),  # one in a hundred is noise
        ({INDUCTOR: 1.04}, [CUDNN, INDUCTOR], INDUCTOR),  # the other ran out of memory
        ({}, [CUDNN, INDUCTOR], BEST),
    ],
)
def test_longer_searches_are_tried_on_the_fastest_way_alone_and_stay_where_they_gain(
    pretended: type[Pretend], gains: dict[str, float], tried: list[str], best: str
) -> None:
    pretended.rates = {**pretended.rates, **{way: 6.1e4 * gain for way, gain in gains.items()}}
    asks = probe(LARGE, LONG, autotune="auto")
    found = on_a_gpu(asks)
    assert searched(pretended.asked) == ways(pretended.asked)[-len(tried) :] == tried
    assert str(asks.best(found.ways)) == str(found.way) == best
    assert asks.is_answered_by(Rates.from_dict(found.to_dict()))
    pretended.asked.clear()
    assert on_a_gpu(asks, found) == found
    assert pretended.asked == []


@pytest.mark.parametrize(("minutes", "tried"), [(30, []), (90, [CUDNN]), (200, [CUDNN]), (300, [CUDNN, INDUCTOR])])
def test_a_longer_search_is_tried_where_it_should_save_more_than_it_costs(
    pretended: type[Pretend], minutes: int, tried: list[str]
) -> None:
    on_a_gpu(probe(LARGE, 60 * minutes * 6.1e4, autotune="auto"))
    assert searched(pretended.asked) == tried


def test_what_a_long_study_found_is_no_reason_for_a_short_one_to_search(pretended: type[Pretend]) -> None:
    pretended.rates = {**pretended.rates, CUDNN: 6.3e4, BOTH: 6.5e4}
    found = on_a_gpu(probe(LARGE, LONG, autotune="auto"))
    best = {
        minutes: str(probe(LARGE, 60 * minutes * 6.1e4, autotune="auto").best(found.ways)) for minutes in (5, 60, 300)
    }
    assert best == {5: BEST, 60: CUDNN, 300: BOTH}


def test_a_search_that_is_asked_for_is_tried_at_once_and_taken_if_it_runs(pretended: type[Pretend]) -> None:
    captured = "fused 1 autotune=cudnn"
    pretended.rates = {**pretended.rates, captured: 3.9e4}
    for asked in ("cudnn", "both"):  # nothing is compiled in so short a study
        pretended.asked.clear()
        asks = probe(LARGE, 5e5, autotune=asked)  # type: ignore[arg-type]
        found = on_a_gpu(asks)
        assert ways(pretended.asked) == ["single", "fused 1", captured]
        assert str(asks.best(found.ways)) == captured
        assert asks.is_answered_by(found)
    del pretended.rates[captured]
    asks = probe(LARGE, 5e5, autotune="cudnn")
    assert asks.best(on_a_gpu(asks).ways) == Way("fused")
    for nothing in ("none", "inductor"):
        pretended.asked.clear()
        on_a_gpu(probe(LARGE, 5e5, autotune=nothing))  # type: ignore[arg-type]
        assert searched(pretended.asked) == []


def test_the_memory_of_a_longer_search_counts(pretended: type[Pretend]) -> None:
    pretended.rates = {**pretended.rates, CUDNN: 6.3e4}
    for autotune, most in (("none", 3), ("auto", 2)):  # of 10 and of 20 GiB each, with what a process takes besides
        found = on_a_gpu(probe(LARGE, LONG, most=3, gigabytes=45, autotune=autotune))  # type: ignore[arg-type]
        assert max(found.at_once) == most


def test_every_path_with_convolutions_is_searched_for_and_no_other(pretended: type[Pretend]) -> None:
    hyper = LARGE.replace(model="hyper_resnet", dataset="cifar10")
    pretended.rates = {"single": 1e4, "single autotune=cudnn": 1.05e4}
    found = on_a_gpu(probe(hyper, LONG, autotune="auto"))
    assert ways(pretended.asked) == ["single", "single autotune=cudnn"]
    assert found.way == Way("single", autotune="cudnn")
    pretended.asked.clear()
    pretended.rates = {"single": 1e4, "fused 1": 1e5, "compiled 1": 1.5e5}
    on_a_gpu(probe(SMALL, LONG, autotune="auto"))
    assert searched(pretended.asked) == ["compiled 1 autotune=inductor"]
