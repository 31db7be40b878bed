"""Problems with known answers, trained: from the optimiser to the verdict, as theory says."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scipy import optimize

from interplay.analysis.verify.closed_forms import NoisyQuadratic
from interplay.analysis.verify.problems import slope

pytestmark = pytest.mark.slow

SCRIPT = """
import json, sys
import sweep
from interplay import analyze, run_study

study = getattr(sweep, sys.argv[1]).overridden(steps=int(sys.argv[2]))
found = analyze(run_study(study, output_dir=sys.argv[1]), metric="final_test_loss")
print(json.dumps(found.to_dict()))
"""


def claims(root: Path, folder: Path, study: str, steps: int) -> dict[str, dict[str, Any]]:
    for path in (root / "examples" / "known-answers").glob("*.py"):
        shutil.copy(path, folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, study, str(steps)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {claim["id"]: claim for claim in json.loads(done.stdout.splitlines()[-1])["claims"]}


def least(lr: float, batch_size: float) -> float:
    """The weight decay of least risk, by the closed form of the risk."""
    problem = NoisyQuadratic(h=1.0, w0=0.25, s2=4.0)
    found = optimize.minimize_scalar(
        lambda log_wd: problem.risk(lr, math.exp(log_wd), batch_size, 0.9), bounds=(-9, 2), method="bounded"
    )
    return math.exp(float(found.x))


@pytest.mark.thorough
def test_on_the_noisy_quadratic_the_best_decay_grows_with_the_rate_and_falls_with_the_batch(
    root: Path, tmp_path: Path
) -> None:
    found = claims(root, tmp_path, "noisy_quadratic", 300)
    truths = {
        "inverse.profile": slope((0.02, 0.04, 0.08, 0.16, 0.32), lambda lr: least(lr, 128)),
        "batch.linear_rule": slope((64, 128, 256, 512), lambda b: least(0.08 * b / 128, b)),
        "batch.fixed_lr": slope((64, 128, 256, 512), lambda b: least(0.16, b)),
    }
    assert truths["inverse.profile"] > 1
    assert truths["batch.linear_rule"] == pytest.approx(0, abs=0.01)
    assert truths["batch.fixed_lr"] < -1
    for name, truth in truths.items():
        low, high = found[name]["interval"]
        assert found[name]["verdict"] == "refuted"
        assert low - 0.05 <= truth <= high + 0.05
        assert high - low < 0.6


def test_in_ridge_regression_the_best_decay_is_one_whatever_the_rate(root: Path, tmp_path: Path) -> None:
    found = claims(root, tmp_path, "ridge_regression", 900)
    low, high = found["inverse.profile"]["interval"]
    assert found["inverse.profile"]["verdict"] == "refuted"
    assert low <= 0 <= high
    assert high - low < 0.4
