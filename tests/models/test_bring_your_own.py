"""The examples of docs/bring-your-own.md, as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bring-your-own.md"


def test_the_network_of_the_page_trains_by_command_and_by_study_file(tmp_path: Path) -> None:
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
    (tmp_path / "nets.py").write_text(blocks["python"])
    (tmp_path / "own.toml").write_text(blocks["toml"])
    (command,) = re.findall(r"^    interplay (.*)$", PAGE.read_text(), re.MULTILINE)
    for words in (command.split(), ["study", "own.toml", "--workers", "1"]):
        done = subprocess.run(
            [sys.executable, "-m", "interplay", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    rows = (tmp_path / "outputs" / "results" / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 1 + 8
    assert sum("nets:make" in row for row in rows) == 9
