"""The ``[trainer]`` table of a study file: somebody else's training, which the lab runs as its own.

[trainer]
command = "python train.py --lr {lr} --wd {weight_decay} --seed {seed} --out {run_dir}"
metrics = "metrics.jsonl"   # in run_dir, one JSON object a line; without it, the last such line of standard output
metric = "val_acc"          # key by which runs are judged; without it, a usual name
pattern = 'acc (?P<val_acc>\\S+)'   # for a script that prints words: a regular expression of a line, or a list of such
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import SpecError, nearest
from interplay.study.grid import FUNCTIONS, evaluate
from interplay.text import one_line, seconds_of, shown
from interplay.trial import TrainerIdentity, Trial, TrialOptions, Value, shown_value

KEYS = tuple("command metrics pattern metric lower version cwd timeout retries grace environment".split())
"""Of the table."""

ALWAYS = ("run_dir", "seed", "run_id", "spec")
"""Placeholders that are there whatever the knobs: the run's own folder, its seed, its name, and its spec.json."""

_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_NAME = re.compile(r"[^\W\d][\w.-]*|\d\w*")
"""What stands in a placeholder and is no formula: a dash may be part of a name, as in ``weight-decay``."""
_KEPT_SPACE = "\x1f"
"""Stands for a space within a placeholder while a command is split; no command may have it."""
_SHELL = frozenset(("&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1", "2>"))
_USUAL_SEED = 42
"""As of the lab's own runs."""


@dataclass(frozen=True)
class Trainer:
    """A trainer as a study states it: makes the trials of a grid, and refuses knobs that it would pass over."""

    identity: TrainerIdentity
    options: TrialOptions
    takes: frozenset[str] | None = None
    """Knobs that it takes; ``None`` where it takes any."""
    needs: frozenset[str] = frozenset()
    """Knobs without which it does not run."""
    takes_seed: bool = True
    """Whether runs of several seeds can differ."""
    where: str = "trainer"
    formulas: tuple[str, ...] = ()
    """Arithmetic over knobs that stands in the command."""

    def make(self, values: Mapping[str, Any]) -> Trial:
        """The trial of these knobs.

        Raises:
            SpecError: a knob that the trainer does not take, or one that it needs; names the nearest.
        """
        knobs = dict(values)
        seed = knobs.pop("seed", _USUAL_SEED)
        kind = self.identity.kind
        for name in knobs:
            if self.takes is not None and name not in self.takes:
                hint = nearest(name, self.takes - set(ALWAYS)) if self.takes - set(ALWAYS) else "it uses none"
                alone = sorted(self.needs - set(knobs) - set(ALWAYS))
                if alone:  # which of the two is misspelled, nobody can tell
                    what = _spaced(alone[0], knobs) or "spell both alike"
                    hint += f"; {_named(alone[0], kind)} is no knob of this study: {what}"
                raise SpecError(f"the {kind} does not use the knob {shown(name)}; {hint}")
        for name in sorted(self.needs):
            if name not in knobs and name not in ALWAYS:
                what = _named(name, kind)
                hint = _spaced(name, knobs) or nearest(name, knobs)
                raise SpecError(f"the {kind} has {what}, which is no knob of this study; {hint}")
        for formula in self.formulas:  # what cannot be computed is known before the first run
            evaluate(formula, {**knobs, "seed": seed})
        return Trial(self.identity, knobs, seed, self.options)

    def check_seeds(self, trials: Iterable[Trial]) -> None:
        """Raise `SpecError` where runs have several seeds and the trainer has no use for them."""
        if not self.takes_seed and len({trial.seed for trial in trials}) > 1:
            what = "{seed}" if self.identity.kind == "command" else "an argument seed"
            raise SpecError(
                f"{self.where}: the runs have several seeds, and the {self.identity.kind} does not use {what}: they "
                "would all be the same"
            )


def _named(name: str, kind: str) -> str:
    """A placeholder of a command, or an argument of a function, as its author wrote it."""
    return f"{{{name}}}" if kind == "command" else name


def _spaced(name: str, knobs: Iterable[str]) -> str:
    """What to write where a name is a difference of knobs; empty where it is none."""
    parts = name.split("-")
    return f"write spaces around a minus: {{{' - '.join(parts)}}}" if set(parts) & set(knobs) and parts[1:] else ""


def command(table: Mapping[str, Any], folder: Path, where: str = "trainer") -> Trainer:
    """The trainer of a ``[trainer]`` table that lies in ``folder``.

    Raises:
        SpecError: an unknown key, with the nearest one, or an impossible value; begins with ``where``.
    """
    for key in table:
        if key not in KEYS:
            raise SpecError(f"{where}: unknown key {shown(key)}; {nearest(key, KEYS)}")
    try:
        return _command(table, folder, where)
    except SpecError as error:
        raise SpecError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _command(table: Mapping[str, Any], folder: Path, where: str) -> Trainer:
    template = table.get("command")
    if not isinstance(template, str) or not template.strip():
        raise SpecError(f'command must be a text such as "python train.py --lr {{lr}}", not {shown(template)}')
    template = " ".join(template.split())  # longer ones are written over several lines
    identity = TrainerIdentity("command", template, _text(table, "version"))
    arguments = split(template)
    options = table_options(table, folder)
    texts = [*arguments, *(value for _, value in options.environment)]
    stated = [each for text in texts for each in placeholders(text)]
    formulas = tuple(each for each in stated if _is_formula(each))
    found = frozenset(name for each in stated for name in names_in(each))
    takes, takes_seed = None if "spec" in found else found, bool(found & {"seed", "spec"})
    return Trainer(identity, options, takes, found, takes_seed, where, formulas)


