from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interplay.devices import cpu_slots
from interplay.lab.run import _speed
from interplay.lab.settings import Settings
from interplay.spec import RunSpec
from interplay.speed.break_even import following
from interplay.speed.choose import USUAL_SIZE, Machine, choose, named, remembered
from interplay.speed.on_gpus import Probe
from interplay.speed.plan import SpeedPlan
from interplay.speed.rates import PLAIN, Rates, Way
from interplay.stack.memory import bytes_per_network
from interplay.study.presets import documented_sets
from interplay.study.study import combined

BASE = RunSpec(dataset="digits", model="mlp", precision="fp32", epochs=2000)
RUNS = [BASE.replace(seed=seed) for seed in range(40)]
LARGE = RunSpec(dataset="cifar100", model="resnet18")
PLENTY = 2**40
MACHINE = [field.name for field in dataclasses.fields(Machine)]


def chosen(runs: list[RunSpec] = RUNS, **words: Any) -> SpeedPlan:
    here = {"free": PLENTY, "workers": 2, **{name: words.pop(name) for name in MACHINE if name in words}}
    return choose(runs, Machine(**here), **words)


def stacked(alone: float, sizes: dict[int, float]) -> Rates:
    return Rates({PLAIN: alone} | {Way("fused", size): rate for size, rate in sizes.items()}, {})


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """A machine on which stacks of 8 are three times as fast; returns what was asked of it."""
    asked: list[tuple[str, int]] = []

    def stand_in(spec: RunSpec, ways: list[Way], device: str, worthwhile: Callable[[float], bool]) -> Rates:
        asked.append((spec.model, ways[-1].networks))
        rates = {2: 1500.0, 4: 2000.0, 8: 3000.0, 16: 3100.0}
        known = {way.networks: rates[way.networks] for way in ways}
        return stacked(1000.0, known if worthwhile(1000.0) else {})

    monkeypatch.setattr("interplay.speed.choose.on_a_core", stand_in)
    return asked


def test_auto_stacks_what_a_probe_finds_faster_and_says_so(probed: list[tuple[str, int]]) -> None:
    heard: list[str] = []
    speed = chosen(say=heard.append)
    assert speed.limit(RUNS[0]) == 8
    assert speed.facts(RUNS[0])["probe"]["ways"]["fused 8"] == 3000.0
    measuring, said = heard
    assert "measuring this machine" in measuring
    assert "stacks of 8, 3.0 times as fast" in said
    assert probed == [("mlp", 16)]
    assert chosen(size=3).limit(RUNS[0]) == 2  # no more than asked for


def test_kinds_that_differ_in_their_optimizer_are_told_apart(probed: list[tuple[str, int]]) -> None:
    heard: list[str] = []
    chosen([*RUNS, *(spec.replace(optimizer="adamw", lr=1e-3) for spec in RUNS)], say=heard.append)
    assert [line.split(":")[0] for line in heard[::2]] == [
        "mlp by sgd at batch size 128",
        "mlp by adamw at batch size 128",
    ]


def test_auto_leaves_runs_alone_where_a_stack_cannot_pay(probed: list[tuple[str, int]]) -> None:
    others = [spec.replace(model="resnet8", epochs=20) for spec in RUNS], [s.replace(dampening=0.1) for s in RUNS]
    for runs in (RUNS[:3], *others, [RUNS[0]]):
        assert chosen(runs) == SpeedPlan()
    assert chosen(path="single") == SpeedPlan()
    assert probed == []
    assert chosen([spec.replace(epochs=3) for spec in RUNS]) == SpeedPlan()  # seconds of work: not worth a probe
    assert probed == [("mlp", 16)]


def test_a_probe_that_finds_nothing_faster_is_noted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interplay.speed.choose.on_a_core", lambda *words: stacked(1000.0, {2: 900.0}))
    speed = chosen()
    assert speed.limit(RUNS[0]) == 0
    assert speed.facts(RUNS[0]) == {"probe": stacked(1000.0, {2: 900.0}).to_dict()}


