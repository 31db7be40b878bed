"""Studies that grow, on records made by formula: what is added, remembered and when it stops."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interplay.errors import SpecError
from interplay.lab import extending
from interplay.lab.extending import Budget, extended, until_decided, with_added
from interplay.lab.read import analyze
from interplay.lab.settings import InterruptedRunError, Settings
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.manifest import read_extension
from interplay.study.files import parse
from interplay.study.study import Study

pytestmark = pytest.mark.usefixtures("notes_shown")

ADAM = {"optimum": "lr", "along": "batch_size", "exponent": 0.5, "band": 0.2}
BASE = {"dataset": "digits", "model": "mlp", "optimizer": "adam", "weight_decay": 0.0, "epochs": 2}


def study(*claims: Any, base: dict[str, Any] | None = None, **grid: Any) -> Study:
    content = {"name": "s", "seeds": [1, 2], "base": base or BASE, "grid": [grid], "claim": list(claims)}
    return parse(content, Path("s.toml"))


def accuracy(spec: RunSpec, power: float = 0.5) -> float:
    """A curve in log lr with its top at 2e-3 (B/64)^power, and noise that a run always has."""
    miss = math.log(spec.lr / 2e-3) - power * math.log(spec.batch_size / 64)
    rng = np.random.default_rng(zlib.crc32(spec.run_id.encode()))
    return 90 - 1.5 * miss**2 + 0.25 * float(rng.standard_normal())


def train(specs: Any, settings: Settings, result: Callable[[RunSpec], float] = accuracy) -> None:
    store = settings.store()
    for spec in specs:
        if not store.is_done(spec.run_id):
            acc = result(spec)
            loss = zlib.crc32(spec.run_id.encode()) / 2**32
            store.commit(RunRecord(spec, Status.FINISHED, (EpochMetrics(1, spec.lr, loss, 90.0, 0.5, acc),)))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(output_dir=tmp_path)


def grows(monkeypatch: pytest.MonkeyPatch, settings: Settings, result: Callable[[RunSpec], float] = accuracy) -> Any:
    """`run_study` that trains by formula; returns the numbers of runs it was asked for."""
    from interplay.executors.queue import Report

    asked: list[int] = []

    def run(study: Study, *args: object, **words: object) -> Report:
        asked.append(len(study.specs))
        train(study.specs, settings, result)
        return Report()

    monkeypatch.setattr(extending, "run_study", run)
    return asked


def says(monkeypatch: pytest.MonkeyPatch, study: Study, *cells: dict[str, Any], seeds: int = 0) -> None:
    """An analysis that asks for these cells, whatever the runs."""
    from interplay.analysis.verdict import Plan, Verdict

    plan = Plan(f"{len(cells)} cells", cells, seeds, 0, (0.3, 0.6)) if cells else None
    said = Verdict(study.own_claims()[0].id, "inconclusive", 0.4, (0.1, 0.9), "too wide", plan)
    monkeypatch.setattr(extending, "verdicts", lambda table, own: [said])


# -- which runs -------------------------------------------------------------------------------------------------------


def test_new_cells_get_the_usual_seeds_and_known_ones_seeds_beyond_their_greatest() -> None:
    two = study(lr=[1e-3, 2e-3], batch_size=64)
    new = two.further([{"lr": 4e-3}])
    assert [(spec.lr, spec.seed) for spec in new] == [(4e-3, 1), (4e-3, 2)]
    assert [spec.seed for spec in two.further([{"lr": 4e-3}], seeds=2)] == [1, 2, 3, 4]
    assert [spec.seed for spec in two.further([{"lr": 1e-3}])] == [3]
    assert [spec.seed for spec in two.further([{"lr": 1e-3}], seeds=2)] == [3, 4]
    larger = two.enlarged([{"lr": 1e-3}], seeds=2)
    assert [spec.seed for spec in larger.further([{"lr": 1e-3}], seeds=1, usual=(1, 2))] == [5]
    assert [spec.seed for spec in larger.further([{"lr": 4e-3}], usual=(1, 2))] == [1, 2]


def test_a_rate_that_the_analysis_rounded_is_the_run_that_is_there() -> None:
    derived = parse(
        {"base": BASE, "grid": [{"batch_size": [32, 96], "derived": {"lr": "0.001 * batch_size / 7"}}]}, Path("s.toml")
    )
    rounded = float(f"{derived.specs[1].lr:.7g}")
    assert rounded != derived.specs[1].lr
    (again,) = derived.further([{"lr": rounded, "batch_size": 96}], seeds=1)
    assert again == derived.specs[1].replace(seed=43)


def test_what_is_added_is_remembered_and_the_next_look_builds_on_it(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = study(ADAM, lr=[1e-3, 2e-3], batch_size=[32, 64])
    says(monkeypatch, small, {"lr": 4e-3, "batch_size": 32}, {"lr": 2e-3, "batch_size": 64}, seeds=1)
    assert extended(small, settings).specs == small.specs
    assert "nothing has run yet" in capsys.readouterr().err
    train(small.specs, settings)
    larger = extended(small, settings, keep=False)
    assert read_extension(settings.store().root, "s") == ()  # a look ahead leaves nothing
    assert extended(small, settings).specs == larger.specs
    added = larger.specs[len(small.specs) :]
    assert {(spec.lr, spec.batch_size, spec.seed) for spec in added} == {(4e-3, 32, s) for s in (1, 2, 3)} | {
        (2e-3, 64, 3)
    }
    words = capsys.readouterr().err
    assert "inconclusive, 0.40 [0.10, 0.90]; adding 4 runs: 2 cells" in words
    assert "expected to be about 0.30 to 0.60" in words
    assert extended(small, settings).specs == larger.specs  # what was added comes before anything else
    assert "4 runs of it have not ended" in capsys.readouterr().err
    train(added, settings)
    third = extended(small, settings)
    assert [(s.lr, s.seed) for s in third.specs if s not in larger.specs] == [(4e-3, 4), (2e-3, 4)]
    says(monkeypatch, small)
    train(third.specs, settings)
    assert extended(small, settings).specs == third.specs
    assert "nothing that could be run is expected to decide it: too wide" in capsys.readouterr().err


def test_runs_that_were_added_belong_to_a_study_only_while_its_own_are_like_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = study(ADAM, lr=[1e-3, 2e-3], batch_size=[32, 64])
    says(monkeypatch, small, {"lr": 4e-3, "batch_size": 32})
    train(small.specs, settings)
    assert len(extended(small, settings).specs) == len(small.specs) + 2
    fewer = study(ADAM, lr=1e-3, batch_size=64)
    assert len(with_added(fewer, settings).specs) == len(fewer.specs) + 2
    for other in (small.overridden(epochs=5), small.overridden(model="cnn"), dataclasses.replace(small, claims=())):
        assert with_added(other, settings).specs == other.specs
    plain = small.overridden(precision="fp32")
    assert {spec.precision for spec in with_added(plain, settings).specs} == {"fp32"}


def test_two_optimisers_are_extended_each_like_its_own_runs(settings: Settings) -> None:
    """Adam has its best rate inside the grid, SGD beyond it; SGD has another momentum."""
    claim = {"optimum": "lr", "first": {"optimizer": "sgd"}, "second": {"optimizer": "adam"}, "margin": 1.5}
    content = {
        "name": "s",
        "seeds": [1, 2],
        "base": {"dataset": "digits", "model": "mlp", "weight_decay": 0.0, "epochs": 2, "batch_size": 64},
        "grid": [
            {"optimizer": "adam", "lr": [5e-4, 1e-3, 2e-3, 4e-3, 8e-3]},
            {"optimizer": "sgd", "momentum": 0.5, "lr": [1e-3, 2e-3, 4e-3]},
        ],
        "claim": [claim],
    }
    both = parse(content, Path("s.toml"))

    def result(spec: RunSpec) -> float:
        return accuracy(spec if spec.optimizer == "adam" else spec.replace(lr=spec.lr / 3))

    train(both.specs, settings, result)
    found = analyze([settings.output_dir], claims=both.claims).claims[0]
    assert (found.id, found.own) == ("lr: optimizer sgd > optimizer adam", True)
    assert found.verdict == "inconclusive"
    added = extended(both, settings).specs[len(both.specs) :]
    assert added
    assert all(spec.momentum == 0.5 for spec in added if spec.optimizer == "sgd")
    assert any(spec.optimizer == "sgd" and spec.lr > 4e-3 for spec in added)


def test_a_cell_that_cannot_be_run_is_named_and_left_out(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = study(ADAM, lr=[1e-3, 2e-3, 4e-3], batch_size=[32, 64])
    train(small.specs, settings)
    says(monkeypatch, small, {"lr": 1e-3, "batch_size": 4096}, {"lr": 1e-3, "batch_size": 128})
    added = extended(small, settings).specs[len(small.specs) :]
    assert {spec.batch_size for spec in added} == {128}
    assert "cannot be run: batch_size 4096 is larger than the 1000" in capsys.readouterr().err


# -- until decided ----------------------------------------------------------------------------------------------------


def test_rounds_follow_each_other_until_a_word_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from interplay.analysis.verdict import Plan, Verdict

    asked = grows(monkeypatch, settings)
    small = study(ADAM, lr=[1e-3, 2e-3], batch_size=[32, 64])
    plan = Plan("2 further seeds", ({"lr": 1e-3, "batch_size": 32}, {"lr": 1e-3, "batch_size": 64}), 2, 4)

    def said(table: Any, own: object) -> list[Verdict]:
        word = "supported" if len(table.runs) > 12 else "inconclusive"
        return [Verdict(small.own_claims()[0].id, word, 0.5, (0.4, 0.6), "", plan)]  # type: ignore[arg-type]

    monkeypatch.setattr(extending, "verdicts", said)
    ended = until_decided(small, settings, Budget(runs=20))
    assert asked == [8, 12, 16]
    assert (ended.rounds, ended.reason) == (3, "every claim is decided")
    assert {spec.seed for spec in ended.study.specs if spec.lr == 1e-3} == {1, 2, 3, 4, 5, 6}
    assert [line[:24] for line in capsys.readouterr().err.splitlines()] == [
        "round 1: 8 of 20 runs, 0",
        "round 2: 12 of 20 runs, ",
    ]
    asked.clear()
    assert until_decided(small, settings).rounds == 1  # the store remembers what was added
    assert asked == [16]


@pytest.mark.slow
def test_a_study_grows_until_its_claim_is_decided_and_goes_on_where_it_was(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = grows(monkeypatch, settings)
    small = study(ADAM, lr=[5e-4, 1e-3, 2e-3], batch_size=[32, 64, 128])
    ended = until_decided(small, settings, Budget(runs=600))
    assert ended.reason == "every claim is decided"
    assert [each.verdict.verdict for each in ended.found] == ["supported"]
    assert asked[0] == len(small.specs)
    assert asked == sorted(set(asked))  # every round adds some
    assert asked[-1] == len(ended.study.specs) <= 600
    assert capsys.readouterr().err.count("round ") == ended.rounds - 1
    again = until_decided(small, settings)
    assert (again.rounds, set(again.study.specs)) == (1, set(ended.study.specs))
    assert "supported" in str(again)


@pytest.mark.slow
def test_a_false_claim_is_refuted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    grows(monkeypatch, settings, lambda spec: accuracy(spec, power=0.0))
    ended = until_decided(study(ADAM, lr=[5e-4, 1e-3, 2e-3, 4e-3], batch_size=[32, 64, 128]), settings)
    assert [each.verdict.verdict for each in ended.found] == ["refuted"]


def test_it_stops_where_the_budget_is_spent_and_says_what_would_come_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = grows(monkeypatch, settings)
    small = study(ADAM, lr=[1e-3, 2e-3], batch_size=[32, 64])
    says(monkeypatch, small, {"lr": 4e-3, "batch_size": 32})
    ended = until_decided(small, settings, Budget(runs=len(small.specs) + 1))
    assert asked == [len(small.specs)]
    assert "the budget is spent" in ended.reason
    assert "would be the next step" in str(ended)
    late = until_decided(small, settings, Budget(seconds=1e-9))
    assert "the budget is spent" in late.reason


@pytest.mark.slow
def test_runs_are_judged_by_the_metric_that_is_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(spec: RunSpec) -> RunRecord:
        loss = 2 - 0.01 * accuracy(spec, power=0.0)  # its best rate does not move, that of the accuracy does
        return RunRecord(spec, Status.FINISHED, (EpochMetrics(1, spec.lr, 1.0, 90.0, loss, accuracy(spec)),))

    from interplay.executors.queue import Report

    def run(study: Study, *args: object, **words: object) -> Report:
        store = settings.store()
        for spec in study.specs:
            if not store.is_done(spec.run_id):
                store.commit(measured(spec))
        return Report()

    monkeypatch.setattr(extending, "run_study", run)
    small = study(ADAM, lr=[5e-4, 1e-3, 2e-3, 4e-3], batch_size=[32, 64, 128])
    by_accuracy = until_decided(small, settings)
    by_loss = until_decided(small, settings, metric="final_test_loss")
    assert [each.verdict.verdict for each in by_accuracy.found] == ["supported"]
    assert [each.verdict.verdict for each in by_loss.found] == ["refuted"]
    assert extended(small, settings, metric="final_test_loss").specs == by_loss.study.specs


def test_a_metric_that_does_not_exist_is_refused_before_anything_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = grows(monkeypatch, settings)
    with pytest.raises(SpecError, match="final_test_loss"):
        until_decided(study(ADAM, lr=1e-3, batch_size=64), settings, metric="final_test_los")
    assert asked == []


def test_it_stops_where_nothing_helps_and_when_it_is_interrupted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from interplay.executors.queue import Report

    grows(monkeypatch, settings)
    never = until_decided(study({**ADAM, "along": "momentum"}, lr=[1e-3, 2e-3, 4e-3], batch_size=64), settings)
    assert "no further runs" in never.reason
    assert "not asked" in str(never)
    monkeypatch.setattr(extending, "run_study", lambda *args, **words: Report(stopped=True))
    with pytest.raises(InterruptedRunError, match="the same command goes on"):
        until_decided(study(ADAM, lr=1e-3, batch_size=64), settings)


def test_a_loop_that_cannot_end_well_is_refused_before_anything_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = grows(monkeypatch, settings)
    small = study(ADAM, lr=[1e-3, 2e-3], batch_size=64)
    with pytest.raises(SpecError, match="states no claims"):
        until_decided(dataclasses.replace(small, claims=()), settings)
    with pytest.raises(SpecError, match=r"3 runs in all is too small.* has 4"):
        until_decided(small, settings, Budget(runs=3))
    with pytest.raises(SpecError, match="--wait"):
        until_decided(small, dataclasses.replace(settings, executor="slurm"))
    assert asked == []