def split(template: str) -> list[str]:
    """The arguments of a command, as a shell would split them, placeholders in place.

    Values are put in afterwards: whatever they hold, spaces and quotes too, each stays part of one argument.

    Raises:
        SpecError: quotes that do not close, an empty command, or what only a shell understands.
    """
    # A formula is one argument without quotes, too.
    closed = _PLACEHOLDER.sub(lambda match: re.sub(r"\s", _KEPT_SPACE, match[0]), template)
    try:
        arguments = [argument.replace(_KEPT_SPACE, " ") for argument in shlex.split(closed)]
    except ValueError as error:
        raise SpecError(f"the command cannot be split into arguments: {error}") from error
    if not arguments:
        raise SpecError("the command is empty")
    if shell := next((each for each in arguments if each in _SHELL), None):
        raise SpecError(f"{shown(shell)} is for a shell, and none is used; write bash -c '...' if you need one")
    return arguments


def placeholders(text: str) -> list[str]:
    """What stands in ``{...}``: names, and formulas of names such as ``{weight_decay * batch_size}``.

    ``{{`` and ``}}`` are the characters themselves. Raises `SpecError` for ``{}``.
    """
    found = [match[1].strip() for match in _PLACEHOLDER.finditer(text) if match[1] is not None]
    if not all(found):
        raise SpecError("an empty placeholder {}; write {{}} for the characters themselves")
    return found


def names_in(placeholder: str) -> frozenset[str]:
    """The names that a placeholder uses. Raises `SpecError` for what is neither a name nor an expression."""
    if not _is_formula(placeholder):
        return frozenset((placeholder,))
    try:
        tree = ast.parse(placeholder, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        hint = (
            "write {name}, arithmetic such as {weight_decay * batch_size}, or {{ and }} for the characters themselves"
        )
        raise SpecError(f"{{{placeholder}}} is neither a name nor a formula; {hint}") from error
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)) - FUNCTIONS


def _is_formula(placeholder: str) -> bool:
    return _NAME.fullmatch(placeholder) is None


def filled(text: str, values: Mapping[str, Value]) -> str:
    """``text`` with the value of each placeholder."""

    def one(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        name = match[1].strip()
        return shown_value(evaluate(name, values) if _is_formula(name) else values[name])

    return _PLACEHOLDER.sub(one, text)


def table_options(table: Mapping[str, Any], folder: Path) -> TrialOptions:
    """How trials are carried out, of a table that lies in ``folder``; raises `SpecError` for an impossible value."""
    cwd = folder / Path(_text(table, "cwd")).expanduser()
    if not cwd.is_dir():
        raise SpecError(f"cwd {str(cwd)!r} is no folder")
    metrics = _text(table, "metrics")
    if Path(metrics).is_absolute() or ".." in Path(metrics).parts:
        raise SpecError(f"metrics must be a file within run_dir, such as metrics.jsonl, not {shown(metrics)}")
    lower = table.get("lower", False)
    if not isinstance(lower, bool):
        raise SpecError(f"lower must be true or false, not {shown(lower)}")
    if lower and not _text(table, "metric"):
        raise SpecError("lower needs metric, the key of which less is better")
    asked = table.get("pattern", ())
    pattern = tuple(_checked_pattern(each) for each in (asked if isinstance(asked, list | tuple) else [asked]))
    environment = table.get("environment", {})
    if not isinstance(environment, Mapping) or not all(isinstance(v, str) for v in environment.values()):
        raise SpecError(f"environment must be a table of texts, not {shown(environment)}")
    if wrong := next((name for name in environment if not re.fullmatch(r"[A-Za-z_]\w*", name)), None):
        raise SpecError(f"environment: {shown(wrong)} is no name of a variable")
    for name, value in environment.items():
        one_line(f"environment: {name}", value)
    return TrialOptions(
        folder=str(cwd.resolve()),
        metrics=metrics,
        pattern=pattern,
        metric=_text(table, "metric"),
        lower=lower,
        timeout=_duration(table, "timeout", 0.0),
        retries=_whole(table, "retries"),
        grace=_duration(table, "grace", TrialOptions.grace),
        environment=tuple(environment.items()),
    )


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name, "")
    return one_line(name, str(value) if type(value) in (int, float) and name == "version" else value)


def _checked_pattern(value: object) -> str:
    text = one_line("pattern", value)
    try:
        groups = re.compile(text).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise SpecError(f"pattern {shown(text)} is no regular expression: {error}") from error
    if not groups:
        raise SpecError(f"pattern {shown(text)} names no measurement; write (?P<test_acc>\\S+) where the number stands")
    return text


def _duration(table: Mapping[str, Any], name: str, usual: float) -> float:
    value = table.get(name)
    if value is None:
        return usual
    if isinstance(value, str):
        return seconds_of(value, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise SpecError(f"{name} must be a duration such as 2h or 90m, or seconds, not {shown(value)}")
    return float(value)


def _whole(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
        raise SpecError(f"{name} must be a whole number from 0 to 100, not {shown(value)}")
    return value
