"""The conditions under which the engine is tried: a name and how its studies are drawn."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from interplay.analysis.verify.planes import planes, small_batches, small_coupling, small_ordering
from interplay.analysis.verify.studies import (
    Builder,
    SimulatedStudy,
    dense_exponent,
    dense_optimum,
    dense_ordering,
    exponents,
    orderings,
    single_optimum,
)
from interplay.errors import SpecError, nearest


def _conditions() -> dict[str, Builder]:
    found: dict[str, Builder] = {}
    for axis in ("lr", "linear_rule", "fixed_lr"):
        for scatter in (0.0, 0.15):
            for several in (True, False):
                name = f"exponent.{axis}{'.scatter' if scatter else ''}.{'seeds' if several else 'one_seed'}"
                found[name] = exponents(axis, scatter, several)
    found["exponent.lr.loss"] = _by_loss(exponents("lr", 0.0, True))
    found["exponent.fixed_lr.loss"] = _by_loss(exponents("fixed_lr", 0.15, True))
    found["exponent.lr.blocks"] = _in_blocks(exponents("lr", 0.0, True))
    found["exponent.fixed_lr.blocks"] = _in_blocks(exponents("fixed_lr", 0.15, True))
    for grid in ("x1.2", "x1.5", "x2", "x3", "x5", "programme"):
        found[f"optimum.{grid}"] = single_optimum(grid)
    for grid in ("programme", "x2", "x3"):
        found[f"ordering.equal.{grid}"] = orderings(1.0, grid)
        found[f"ordering.factor3.{grid}"] = orderings(3.0, grid, 3)
    found["ordering.reversed3"] = orderings(1 / 3, "any", 3)
    for ratio in (1.1, 1.25, 1.5, 2.0):
        found[f"ordering.factor{ratio:g}"] = orderings(ratio, "any")
    for kind in ("product", "power", "extra"):
        found[f"plane.{kind}"] = planes(kind)
    return found | {
        "density.optimum": dense_optimum,
        "density.exponent": dense_exponent,
        "density.ordering": dense_ordering,
        "extend.coupling": small_coupling,
        "extend.batch": small_batches,
        "extend.ordering": small_ordering,
    }


def _by_loss(builder: Builder) -> Builder:
    """The same studies, judged by the test loss."""

    def build(rng: np.random.Generator, condition: str) -> SimulatedStudy:
        return dataclasses.replace(builder(rng, condition), metric="final_test_loss")

    return build


def _in_blocks(builder: Builder) -> Builder:
    """The same studies where runs of one seed share one to three times what a run scatters by itself."""

    def build(rng: np.random.Generator, condition: str) -> SimulatedStudy:
        study = builder(rng, condition)
        return dataclasses.replace(study, world=dataclasses.replace(study.world, of_seeds=float(rng.uniform(1, 3))))

    return build


CONDITIONS = _conditions()
"""By name; the word before the first point says what is asked of the engine."""


CLOSED_FORMS = "closed_forms"
"""What the problems of `interplay.analysis.verify.problems` are called together."""


def draw(condition: str, index: int, seed: int = 0) -> SimulatedStudy:
    """Study number ``index`` of a condition: the same for the same name, index and seed, whatever else is drawn.

    Raises:
        KeyError: there is no such condition.
    """
    return CONDITIONS[condition](np.random.default_rng([seed, zlib.crc32(condition.encode()), index]), condition)


def named(words: list[str]) -> list[str]:
    """Conditions that are named in full or by their first words: "ordering", "ordering.equal".

    Raises:
        SpecError: a word names none.
    """
    for word in words:
        if not any(_starts(name, word) for name in CONDITIONS):
            kinds = {name.partition(".")[0] for name in CONDITIONS} | {CLOSED_FORMS}
            raise SpecError(f"no condition {word!r}; {nearest(word, kinds)}")
    return [name for name in CONDITIONS if not words or any(_starts(name, word) for word in words)]


def _starts(name: str, word: str) -> bool:
    return name == word or name.startswith(word + ".")