def test_on_a_cpu_large_networks_are_compiled_where_a_probe_finds_that_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def stand_in(spec: RunSpec, ways: list[Way], device: str, worthwhile: Callable[[float], bool]) -> Rates:
        asked.append([str(way) for way in ways])
        return Rates({PLAIN: 1000.0, **({Way("compiled"): 1400.0} if worthwhile(1000.0) else {})}, {})

    monkeypatch.setattr("interplay.speed.choose.on_a_core", stand_in)
    large = [LARGE.replace(model="resnet8", precision="fp32", batch_size=32, lr=lr, epochs=15) for lr in (0.1, 0.2)]
    heard: list[str] = []
    speed = chosen(large, say=heard.append)
    assert (speed.limit(large[0]), speed.path(large[0])) == (1, "compiled")
    assert "compiled, 1.4 times as fast" in heard[-1]
    assert asked == [["compiled 1"]]
    assert chosen(large, path="single") == SpeedPlan()
    assert chosen([spec.replace(epochs=5) for spec in large]) == SpeedPlan()  # minutes of work
    monkeypatch.setattr("interplay.speed.choose.has_compiler", lambda: False)
    assert chosen(large) == SpeedPlan()
    assert len(asked) == 1


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str], int]]:
    """A GPU on which captured steps are twice as fast and compiled ones three times; what was asked of it."""
    asked: list[tuple[int, list[str], int]] = []

    def stand_in(probe: Probe, known: Rates) -> Rates:
        assert (probe.device, probe.start()) == ("cuda:0", "a worker")
        speeds = {"single": 1e4, "fused": 2e4, "streams": 2.05e4, "compiled": 3e4, "compiled_streams": 3e4}
        rates = {**known.ways, PLAIN: speeds["single"]}
        while (way := following(probe.tries, rates, probe.images)) is not None:
            rates[way] = speeds[way.path]
        tried = [str(way) for way in rates if way != PLAIN and way not in known.ways]
        asked.append((probe.spec.batch_size, tried, probe.most))
        gain = 0.5 * (probe.spec.batch_size < 256)
        at_once = {count: 2e4 * (1 + gain * (count - 1)) for count in range(1, probe.most + 1)}
        return Rates(rates, at_once if probe.most > 1 else {})

    monkeypatch.setattr("interplay.speed.choose.on_a_gpu", stand_in)
    monkeypatch.setattr("interplay.speed.choose.gpu_model", lambda visible: "Test GPU")
    return asked


def on_gpus(runs: list[RunSpec], **words: Any) -> SpeedPlan:
    return chosen(
        runs, **{"device": "cuda:1", "visible": "1", "slots": 3, "workers": 3, "start": lambda: "a worker", **words}
    )


def test_on_a_gpu_auto_takes_the_path_and_the_number_at_once_that_a_probe_finds(
    gpu: list[tuple[int, list[str], int]], tmp_path: Path
) -> None:
    small = [LARGE.replace(batch_size=64, lr=lr) for lr in (0.1, 0.2, 0.3)]
    large = [LARGE.replace(batch_size=256, lr=0.01 * number) for number in range(1, 11)]
    for _ in range(2):  # the second time from the notes
        speed = on_gpus([*small, *large], notes=tmp_path / "pace.json")
        assert speed.limit(small[0]) == speed.limit(large[0]) == 1
        assert (speed.share(small[0], 3), speed.share(large[0], 3)) == (1 / 3, 1)
        assert speed.path(small[0]) == "compiled"
        assert speed.facts(small[0])["probe"]["path"] == "compiled"
    tried = ["fused 1", "streams 2", "streams 3", "compiled 1", "compiled_streams 2", "compiled_streams 3"]
    assert gpu == [(64, tried, 3), (256, tried, 3)]


