"""Flags: made from the fields of options and knobs, shown in groups; the nearest is named where one is misspelt."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from inspect import cleandoc
from operator import getitem
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo, UnsupportedTypeAnnotationError

from interplay.errors import SpecError, nearest
from interplay.printing import Print
from interplay.text import TEXT_LIMIT, printable, shown


class Command:
    """Flags of one command; its docstring is the first line of its help. Subclasses are dataclasses."""

    EXAMPLE: ClassVar[str]
    """A whole command line, printed at the end of its help."""

    def call(self) -> int:
        """Do it; returns the exit code."""
        raise NotImplementedError


JsonFlag = Annotated[bool, arg(help="print JSON instead of text")]


@dataclasses.dataclass(kw_only=True)
class FigureFlags(Command):
    """What figures are for, and the files of each."""

    format: Annotated[tuple[Literal["png", "svg", "pdf"], ...], arg(help="files of each figure")] = ("png",)
    style: Annotated[Literal["screen", "paper", "slide"], arg(help="type and width of the figures")] = "screen"
    columns: Annotated[Literal[1, 2], arg(help="of a paper: one is 89 mm wide, two are 183; half a slide or one")] = 2

    def wanted(self) -> Print:
        """The same, as figures are made."""
        return Print(tuple(dict.fromkeys(self.format)), self.style, self.columns)


def flag(default: Any, group: str = "") -> Any:
    """A field of a command: its default, and the title under which its help shows it."""
    return dataclasses.field(default=default, metadata={"group": group})


ABOUT = {
    "slurm": "With --executor slurm; each goes before the [slurm] table of a study file. See docs/slurm.md.",
    "study": "For all runs of a study, but for the knobs that it varies or derives itself.",
    "timing": "In seconds.",
}
"""What the help says of a group."""


# -- parsing ----------------------------------------------------------------------------------------------------------


def parse(command: type[Command], prog: str, words: Sequence[str]) -> Command:
    """The flags of ``words``; ``--help`` prints the help of the command with an example, and ends with 0.

    Raises:
        SpecError: a flag that the command does not have; names the nearest.
        SystemExit: help was asked for, or a value cannot be understood.
    """
    words = spelled_out(command, words)
    if not {"-h", "--help"} & set(words):
        _refuse_unknown(command, prog, words)
    try:
        about = cleandoc(command.__doc__ or "")  # said here: tyro would look for it with a parser of docstrings
        found: Any = tyro.cli(_form(command), prog=prog, description=about, args=words, use_underscores=True)
    except SystemExit as stop:
        if not stop.code:
            print(f"example: {command.EXAMPLE}")
        raise
    values: dict[str, Any] = {}
    for name, value in vars(found).items():
        values |= vars(value) if dataclasses.is_dataclass(value) else {name: value}
    return command(**values)


def _form(command: type[Command]) -> type:
    """``command`` as tyro shows it: a dataclass in it for each group of flags."""
    types = get_type_hints(command, include_extras=True)
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    for field in dataclasses.fields(command):  # type: ignore[arg-type]
        shown = (field.name, _shown(types[field.name], field.default), dataclasses.field(default=field.default))
        groups.setdefault(field.metadata.get("group", ""), []).append(shown)
    fields: list[tuple[str, Any, Any]] = groups.pop("", [])
    for title, flags in groups.items():
        kind = dataclasses.make_dataclass(title, flags, kw_only=True)
        # The description is said here, and there is no default: to find either, tyro would take a tenth of a second.
        nested = getitem(Annotated, (kind, tyro.conf.OmitArgPrefixes, arg(help=ABOUT.get(title, ""))))
        fields.append((title, nested, dataclasses.field()))
    return dataclasses.make_dataclass(command.__name__, fields, kw_only=True)


def _shown(kind: Any, default: Any) -> Any:
    """The type of a flag as tyro is to show it: a default that says nothing is not said, nor that it may be None."""
    if not _marks(kind):
        return kind
    inner, marks = kind.__origin__, list(_marks(kind))
    if type(None) in get_args(inner):
        marks.append(tyro.conf.DisallowNone)
    words = default is dataclasses.MISSING and tyro.conf.Positional in marks
    for index, mark in enumerate(marks):
        help = getattr(mark, "help", None)
        if help is not None and (default is None or default is False or default == () or "(default" in help or words):
            marks[index] = dataclasses.replace(mark, help_behavior_hint="")
    if inner is bool:
        return getitem(Annotated, (inner, *marks))
    # How words are read is said here, too: before tyro finds it, it asks of each flag whether it is a group of others,
    # and of its default whether it is of the type, which it leaves to a library that is slow to import (typeguard).
    flat = tuple if tyro.conf.UseAppendAction in marks else object
    return getitem(Annotated, (flat, _reading(inner, frozenset(marks) & _READ_OTHERWISE), *marks))


_READ_OTHERWISE = {tyro.conf.DisallowNone, tyro.conf.UseAppendAction}
"""Marks that change how words are read."""


@cache
def _reading(kind: Any, marks: frozenset[Any]) -> Any:
    """How words become a value of ``kind``, and a default the words of its help: tyro's own rules."""
    found = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(kind, set(marks)))
    if isinstance(found, UnsupportedTypeAnnotationError):
        raise found
    return found


