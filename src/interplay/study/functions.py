"""Functions as trainers: how other processes find them again, and what of their knobs they take."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.study.grid import expand
from interplay.study.names import refuse_too_many
from interplay.study.trainer import Trainer, table_options
from interplay.text import shown
from interplay.trial import TrainerIdentity, Trial, TrialOptions, trials

Function = Callable[..., Any]
"""Takes knobs by name; returns a mapping of numbers, or yields one an epoch."""

GIVEN = ("seed", "run_dir")
"""Arguments that are no knobs: passed where a function has them."""

_ARGUMENTS = ("name", "question", "claims", "train", "base", "grid", "seeds", "version")

_HERE: dict[str, Function] = {}
"""Functions of this process that no other one can import, by name."""


def trainer_of(
    function: Function, version: str = "", options: TrialOptions | None = None, where: str = "train"
) -> Trainer:
    """The trainer that calls ``function``.

    One that other processes can import is known by its module and name. Others - of a notebook, of the program that is
    running, within another function - travel by cloudpickle where it is installed; else they run in this process alone.

    Args:
        function: takes knobs by name or ``**knobs``, and ``seed`` and ``run_dir`` if it has such parameters.
        version: of its code; by default a hash of its source, so that changed code makes other runs.
        options: how it is carried out.
        where: begins what is said of its knobs.

    Raises:
        SpecError: it cannot be called, or has an argument that only a position could fill.
    """
    if not callable(function):
        raise SpecError(f"train must be a function, not {shown(function)}")
    module = str(getattr(function, "__module__", "") or "")
    qualname = str(getattr(function, "__qualname__", "") or type(function).__qualname__)
    name = f"{module}:{qualname}"
    options = options or TrialOptions()
    if _is_importable(function, module, qualname):
        options = replace(options, folder=str(_folder_of(module)))
    else:
        _HERE[name] = function
        options = replace(options, pickled=_pickled(function))
    takes, needs, seeded = _arguments(function)
    identity = TrainerIdentity("function", name, version or _source(function))
    return Trainer(identity, options, takes, needs, seeded, where)


def options_of(told: Mapping[str, Any]) -> TrialOptions:
    """`TrialOptions` of a function; raises `SpecError` for one that there is not, with the nearest."""
    known = ("metric", "lower", "timeout", "retries")
    for name in told:
        if name not in known:
            raise SpecError(f"unknown argument {shown(name)}; {nearest(name, (*_ARGUMENTS, *known))}")
    return table_options({**told}, Path.cwd())


def trials_of(
    trainer: Trainer,
    base: Mapping[str, Any],
    grid: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    seeds: Sequence[int],
) -> tuple[Trial, ...]:
    """The trials of one grid or of several, under each of ``seeds``; raises `SpecError` as `expand`."""
    found: dict[Trial, None] = {}
    for each in [grid or {}] if isinstance(grid, Mapping | None) else grid:
        axes = dict(each)
        zips, derived = axes.pop("zip", []), axes.pop("derived", {})
        zips = [zips] if isinstance(zips, Mapping) else zips
        found |= dict.fromkeys(trials(expand(base, axes, zips, derived, "grid", make=trainer.make)))
        refuse_too_many(len(found) * max(1, len(seeds)), "the grid")
    specs = tuple(trial.replace(seed=seed) for seed in seeds for trial in found) if seeds else tuple(found)
    trainer.check_seeds(specs)
    return specs


def is_here_only(trial: Trial) -> bool:
    """Whether no other process can run the trial."""
    return trial.trainer.kind == "function" and trial.trainer.name in _HERE and trial.options.pickled is None


def found(name: str, options: TrialOptions) -> Function:
    """The function of a trainer.

    Raises:
        SpecError: it is not to be found in this process; says what to do.
    """
    if name in _HERE:
        return _HERE[name]
    if options.pickled is not None:
        cloudpickle = _cloudpickle()
        if cloudpickle is None:
            raise SpecError(f"the function {name} came by cloudpickle, which is not installed here")
        unpickled: Function = cloudpickle.loads(options.pickled)
        return unpickled
    return imported(name, options.folder)


def imported(name: str, folder: str = "") -> Function:
    """The function ``module:function``, whose module may lie in ``folder``; raises `SpecError` where there is none."""
    module, _, qualname = name.partition(":")
    if module == "__main__" or "<" in qualname:
        raise SpecError(f"the function {name} cannot be found in another process: put it into a module of its own")
    if folder and folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        part: Any = importlib.import_module(module)
        for attribute in qualname.split("."):
            part = getattr(part, attribute)
    except ImportError as error:
        raise SpecError(f"cannot import {module!r}, in which the function {name} is to be: {error}") from error
    except AttributeError as error:
        raise SpecError(f"there is no function {qualname!r} in {module!r}") from error
    if not callable(part):
        raise SpecError(f"{name} is no function")
    function: Function = part
    return function


def _is_importable(function: Function, module: str, qualname: str) -> bool:
    if module in ("", "__main__") or "<" in qualname or module not in sys.modules:
        return False
    part: Any = sys.modules[module]
    for attribute in qualname.split("."):
        part = getattr(part, attribute, None)
    return part is function and getattr(sys.modules[module], "__file__", None) is not None


def _folder_of(module: str) -> Path:
    """The folder from which the top of ``module``'s package is imported."""
    top = module.partition(".")[0]
    path = Path(str(getattr(sys.modules.get(top), "__file__", None) or sys.modules[module].__file__)).resolve()
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _cloudpickle() -> Any:
    """The library, ``None`` where it is not installed."""
    return importlib.import_module("cloudpickle") if importlib.util.find_spec("cloudpickle") is not None else None


def _pickled(function: Function) -> bytes | None:
    cloudpickle = _cloudpickle()
    if cloudpickle is None:
        return None
    try:
        return bytes(cloudpickle.dumps(function))
    except Exception:  # whatever it holds that does not travel: it still runs in this process
        return None


def _source(function: Function) -> str:
    try:
        text = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        code = getattr(function, "__code__", None)
        text = repr((code.co_code, code.co_consts)) if code is not None else repr(type(function))
    return f"source {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _arguments(function: Function) -> tuple[frozenset[str] | None, frozenset[str], bool]:
    """The names of the knobs that it takes (``None`` for any), of those that it needs, and whether it takes a seed."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, frozenset(), True
    if wrong := next((p.name for p in parameters if p.kind is p.POSITIONAL_ONLY), None):
        raise SpecError(f"the function has the argument {wrong!r} by position alone; knobs are given by name")
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    seeded = any(p.name == "seed" for p in named)
    needs = frozenset(p.name for p in named if p.default is p.empty and p.name not in GIVEN)
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None, needs, seeded
    return frozenset(p.name for p in named), needs, seeded