def test_what_a_gpu_probe_asks_depends_on_the_work(gpu: list[tuple[int, list[str], int]]) -> None:
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    speed = on_gpus(many)
    tried = gpu.pop()[1]
    assert {way.split()[0] for way in tried} == {"fused", "streams", "compiled", "compiled_streams"}
    assert speed.path(many[0]) == "compiled"
    few = [spec.replace(epochs=20) for spec in many[:2]]
    assert on_gpus(few).path(few[0]) == "fused"  # minutes of work: Inductor would cost more than it saves
    assert gpu.pop() == (128, ["fused 1", "streams 2"], 3)
    assert on_gpus(few[:1]) == SpeedPlan()  # a minute or two: not even the plain path is measured
    assert on_gpus(many, gpus=1000) == SpeedPlan()
    assert gpu == []
    # Runs that are asked to stay on the plain path; how many at once is measured.
    speed = on_gpus(many, path="single")
    assert gpu.pop() == (128, [], 3)
    assert (speed.limit(many[0]), speed.share(many[0], 3)) == (0, 1 / 3)
    hyper = [spec.replace(model="hyper_resnet", dataset="cifar10") for spec in many]
    on_gpus(hyper)
    assert gpu.pop() == (128, [], 3)
    small = [BASE.replace(seed=seed, batch_size=8) for seed in range(40)]
    on_gpus(small)
    assert gpu.pop()[1][:2] == ["fused 1", "fused 2"]  # two are no faster than one: larger stacks are not tried


@pytest.mark.parametrize("gpus", [1, 8])
def test_the_documented_programme_is_probed_on_one_gpu_and_on_eight(
    gpu: list[tuple[int, list[str], int]], gpus: int
) -> None:
    programme = list(combined(documented_sets()).specs)
    speed = on_gpus(programme, gpus=gpus)
    asked = {batch: found for batch, found, _ in gpu}
    assert asked[128][:2] == ["fused 1", "streams 2"]
    assert "compiled 1" in asked[128]
    assert len(gpu) == len(asked)  # one probe of each kind for all GPUs
    assert speed.limit(next(spec for spec in programme if spec.batch_size == 128)) == 1


def test_who_says_how_many_share_a_gpu_is_believed(gpu: list[tuple[int, list[str], int]]) -> None:
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    speed = on_gpus(many, slots=1)
    assert gpu.pop()[2] == 1
    assert speed.share(many[0], 5) == 1 / 5


def test_a_probe_that_fails_leaves_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interplay.speed.choose.on_a_gpu", lambda *words: Rates({PLAIN: 0.0}, {}))
    heard: list[str] = []
    assert on_gpus([LARGE.replace(lr=0.001 * number) for number in range(1, 101)], say=heard.append) == SpeedPlan()
    assert "the probe failed" in heard[-1]


def test_captured_steps_of_a_large_network_are_not_stacked_on_a_gpu() -> None:
    for path in ("fused", "compiled"):
        speed = on_gpus([LARGE, *RUNS], path=path)
        assert (speed.limit(LARGE), speed.limit(RUNS[0])) == (1, USUAL_SIZE)
        assert speed.path(LARGE) == path


def test_streams_are_for_every_network_on_a_gpu_and_taken_where_a_probe_finds_them_fastest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert [on_gpus([LARGE], path="streams", size=size).limit(LARGE) for size in (0, 8)] == [3, 8]
    for path in ("streams", "compiled_streams"):
        assert on_gpus([LARGE], path=path).path(LARGE) == path
    rates = Rates({PLAIN: 1e4, Way("fused"): 4.5e4, Way("streams", 2): 5.5e4, Way("streams", 4): 6e4}, {1: 6e4, 2: 6e4})
    assert Rates.from_dict(rates.to_dict()) == rates
    monkeypatch.setattr("interplay.speed.choose.on_a_gpu", lambda *words: rates)
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    speed = on_gpus(many)
    assert (speed.limit(many[0]), speed.path(many[0]), speed.share(many[0], 3)) == (4, "streams", 1)