def names_of(command: type[Command]) -> dict[str, str]:
    """Every spelling of a flag of ``command``, without dashes, and the field that it sets."""
    found: dict[str, str] = {}
    types = get_type_hints(command, include_extras=True)
    for field in dataclasses.fields(command):  # type: ignore[arg-type]
        kind = types[field.name]
        if tyro.conf.Positional in _marks(kind):
            continue
        said = [mark for mark in _marks(kind) if hasattr(mark, "aliases")]
        own = next((mark.name for mark in said if mark.name), field.name)
        for spelling in (own, *(alias for mark in said for alias in mark.aliases or ())):
            word = spelling.removeprefix("--").replace("-", "_")
            found[word] = field.name
            if _is_switch(kind):
                found[f"no_{word}"] = field.name
    return found


def _marks(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__metadata__", ())


def _is_switch(kind: Any) -> bool:
    return getattr(kind, "__origin__", kind) is bool


def _refuse_unknown(command: type[Command], prog: str, words: Sequence[str]) -> None:
    """Refuse a flag that ``command`` does not have, and a value that is none of a flag's; raises `SpecError`."""
    known = names_of(command)
    types = get_type_hints(command, include_extras=True)
    for word, after in zip(words, (*words[1:], ""), strict=False):
        name, equals, value = word.partition("=")
        if name == "--":
            return
        asked = name[2:].replace("-", "_")
        if not name.startswith("--"):
            continue
        if asked not in known:
            near = get_close_matches(asked[:100], known, n=1, cutoff=0.5)
            hint = f"did you mean --{near[0]}? " if near else ""
            raise SpecError(f"{prog} has no --{asked}; {hint}{prog} --help shows all flags")
        choices = _choices(types[known[asked]])
        given = value if equals else after
        if choices and given and not given.startswith("--") and given not in choices:
            raise SpecError(f"unknown {asked} {shown(given)}; {nearest(given, choices)}")


def _choices(kind: Any) -> tuple[str, ...]:
    """The words that a flag takes one of; none where it takes others."""
    inner = getattr(kind, "__origin__", kind) if _marks(kind) else kind
    parts = [
        part for part in (get_args(inner) if get_origin(inner) is not Literal else (inner,)) if part is not type(None)
    ]
    if len(parts) != 1 or get_origin(parts[0]) is not Literal:
        return ()
    return tuple(map(str, get_args(parts[0])))


_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def spelled_out(command: type[Command], argv: Sequence[str]) -> list[str]:
    """``argv`` with ``--flag true`` and ``--flag false`` of the switches turned into ``--flag`` and ``--no_flag``.

    The documents use ``--use_amp false`` and ``--no_use_amp`` for the same thing.
    """
    types = get_type_hints(command, include_extras=True)
    switches = {name for name, field in names_of(command).items() if name == field and _is_switch(types[field])}
    args: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        flag = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or flag not in switches:
            args.append(word)
            continue
        if not equals and words and words[0].lower() in _TRUTH:
            value, equals = words.pop(0), "="
        if equals and value.lower() not in _TRUTH:
            args.append(word)  # left for the parser to refuse
            continue
        args.append(f"--{flag}" if not equals or _TRUTH[value.lower()] else f"--no_{flag}")
    return args


# -- and back to words ------------------------------------------------------------------------------------------------


def words_of(flags: Command, without: Iterable[str] = ()) -> list[str]:
    """The flags of ``flags`` that differ from their defaults, as words of a command line; positionals first."""
    types = get_type_hints(type(flags), include_extras=True)
    spelling: dict[str, str] = {}
    for word, name in names_of(type(flags)).items():
        spelling.setdefault(name, word)
    first: list[str] = []
    rest: list[str] = []
    for field in dataclasses.fields(flags):  # type: ignore[arg-type]
        value, kind = getattr(flags, field.name), types[field.name]
        if field.name in without or value == field.default or value is None or value == ():
            continue
        values = [str(each) for each in value] if isinstance(value, tuple) else [str(value)]
        if field.name not in spelling:
            first += values
        elif isinstance(value, bool):
            rest.append(f"--{spelling[field.name]}" if value else f"--no_{spelling[field.name]}")
        elif tyro.conf.UseAppendAction in _marks(kind):
            rest += [f"--{spelling[field.name]}={each}" for each in values]
        else:
            rest += [f"--{spelling[field.name]}", *values]
    return [*first, *rest]


def line_of(program: str, flags: Command, without: Iterable[str] = ()) -> str:
    """A command line that a shell understands: ``program`` with the flags that were given."""
    return printable(shlex.join([*program.split(), *words_of(flags, without)]))[:TEXT_LIMIT]
