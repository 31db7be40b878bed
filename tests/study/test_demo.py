"""The study of `make demo`: run as the Makefile runs it, its claims are decided."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _commands(output_dir: Path) -> list[list[str]]:
    """The commands of the target, with another output folder."""
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = (shlex.split(line.strip().removeprefix("@")) for line in recipe.splitlines())
    found = [words[1:] for words in lines if words[0].endswith("/interplay")]
    return [[str(output_dir) if word == "outputs/demo" else word for word in words] for words in found]


@pytest.mark.slow  # 388 runs
def test_the_demo_decides_at_least_five_claims_and_says_so_on_one_screen(tmp_path: Path) -> None:
    study, report = _commands(tmp_path)
    assert (study[0], report[0]) == ("study", "report")
    said = [
        subprocess.run(
            [sys.executable, "-m", "interplay", *words], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for words in (study, report)
    ]
    assert len(said[0].stderr.splitlines()) <= 25
    rows = re.findall(r"^(supported|refuted|inconclusive) ", said[1].stdout, re.MULTILINE)
    assert len(rows) >= 6
    assert sum(verdict != "inconclusive" for verdict in rows) >= 5
    assert re.search(r"^best +final test accuracy \d\d\.\d\d % at η ", said[1].stdout, re.MULTILINE)
    assert str(tmp_path / "report.html") in said[1].stdout.replace("\n  ", "")
    assert len(said[1].stdout.splitlines()) <= 30