def test_fused_stacks_whatever_has_a_stacked_form(probed: list[tuple[str, int]]) -> None:
    alone = BASE.replace(dampening=0.1)
    speed = chosen([*RUNS[:2], BASE.replace(model="resnet8"), alone], path="fused")
    assert speed.limit(RUNS[0]) == speed.limit(BASE.replace(model="resnet8")) == USUAL_SIZE
    assert speed.limit(alone) == 0
    assert chosen(path="fused", size=5).limit(RUNS[0]) == 5
    assert probed == []


def test_no_stack_takes_more_memory_than_there_is(probed: list[tuple[str, int]]) -> None:
    each = bytes_per_network(BASE, (1, 8, 8), 10)
    assert chosen(path="fused", free=2 * 5 * each).limit(BASE) == 5
    assert chosen(free=2 * 5 * each).limit(BASE) == 4
    assert probed == [("mlp", 4)]


def test_a_probe_is_made_once_for_a_machine(tmp_path: Path) -> None:
    notes, asked = tmp_path / "outputs" / "pace.json", []

    def work(known: Rates) -> Rates:
        asked.append(1)
        return stacked(1000.0, {2: 1500.0})

    def cached(name: str) -> Rates:
        return remembered(name, notes, work, lambda found: len(found.ways) > 1)

    for _ in range(2):
        assert cached("mlp K<=2") == stacked(1000.0, {2: 1500.0})
    assert len(asked) == 1
    cached("mlp K<=4")
    assert len(asked) == 2
    assert cached("mlp K<=2") == cached("mlp K<=4")
    for damage in ("{", json.dumps({"mlp K<=2": {"alone": 1.0}}), json.dumps({"mlp K<=2": 7})):
        notes.write_text(damage)  # cut by a kill, or changed by hand: measured anew
        asked.clear()
        cached("mlp K<=2")
        assert len(asked) == 1
    notes.write_text(json.dumps({"mlp K<=2": {"alone": 10.0, "stacked": {"2": 30.0}}}))  # as it was written before
    assert cached("mlp K<=2") == stacked(10.0, {2: 30.0})
    assert len(asked) == 1


