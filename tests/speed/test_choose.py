from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interplay.errors import SpecError
from interplay.spec import RunSpec
from interplay.speed.choose import USUAL_SIZE, Stacking, choose
from interplay.speed.sharing import Sharing, Way
from interplay.speed.stacks import Pace, cached, measure
from interplay.stack.grouping import bytes_per_network

BASE = RunSpec(dataset="digits", model="mlp", precision="fp32", epochs=2000)
RUNS = [BASE.replace(seed=seed) for seed in range(40)]
PLENTY = 2**40


def chosen(runs: list[RunSpec] = RUNS, **words: Any) -> Stacking:
    return choose(runs, **{"free": PLENTY, "workers": 2, **words})


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A machine on which stacks of 8 are three times as fast; returns what was asked of it."""
    asked: list[tuple[str, int]] = []

    def stand_in(spec: RunSpec, most: int, device: str, worthwhile: Any) -> Pace:
        asked.append((spec.model, most))
        rates = {2: 1500.0, 4: 2000.0, 8: 3000.0, 16: 3100.0}
        return Pace(1000.0, {k: v for k, v in rates.items() if k <= most} if worthwhile(1000.0) else {})

    monkeypatch.setattr("interplay.speed.choose.measure", stand_in)
    return asked


@pytest.mark.parametrize(
    ("alone", "stacked", "best"),
    [
        (100.0, {}, 0),
        (100.0, {2: 90.0, 4: 110.0}, 0),  # within the noise
        (100.0, {2: 150.0, 4: 200.0, 8: 300.0, 16: 310.0}, 8),  # nearly as fast, and half as large
        (100.0, {2: 120.0, 4: 90.0}, 2),
        (100.0, {4: 200.0, 8: 400.0}, 8),
    ],
)
def test_the_smallest_stack_that_is_nearly_the_fastest_is_taken(
    alone: float, stacked: dict[int, float], best: int
) -> None:
    pace = Pace(alone, stacked)
    assert pace.best == best
    assert Pace.from_dict(pace.to_dict()) == pace


def test_auto_stacks_what_a_probe_finds_faster_and_says_so(probed: list[tuple[str, int]]) -> None:
    heard: list[str] = []
    stacking = chosen(say=heard.append)
    assert stacking.limit(RUNS[0]) == 8
    assert stacking.facts(RUNS[0])["probe"]["stacked"]["8"] == 3000.0
    assert len(heard) == 1
    assert "stacks of 8, 3.0 times as fast" in heard[0]
    assert probed == [("mlp", 16)]
    assert chosen(size=3).limit(RUNS[0]) == 2  # no more than asked for


def test_auto_leaves_runs_alone_where_a_stack_cannot_pay(probed: list[tuple[str, int]]) -> None:
    others = [spec.replace(model="resnet8") for spec in RUNS], [spec.replace(dampening=0.1) for spec in RUNS]
    for runs in (RUNS[:3], *others, [RUNS[0]]):
        assert chosen(runs) == Stacking()
    assert chosen(alone=True) == Stacking()
    assert chosen(path="single") == Stacking()
    assert probed == []
    assert chosen([spec.replace(epochs=3) for spec in RUNS]) == Stacking()  # seconds of work: not worth a probe
    assert probed == [("mlp", 16)]


def test_a_probe_that_finds_nothing_faster_is_noted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interplay.speed.choose.measure", lambda *words: Pace(1000.0, {2: 900.0}))
    stacking = chosen()
    assert stacking.limit(RUNS[0]) == 0
    assert stacking.facts(RUNS[0]) == {"probe": {"alone": 1000.0, "stacked": {"2": 900.0}}}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str], int]]:
    """A GPU on which captured steps are twice as fast and compiled ones three times; what was asked of it."""
    asked: list[tuple[int, list[str], int]] = []

    def stand_in(spec: RunSpec, ways: list[Way], most: int, free: int, device: str, visible: str) -> Sharing:
        asked.append((spec.batch_size, [str(way) for way in ways], most))
        assert (device, visible) == ("cuda:0", "1")
        rates = {str(way): {"single": 1e4, "fused": 2e4, "compiled": 3e4}[way.path] for way in ways}
        at_once = {count: 2e4 * (1 + 0.5 * (count - 1) * (spec.batch_size < 256)) for count in range(1, most + 1)}
        return Sharing(ways[-1], rates, at_once)

    monkeypatch.setattr("interplay.speed.choose.measure_gpu", stand_in)
    monkeypatch.setattr("interplay.speed.choose.gpu_model", lambda visible: "Test GPU")
    return asked


LARGE = RunSpec(dataset="cifar100", model="resnet18")


def on_gpus(runs: list[RunSpec], **words: Any) -> Stacking:
    return chosen(runs, **{"device": "cuda:1", "visible": "1", "seats": 3, "workers": 3, **words})


def test_on_a_gpu_auto_takes_the_path_and_the_number_at_once_that_a_probe_finds(
    gpu: list[tuple[int, list[str], int]], tmp_path: Path
) -> None:
    small = [LARGE.replace(batch_size=64, lr=lr) for lr in (0.1, 0.2, 0.3, 0.4)]
    large = [LARGE.replace(batch_size=256, lr=0.01 * number) for number in range(1, 21)]
    for _ in range(2):  # the second time from the notes
        stacking = on_gpus([*small, *large], notes=tmp_path / "pace.json")
        assert stacking.limit(small[0]) == stacking.limit(large[0]) == 1
        assert (stacking.share(small[0], 3), stacking.share(large[0], 3)) == (1 / 3, 1)
        assert not stacking.is_compiled(small[0])
        assert stacking.facts(small[0])["probe"]["path"] == "fused"
    assert gpu == [(64, ["single", "fused 1"], 3), (256, ["single", "fused 1"], 3)]


def test_what_a_gpu_probe_asks_depends_on_the_work(gpu: list[tuple[int, list[str], int]]) -> None:
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    stacking = on_gpus(many)
    assert gpu.pop() == (128, ["single", "fused 1", "compiled 1"], 3)
    assert stacking.is_compiled(many[0])
    assert on_gpus(many[:4]) == Stacking()  # minutes of work: not worth a probe
    assert on_gpus(many, gpus=100) == Stacking()
    assert gpu == []
    # Runs that something follows, or that are asked to, stay on the plain path; how many at once is measured.
    for words in ({"alone": True}, {"path": "single"}):
        stacking = on_gpus(many, **words)
        assert gpu.pop() == (128, ["single"], 3)
        assert (stacking.limit(many[0]), stacking.share(many[0], 3)) == (0, 1 / 3)
    hyper = [spec.replace(model="hyper_resnet", dataset="cifar10") for spec in many]
    on_gpus(hyper)
    assert gpu.pop() == (128, ["single"], 3)
    small = [BASE.replace(seed=seed, batch_size=8) for seed in range(40)]
    on_gpus(small)
    assert gpu.pop() == (8, ["single", "fused 1", "fused 2", "fused 4", "fused 8", "fused 16", "compiled 1"], 3)


def test_who_says_how_many_share_a_gpu_is_believed(gpu: list[tuple[int, list[str], int]]) -> None:
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    stacking = on_gpus(many, seats=1)
    assert gpu.pop()[2] == 1
    assert stacking.share(many[0], 5) == 1 / 5


def test_a_probe_that_fails_leaves_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interplay.speed.choose.measure_gpu", lambda *words: Sharing(Way("single"), {}, {}))
    heard: list[str] = []
    assert on_gpus([LARGE.replace(lr=0.001 * number) for number in range(1, 101)], say=heard.append) == Stacking()
    assert "the probe failed" in heard[-1]


def test_captured_steps_of_a_large_network_are_not_stacked_on_a_gpu() -> None:
    for path in ("fused", "compiled"):
        stacking = on_gpus([LARGE, *RUNS], path=path)
        assert (stacking.limit(LARGE), stacking.limit(RUNS[0])) == (1, USUAL_SIZE)
        assert stacking.is_compiled(LARGE) is (path == "compiled")


def test_fused_stacks_whatever_has_a_stacked_form(probed: list[tuple[str, int]]) -> None:
    alone = BASE.replace(dampening=0.1)
    stacking = chosen([*RUNS[:2], BASE.replace(model="resnet8"), alone], path="fused")
    assert stacking.limit(RUNS[0]) == stacking.limit(BASE.replace(model="resnet8")) == USUAL_SIZE
    assert stacking.limit(alone) == 0
    assert chosen(path="fused", size=5).limit(RUNS[0]) == 5
    assert probed == []
    with pytest.raises(SpecError, match="trackers and instruments"):
        chosen(path="fused", alone=True)


def test_no_stack_takes_more_memory_than_there_is(probed: list[tuple[str, int]]) -> None:
    each = bytes_per_network(BASE, (1, 8, 8), 10)
    assert chosen(path="fused", free=2 * 5 * each).limit(BASE) == 5
    assert chosen(free=2 * 5 * each).limit(BASE) == 4
    assert probed == [("mlp", 4)]


def test_a_probe_is_made_once_for_a_machine(tmp_path: Path) -> None:
    notes, asked = tmp_path / "outputs" / "pace.json", []

    def work() -> Pace:
        asked.append(1)
        return Pace(1000.0, {2: 1500.0})

    for _ in range(2):
        assert cached(BASE, 2, notes, work) == Pace(1000.0, {2: 1500.0})
    assert len(asked) == 1
    cached(BASE.replace(batch_size=32), 2, notes, work)
    cached(BASE, 4, notes, work)
    assert len(asked) == 3
    notes.write_text("{")  # cut by a kill: measured anew
    cached(BASE, 2, notes, work)
    assert len(asked) == 4


def test_the_probe_measures_both_ways() -> None:
    pace = measure(BASE.replace(batch_size=32), 4, "cpu")
    assert set(pace.stacked) == {2, 4}
    assert all(rate > 0 for rate in (pace.alone, *pace.stacked.values()))
    assert measure(BASE, 4, "cpu", lambda rate: False).stacked == {}
