from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from interplay.lab.extending import extended
from interplay.lab.settings import Settings
from interplay.record import EpochMetrics, RunRecord, Status
from interplay.spec import RunSpec
from interplay.store.store import Store
from interplay.study.files import load
from interplay.study.study import Study, combined

pytestmark = pytest.mark.usefixtures("notes_shown")


def study(*specs: RunSpec) -> Study:
    return Study("s", "?", ("inverse.profile",), "", "", specs)


def test_cells_are_added_like_the_run_that_is_named_or_the_first() -> None:
    two = study(*(RunSpec(model=model, lr=0.1, seed=seed) for model in ("resnet18", "cnn") for seed in (1, 2)))
    more = two.enlarged([{"lr": 0.4, "metric": 1}], like=two.specs[2])
    assert [(spec.model, spec.lr, spec.seed) for spec in more.specs[4:]] == [("cnn", 0.4, 1), ("cnn", 0.4, 2)]
    assert [spec.model for spec in two.enlarged([{"lr": 0.4}]).specs[4:]] == ["resnet18", "resnet18"]


def test_any_number_of_studies_is_planned_together() -> None:
    files = sorted((Path(__file__).resolve().parents[2] / "studies").glob("digits*.toml"))
    long = [study(RunSpec(lr=0.1 + number)) for number in range(3)]
    long = [dataclasses.replace(each, name="n" * 99, question="q" * 1500, command="c" * 1500) for each in long]
    together = combined([*(load(file) for file in files), *long])
    assert len(together.specs) == 3 + len({spec for file in files for spec in load(file).specs})
    assert together.name == f"{load(files[0]).name} and {len(files) + 2} more"


def test_a_study_of_two_networks_is_extended_network_by_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The best decay of the mlp is at the edge of its grid, that of the cnn inside."""
    rng, specs = np.random.default_rng(0), []
    for model, best in (("cnn", 4e-4), ("mlp", 1e-5)):
        for lr in (0.04, 0.1, 0.25):
            for wd in (5e-5, 1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3):
                for seed in (1, 2):
                    spec = RunSpec(dataset="digits", model=model, lr=lr, weight_decay=wd, epochs=1, seed=seed)
                    acc = 90 - 3 * np.log(wd / best * lr / 0.1) ** 2 + 0.05 * rng.standard_normal()
                    Store(tmp_path).commit(
                        RunRecord(spec, Status.FINISHED, (EpochMetrics(1, lr, rng.random(), 90.0, 0.5, acc),))
                    )
                    specs.append(spec)
    larger = extended(study(*specs), Settings(output_dir=tmp_path))
    added = [spec for spec in larger.specs if spec not in specs]
    of_mlp = [spec for spec in added if spec.model == "mlp"]
    assert of_mlp
    assert all(spec.weight_decay < 5e-5 for spec in of_mlp)
    assert not any(spec.weight_decay < 5e-5 for spec in added if spec.model == "cnn" and spec.lr in (0.04, 0.1, 0.25))
    words = capsys.readouterr().err
    assert "inverse.profile of mlp:" in words
    assert "inverse.profile of cnn:" in words
