from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interplay.errors import SpecError
from interplay.executors import paths
from interplay.executors.pace import Pace, cached, measure
from interplay.executors.paths import USUAL_SIZE, Stacking, choose
from interplay.spec import RunSpec
from interplay.train.partition import bytes_per_network

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

    monkeypatch.setattr(paths, "measure", stand_in)
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
    assert chosen(device="cuda:0") == Stacking()
    assert chosen(alone=True) == Stacking()
    assert chosen(path="single") == Stacking()
    assert probed == []
    assert chosen([spec.replace(epochs=3) for spec in RUNS]) == Stacking()  # seconds of work: not worth a probe
    assert probed == [("mlp", 16)]


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
