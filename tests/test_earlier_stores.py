"""A store of an earlier version is read, gone on with, and nothing in it is run twice.

`fixtures/store` was written by the version of November 2026: four runs finished, one diverged, one failed, one was
interrupted after its second epoch and left a checkpoint. It is never written again.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from interplay.cli.main import main
from interplay.lab.prepare import in_store
from interplay.lab.settings import Settings
from interplay.record import Status
from interplay.store.store import Store
from interplay.study.files import load

FIXTURES = Path(__file__).parent / "fixtures"
INLINE = ["--executor", "inline", "--path", "single", "--no_log"]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A copy of the store, as ``outputs`` of the current folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FIXTURES / "store", tmp_path / "outputs")
    shutil.copy(FIXTURES / "kept.toml", tmp_path)
    return Store(Path("outputs"))


def contents(store: Store, run_ids: list[str]) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for run_id in run_ids
        for path in sorted(store.folder(run_id).iterdir())
        if path.suffix in (".json", ".jsonl")
    }


def test_every_run_has_the_name_it_had(store: Store) -> None:
    specs = in_store(load("kept.toml"), Settings())
    assert {spec.run_id for spec in specs} == {path.name for path in (FIXTURES / "store" / "runs").iterdir()}
    assert all(store.spec(spec.run_id) == spec for spec in specs)


def test_its_state_is_told(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "kept.toml"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("4 finished, 0 running, 1 diverged, 1 interrupted, 1 failed, 0 missing\n")
    assert "failed      lr 0.2, weight_decay 0.001, seed 42: RuntimeError: a bad day" in out
    assert "interrupted lr 0.3, weight_decay 0.001, seed 42" in out


def test_what_was_interrupted_goes_on_and_nothing_is_run_twice(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = [record.run_id for record in store.records() if record.status is not Status.FAILED]
    (failed,) = [record.run_id for record in store.records() if record.status is Status.FAILED]
    (left,) = set(store.run_ids()) - {*ended, failed}
    before, history = contents(store, ended), store.history(left)
    assert len(ended) == 5
    assert len(history) == 2
    assert main(["study", "kept.toml", *INLINE]) == 1  # the failed run is to be asked for
    out, err = capsys.readouterr()
    assert "7 runs: 5 done, 1 missing, 1 failed" in err
    assert "kept: 1 runs committed" in out
    record = store.readable_record(left)
    assert record is not None
    assert record.status is Status.FINISHED
    assert record.history[:2] == tuple(history)
    assert main(["retry", "kept.toml", *INLINE]) == 0
    capsys.readouterr()
    assert main(["study", "kept.toml", *INLINE]) == 0
    assert "7 runs: 7 done, 0 missing" in capsys.readouterr().err
    assert contents(store, ended) == before
    assert main(["rebuild"]) == 0
    assert "has 7 rows" in capsys.readouterr().out


def test_a_run_that_goes_on_ends_as_one_that_was_never_interrupted(store: Store) -> None:
    main(["study", "kept.toml", *INLINE])
    main(["study", "kept.toml", *INLINE, "--output_dir", "whole"])
    other = Store(Path("whole"))
    for spec in in_store(load("kept.toml"), Settings()):
        kept, anew = store.readable_record(spec.run_id), other.readable_record(spec.run_id)
        if kept is None or anew is None or kept.status is Status.FAILED:
            continue
        assert kept.status is anew.status
        # Between machines sums are taken in another order; between versions nothing else may differ.
        assert kept.final_test_acc == pytest.approx(anew.final_test_acc, abs=0.2)


def test_its_claims_and_results_are_read(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "inverse.profile" in {claim["id"] for claim in found["claims"]}
    assert len((store.root / "results" / "results.csv").read_text().splitlines()) == 7