def test_streams_of_large_batches_may_take_the_memory_of_a_whole_gpu(gpu: list[tuple[int, list[str], int]]) -> None:
    many = [LARGE.replace(batch_size=512, lr=0.001 * number) for number in range(1, 101)]
    each = bytes_per_network(many[0], (3, 32, 32), 100)
    on_gpus(many, free=2 * each, slots=3)  # a third of the GPU holds one network, and the whole three
    assert "streams 3" in gpu.pop()[1]
    on_gpus(many, free=each // 2, slots=3)
    assert not [way for way in gpu.pop()[1] if "streams" in way]
    for path in ("streams", "compiled_streams"):  # asked for, they have it as well
        speed = on_gpus(many, path=path, free=2 * each, slots=3)
        assert (speed.limit(many[0]), speed.share(many[0], 3)) == (3, 1)
    on_cpu = chosen(many, path="streams", free=2 * each)
    assert (on_cpu.limit(many[0]), on_cpu.share(many[0], 3)) == (1, 1 / 3)


def test_a_gpu_is_not_probed_without_workers_that_do_it(gpu: list[tuple[int, list[str], int]]) -> None:
    assert on_gpus([LARGE.replace(lr=0.001 * number) for number in range(1, 101)], start=None) == SpeedPlan()
    assert gpu == []


def test_a_longer_search_that_is_asked_for_is_for_every_kind_of_run() -> None:
    for path in ("compiled", "streams"):
        speed = on_gpus([LARGE, *RUNS], path=path, autotune="both")
        assert [speed.autotune(spec) for spec in (LARGE, RUNS[0])] == ["both", "both"]
    alone = LARGE.replace(dampening=0.1)  # never in a stack
    assert on_gpus([LARGE, alone], path="compiled", autotune="both").autotune(alone) == "both"
    for autotune in ("auto", "none"):  # nothing is measured where the path is said
        assert on_gpus([LARGE], path="compiled", autotune=autotune).autotunes == {}
    # Too short to measure anything, on the plain path.
    assert on_gpus([LARGE.replace(epochs=1)], autotune="cudnn").autotune(LARGE.replace(epochs=1)) == "cudnn"


@pytest.mark.parametrize(("autotune", "rate", "taken"), [
    ("auto", 5.2e4, "cudnn"), ("auto", 5.05e4, "none"), ("cudnn", 5.05e4, "cudnn"), ("cudnn", 0.0, "none"),
])  # fmt: skip
def test_what_a_probe_finds_of_a_longer_search_is_taken_and_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, autotune: str, rate: float, taken: str
) -> None:
    asked: list[Probe] = []

    def stand_in(probe: Probe, known: Rates) -> Rates:
        asked.append(probe)
        ways = {PLAIN: 1e4, Way("fused"): 4e4, Way("compiled"): 5e4, Way("compiled", autotune="cudnn"): rate}
        failed = {way: 0.0 for group in probe.tries for way in group.ways} | {Way("compiled", 1, "inductor"): 0.0}
        return Rates({**failed, **ways, Way("compiled", 1, "both"): 0.0}, {1: 5e4, 2: 5e4, 3: 5e4})

    monkeypatch.setattr("interplay.speed.choose.on_a_gpu", stand_in)
    monkeypatch.setattr("interplay.speed.choose.gpu_model", lambda visible: "Test GPU")
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    heard: list[str] = []
    for _ in range(2):
        speed = on_gpus(many, autotune=autotune, notes=tmp_path / "pace.json", say=heard.append)
        assert (speed.path(LARGE), speed.autotune(LARGE)) == ("compiled", taken)
    assert len(asked) == 1
    assert any("without autotune=cudnn, which fails" in text for text in heard) == (rate == 0.0)
    # Who asks otherwise is measured again.
    on_gpus(many, autotune="none", notes=tmp_path / "pace.json")
    assert [probe.autotune for probe in asked] == [autotune, "none"]


def test_notes_of_a_version_without_longer_searches_are_read_and_completed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known: list[Rates] = []

    def stand_in(probe: Probe, before: Rates) -> Rates:
        known.append(before)
        return before

    monkeypatch.setattr("interplay.speed.choose.on_a_gpu", stand_in)
    monkeypatch.setattr("interplay.speed.choose.gpu_model", lambda visible: "Test GPU")
    many = [LARGE.replace(lr=0.001 * number) for number in range(1, 101)]
    ways = {"single": 1e4, "fused 1": 4e4, "streams 2": 4e4, "streams 3": 4e4}
    ways |= {"compiled 1": 5e4, "compiled_streams 2": 5e4, "compiled_streams 3": 5e4}
    old = {"path": "compiled", "networks": 1, "ways": ways, "at_once": {"1": 5e4}}
    notes = tmp_path / "pace.json"
    name = named(many[0], "k<=3", "Test GPU")
    notes.write_text(json.dumps({name: old}))
    on_gpus(many, notes=notes)
    assert known == [Rates.from_dict(old)]
    assert json.loads(notes.read_text()) == {name: old}  # it is not complete for so long a study
    short = [spec.replace(epochs=30) for spec in many[:40]]  # twenty minutes
    known.clear()
    on_gpus(short, notes=notes)
    assert known == []


def test_a_study_is_planned_with_the_search_that_its_settings_ask_for(tmp_path: Path) -> None:
    settings = Settings(output_dir=tmp_path, path="compiled", autotune="both")
    assert _speed([LARGE], settings, cpu_slots(1), settings.store()).autotune(LARGE) == "both"
