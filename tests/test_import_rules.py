"""The arrows of the design run one way, and what must be light imports no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from interplay.cli.main import COMMANDS

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "interplay"

# Open to all: they import nothing of the package but each other.
OPEN = set(
    "by_path dataset_facts network_facts spec trial record errors text notes locks options frames knobs printing "
    "spellings".split()
)

# Which rooms a room may import, besides the open ones and itself.
ALLOWED: dict[str, set[str]] = {
    "by_path": set(),
    "dataset_facts": set(),
    "network_facts": set(),
    "errors": set(),
    "text": set(),
    "notes": set(),
    "locks": set(),
    "options": set(),
    "frames": set(),
    "knobs": set(),
    "printing": set(),
    "spec": set(),
    "spellings": set(),
    "trial": set(),
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
    "trainers": {"study", "tables", "train"},
    "devices": set(),
    "speed": {"data", "devices", "store", "train", "stack"},
    "executors": {"devices", "data", "study", "store", "trackers", "train", "trainers", "stack", "speed", "summary"},
    "analysis": {"tables", "study"},  # of the latter the claims
    "figures": {"analysis"},
    "page": {"analysis", "figures"},
    "lab": {
        "data",
        "models",
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
        "page",
        "summary",
    },
    "cli": {"lab", "tables", "data", "devices", "study", "executors", "trackers", "train", "analysis"},
    "facade": {"analysis", "lab", "study"},
    "__main__": {"cli"},
}
TORCH = {"data", "devices", "models", "optim", "train", "stack", "trackers", "speed", "executors", "lab", "cli"}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
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
        "import interplay.lab.settings",
        "import interplay.executors.job",
        "import interplay; interplay.RunSpec; interplay.Study; interplay.Settings",
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


SLOW = {"torch", "numpy", "scipy", "pandas", "typeguard", "asyncio", "unittest", "rich"}
"""What would be most of the time that a command takes to start. typeguard, and asyncio by it, is what tyro asks whether
a default is of the type of its flag, unless the flag says by itself how it is read."""

ALONE = {"run", "study", "retry", "analyze", "compare", "predict", "report", "table", "verify"}
"""Commands whose flags need neither the store nor the code that reads other tools' tables."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("words", [["--help"], ["--no_such_flag"]])
def test_help_and_a_refusal_import_little(command: str, words: list[str]) -> None:
    script = f"""
import sys
from interplay.cli.main import main
try:
    main({[command, *words]})
except SystemExit:
    pass
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seen = set(done.stdout.splitlines()[-1].split())
    assert {"tyro", "interplay.cli.flags"} <= seen
    unwanted = SLOW | ({"filelock", "interplay.store.store", "interplay.tables.sources"} if command in ALONE else set())
    assert not unwanted & seen


@pytest.mark.parametrize(
    "words", [["run", "--lr", "-1"], ["run", "--lr", "high"], ["study", "no-such-study"], ["status", "no-such-study"]]
)
def test_what_is_impossible_is_refused_without_torch(words: list[str]) -> None:
    script = f"""
import sys
from interplay.cli.main import main
try:
    code = main({words})
except SystemExit as stop:
    code = stop.code
print(code, *({{"torch", "numpy", "typeguard"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2"]


HEAVY = {
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "sklearn",
    "matplotlib",
    "seaborn",
    "plotly",
    "wandb",
    "tensorboard",
    "submitit",
    "ray",
    "tyro",
    "tqdm",
    "pynvml",
    "psutil",
    "filelock",
    "optuna",
    "mlflow",
}
"""Libraries that take long to import, are extras, or are absent on a bare GPU machine: an import within a function may
keep these out, nothing else."""

FOR_ANOTHER_REASON = {
    "__main__.py": "Ctrl-C while modules are imported is no traceback either",
}
"""Files whose imports within functions keep nothing out, each with its reason."""


@cache
def within_functions(path: Path) -> list[tuple[int, str]]:
    """Line and module of each import that stands within a function."""
    found = {}
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    found[node.lineno] = node.names[0].name
                elif isinstance(node, ast.ImportFrom):
                    first = f"{node.module}.{node.names[0].name}"
                    found[node.lineno] = first if (file_of(first)) else str(node.module)
    return sorted(found.items())


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of the package."""
    if not module.startswith("interplay"):
        return None
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def at_import(path: Path) -> set[str]:
    """Modules that are imported when the module of ``path`` is: not those within functions or for types alone."""
    found: set[str] = set()

    def look(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module))
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                look(node.orelse)
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in ("body", "orelse", "finalbody"):
                    look(getattr(node, name, []))

    look(ast.parse(path.read_text()).body)
    return found


def brought_by(module: str, seen: set[str] | None = None) -> set[str]:
    """The heavy libraries that importing ``module`` imports, by whatever way."""
    seen = set() if seen is None else seen
    if module in seen:
        return set()
    seen.add(module)
    heavy = {module.split(".")[0]} & HEAVY
    path = file_of(module)
    return heavy.union(*(brought_by(name, seen) for name in at_import(path))) if path is not None else heavy


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_an_import_within_a_function_keeps_a_heavy_library_out(path: Path) -> None:
    """It says why: torch, an extra, or what makes ``--help`` slow; and the module has not imported that anyway."""
    here = "interplay." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    already = brought_by(here.removesuffix(".__init__"))
    others = [(line, module) for line, module in within_functions(path) if not brought_by(module) - already]
    assert bool(others) == (str(path.relative_to(PACKAGE)) in FOR_ANOTHER_REASON), others


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_an_import_within_a_function_hides_no_circle(path: Path) -> None:
    circles = [
        (line, name) for line, name in within_functions(path) if path in {file_of(each) for each in reached(name)}
    ]
    assert not circles


@cache
def reached(module: str) -> set[str]:
    """``module`` and all modules of the package that it imports."""
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        path = file_of(name)
        if path is not None and name not in found:
            found.add(name)
            left += at_import(path)
    return found


def test_imports_within_functions_are_counted() -> None:
    """Whoever adds one says so here; fewer are better."""
    assert sum(len(within_functions(path)) for path in FILES) <= MOST_WITHIN_FUNCTIONS


MOST_WITHIN_FUNCTIONS = 71


def test_files_stay_small_enough_to_hold_in_mind() -> None:
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400} == {}
