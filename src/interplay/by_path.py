"""Networks of a user's own, by import path: where their code is found, and what names it. No torch here.

``timm:resnet18d`` and ``torchvision:resnet18`` are networks of those packages; ``package.module:callable`` is anything
else that Python can import. The code is part of a run's identity: by name and version for an installed package, else
by a hash of the source of the module and of the files of the same folder that it imports.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import traceback
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.text import shown

PACKAGES = ("timm", "torchvision")
"""Those whose networks are asked for by name instead of by the path of a callable."""

_PATH = re.compile(r"(?:[^\W\d]\w*\.)*[^\W\d]\w*:[\w.]+")
_WORD = re.compile(r"([^\W\d]\w*)=(\S+)")

_loaded: dict[str, str] = {}
"""Fingerprints of the modules of users as they were when imported."""

_folders: list[str] = []


class _ByPath(tuple[str, ...]):
    """The models that are import paths, in the place of a list of names."""

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and ":" in word


BY_PATH = _ByPath(("a network by import path",))


def use(*folders: str | Path) -> None:
    """Let modules be found in ``folders``, after all that is installed. No part of a run's identity."""
    for folder in map(os.path.abspath, folders):
        if folder not in _folders:
            _folders.append(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def folders() -> tuple[str, ...]:
    """The folders of `use`, for another process."""
    return tuple(_folders)


def check(model: str) -> None:
    """Raise `SpecError` unless ``model`` is written as an import path."""
    file, _, attribute = model.rpartition(":")
    if file.endswith(".py") and _PATH.fullmatch(f"{Path(file).stem}:{attribute}"):
        raise SpecError(
            f"model {shown(model)} names a file: write {Path(file).stem}:{attribute}, and start in the folder of that "
            "file or keep it beside the study file"
        )
    if not _PATH.fullmatch(model):
        raise SpecError(f"model {shown(model)} is no import path: write package.module:callable, or timm:NAME")


def arguments(value: object) -> str:
    """Arguments in one canonical text (JSON with sorted keys; none: empty).

    Args:
        value: a mapping of plain values, a JSON object, or ``name=value name=value``.

    Raises:
        SpecError: anything else.
    """
    found: Any = value
    if isinstance(value, str):
        try:
            found = _parsed(value.strip())
        except ValueError as error:
            raise SpecError(f"model_args {shown(value)}: write name=value name=value, or a JSON object") from error
    try:
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise TypeError
        return json.dumps(dict(found), sort_keys=True, separators=(",", ":"), allow_nan=False) if found else ""
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"model_args must be a table of plain values, not {shown(value)}") from error


def _parsed(text: str) -> Any:
    if not text or text.startswith("{"):
        return json.loads(text or "{}")
    found = {}
    for word in text.split():
        match = _WORD.fullmatch(word)
        if match is None or match[1] in found:
            raise ValueError(word)
        try:
            found[match[1]] = json.loads(match[2])
        except ValueError:
            found[match[1]] = match[2]
    return found


# -- what names the code ----------------------------------------------------------------------------------------------


def fingerprint(model: str) -> str:
    """What names the code of ``model`` as it is on disk: ``timm==1.0.9``, or ``source:`` and 16 hex digits.

    The hash covers the source of the module, and of every module of the same package or folder that it imports by an
    import statement, theirs included. Installed packages that they import, what is imported in another way, and data
    that a module reads are not covered: a run does not become another one with every update.

    Raises:
        SpecError: there is no such module or package.
    """
    check(model)
    name = model.partition(":")[0]
    package = name.partition(".")[0]
    if package in PACKAGES:
        try:
            return f"{package}=={importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            raise SpecError(f"model {model} needs {package}: pip install {package}") from None
    path = _source(name, model)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return _version(name) or _hash(_closure(name, path))
    return _hash(_closure(name, path))


def _source(name: str, model: str) -> Path:
    use(Path.cwd())
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    except Exception as error:
        raise SpecError(f"model {model}: {name} cannot be imported: {place(error)}") from error
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        near = sorted(path.stem for folder in _folders for path in Path(folder).glob("*.py"))
        hint = f"; {nearest(name, near)}" if 0 < len(near) <= 20 else ""
        raise SpecError(f"model {model}: no module {name} in {', '.join(_folders)} or among the installed{hint}")
    return Path(spec.origin).resolve()


@cache
def _distributions(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Which distribution each installed package is of: it takes a second to read, and each run of a study asks."""
    return importlib.metadata.packages_distributions()


def _version(name: str) -> str | None:
    names = _distributions(tuple(sys.path)).get(name.partition(".")[0], [])
    return f"{names[0]}=={importlib.metadata.version(names[0])}" if names else None


def _closure(name: str, path: Path) -> dict[str, Path]:
    """The module at ``path`` and those beside it that it imports, by dotted name."""
    root = path.parent
    for _ in range(name.count(".") + (path.name == "__init__.py")):
        root = root.parent
    found: dict[str, Path] = {}
    waiting = [name]
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            each = ".".join(parts[:length])
            base = root.joinpath(*parts[:length])
            file = next((f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()), None)
            if file is None or each in found:
                continue
            found[each] = file
            waiting += _imports(each, file)
    return found


def _imports(name: str, path: Path) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{path}, line {getattr(error, 'lineno', 1)}: {error}") from error
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found += [".".join(filter(None, [base, alias.name])) for alias in node.names if alias.name != "*"]
            found += [base] if base else []
    return found


def _hash(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        content = files[name].read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return f"source:{digest.hexdigest()[:16]}"


# -- the code itself --------------------------------------------------------------------------------------------------


def load(model: str, code: str) -> Any:
    """The callable that ``model`` names, imported from the code that ``code`` names.

    A module that this process imported before its source changed is imported again.

    Raises:
        SpecError: the code on disk is another than ``code``, or cannot be imported; with file and line.
    """
    name, _, attribute = model.partition(":")
    now = fingerprint(model)
    if now != code:
        raise SpecError(f"model {model}: the code is {now} now, and this run was planned with {code}: start again")
    if _loaded.get(name, now) != now:
        for module in _closure(name, _source(name, model)):
            sys.modules.pop(module, None)
    try:
        found = importlib.import_module(name)
        _loaded[name] = now
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        if name not in _loaded:
            raise SpecError(f"model {model} cannot be imported: {place(error)}") from error
        raise SpecError(f"model {model}: module {name} has no {attribute}") from error
    except Exception as error:
        raise SpecError(f"model {model} cannot be imported: {place(error)}") from error
    if not callable(found):
        raise SpecError(f"model {model} is {shown(found)}, which cannot be called")
    return found


def place(error: BaseException) -> str:
    """An error of a user's code in one line, with the file and the line that are the user's where there are some."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if any(frame.filename.startswith(folder + os.sep) for folder in _folders)]
    text = " ".join(str(error).split())[:300]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    return f"{own[-1].filename}, line {own[-1].lineno}: {said}" if own else said
