"""The tests marked ``cuda``, by pytest in a process of its own, with nothing but what a bare machine has."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from session_parts.book import Options, Sections, Session

ROOT = Path(__file__).resolve().parents[2]
_MARKED = re.compile(r"\bmark\.cuda\b")

ARGUMENTS = (
    # Options of plugins, and markers of plugins that are not here, are no errors.
    *("-o", "addopts=--import-mode=importlib"),
    # Another version of torch may warn of what this one does not.
    *("-o", "filterwarnings=default"),
    *("-m", "cuda", "-p", "no:cacheprovider", "-q", "-rfE"),
)


def sections(session: Session, options: Options) -> Sections:
    """One section: all files that have such tests. Others may import what a bare machine does not have."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if _MARKED.search(path.read_text())]
    return {"cuda": partial(tested, session, list(map(str, files)))}


def tested(session: Session, files: list[str]) -> None:
    """Run pytest on ``files`` and keep counts and failures.

    Raises:
        RuntimeError: pytest itself did not get to the end, or a test failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", *ARGUMENTS, f"--junitxml={report}", f"--rootdir={ROOT}", *files]
        code, said = _run(session, words)
        if not report.exists():
            raise RuntimeError(f"pytest ended with {code} and no report:\n{said[-4000:]}")
        found = Found.read(report)
    session.keep(exit_code=code, files=files, failures=found.failures, said=said[-4000:])
    session.table("tests marked cuda", ["", *found.counts], [["", *found.counts.values()]])
    if code not in (0, 5) or found.failures:
        raise RuntimeError(f"pytest ended with {code}; {len(found.failures)} tests failed:\n{said[-4000:]}")


def _run(session: Session, words: list[str]) -> tuple[int, str]:
    with session.child(words, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1") as process:
        try:
            said, _ = process.communicate(timeout=max(1.0, session.left()))
        except subprocess.TimeoutExpired:
            raise RuntimeError("the tests did not end in time") from None
        return process.returncode, said


@dataclass(frozen=True)
class Found:
    """What pytest's report says."""

    counts: dict[str, int]
    failures: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Found:
        """Read a report in the form of JUnit."""
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
        kinds = {"failed": "failure", "errors": "error", "skipped": "skipped"}
        counts = {name: sum(case.find(tag) is not None for case in cases) for name, tag in kinds.items()}
        failures = [
            {"test": f"{case.get('classname')}::{case.get('name')}", "text": (found.text or "")[-4000:]}
            for case in cases
            for tag in ("failure", "error")
            if (found := case.find(tag)) is not None
        ]
        return cls({"passed": len(cases) - sum(counts.values()), **counts}, failures)
