"""The arrows of the design run one way, and what must be light imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "interplay"

# Open to all: they import nothing of the package but each other.
OPEN = {"dataset_facts", "spec", "record", "errors", "text", "notes", "locks"}

# Which rooms a room may import, besides the open ones and itself.
ALLOWED: dict[str, set[str]] = {
    "dataset_facts": set(),
    "errors": set(),
    "text": set(),
    "notes": set(),
    "locks": set(),
    "spec": set(),
    "record": set(),
    "summary": set(),
    "data": set(),
    "models": set(),
    "optim": set(),
    "study": set(),
    "store": set(),
    "trackers": set(),
    "tables": set(),
    "train": {"data", "models", "optim"},
    "stack": {"data", "models", "optim", "train"},
    "devices": set(),
    "speed": {"data", "devices", "store", "train", "stack"},
    "executors": {"devices", "data", "study", "store", "trackers", "train", "stack", "speed", "summary"},
    "analysis": {"tables", "study"},  # of the latter the claims
    "figures": {"analysis"},
    "report": {"analysis", "figures"},
    "inputs": {"analysis", "store", "tables"},
    "lab": {
        "data",
        "devices",
        "study",
        "store",
        "trackers",
        "train",
        "speed",
        "executors",
        "tables",
        "analysis",
        "figures",
        "report",
        "inputs",
        "summary",
    },
    "cli": {"lab", "data", "devices", "study", "executors", "trackers", "train", "analysis"},
    "__main__": {"cli"},
}
TORCH = {"data", "devices", "models", "optim", "train", "stack", "trackers", "speed", "executors", "lab", "cli"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, type checking aside included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_design_allows(path: Path) -> None:
    here = room(path)
    assert here in ALLOWED, f"{here} is not a room of the design"
    rooms = {name.split(".")[1] for name in imports(path) if name.startswith("interplay.")}
    rooms &= set(ALLOWED)
    assert rooms <= ALLOWED[here] | OPEN | {here}
    if here not in TORCH:
        assert not {name for name in imports(path) if name.split(".")[0] == "torch"}


@pytest.mark.parametrize(
    "code",
    [
        "import interplay",
        "import interplay.cli.main",
        "import interplay.lab",
        "import interplay.data.identity",
        "from interplay.cli.main import main; main(['doctor', '--help'])",
        "from interplay.cli.main import main; main(['--help'])",
        "from interplay.cli.main import main; main(['run', '--help'])",
        "from interplay.cli.main import main; main(['report', '--help'])",
    ],
)
def test_light_imports_bring_no_torch(code: str) -> None:
    script = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print(sorted({{"torch", "sklearn", "scipy", "pandas", "matplotlib", "plotly", "wandb"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_files_stay_small_enough_to_hold_in_mind() -> None:
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400} == {}
