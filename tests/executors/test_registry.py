"""Executors answer for themselves: nobody above them asks which one it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import interplay
from interplay.errors import SpecError
from interplay.executors.base import Executor
from interplay.executors.registry import EXECUTORS, OPTIONS, check_options, executor_class
from interplay.lab.settings import Settings

PACKAGE = Path(interplay.__file__).parent


@pytest.mark.parametrize("name", EXECUTORS)
def test_every_name_is_an_executor_that_says_where_runs_go(name: str) -> None:
    found = executor_class(name)
    assert issubclass(found, Executor)
    slots = found.slots(Settings(executor=name, workers=2))
    assert slots
    assert {slot.device for slot in slots} == {"cpu"}
    assert len({slot.name for slot in slots}) == len(slots)
    # One that does not submit is one that stays; one that submits can.
    assert (found.submit is not Executor.submit) == found.submits(Settings(executor=name))


def test_a_misspelt_executor_is_answered_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="unknown executor 'slrum'; did you mean 'slurm'"):
        executor_class("slrum")


def test_every_option_is_refused_by_those_that_would_pass_over_it() -> None:
    for option in OPTIONS:
        for name, entry in EXECUTORS.items():
            if option in entry.options:
                check_options(name, {option: option})
            else:
                with pytest.raises(SpecError, match=f"--{option} is for --executor "):
                    check_options(name, {option: option})


def _names(node: ast.AST) -> set[str]:
    return {each.attr if isinstance(each, ast.Attribute) else each.id
            for each in ast.walk(node) if isinstance(each, ast.Attribute | ast.Name)}  # fmt: skip


@pytest.mark.parametrize("room", ["speed", "lab", "cli"])
def test_nobody_asks_which_executor_it_is(room: str) -> None:
    asked = []
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            compared = isinstance(node, ast.Compare) and "executor" in _names(node)
            called = isinstance(node, ast.Call) and "isinstance" in _names(node.func)
            if compared or (called and any(name.endswith("Executor") for name in _names(node))):
                asked.append(f"{path.name}:{node.lineno}")
    assert asked == []
