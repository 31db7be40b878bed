"""The examples of docs/bring-your-own.md, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bring-your-own.md"


@pytest.mark.slow
def test_the_examples_of_the_page_train_by_command_and_by_study_file(tmp_path: Path) -> None:
    text = PAGE.read_text()
    for name, source in re.findall(
        r"^In a file `(\w+\.py)`[^\n]*\n\n```python\n(.*?)```", text, re.MULTILINE | re.DOTALL
    ):
        (tmp_path / name).write_text(source)
    (study,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "own.toml").write_text(study)
    commands = [line.split() for line in re.findall(r"^    interplay (.*)$", text, re.MULTILINE)]
    for words in (*commands, ["study", "own.toml", "--workers", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "interplay", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    rows = (tmp_path / "outputs" / "results" / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 + 8
    assert sum("nets:make" in row for row in rows) == 9
    assert sum("rows:make" in row for row in rows) == 1
