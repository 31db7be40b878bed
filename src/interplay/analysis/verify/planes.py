"""Simulated (η, λ) planes for the direction and the sufficiency of ηλ, and small studies that a loop extends."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from interplay.analysis.verify.studies import (
    BAND,
    COUPLING_LRS,
    PROGRAMME_DECAYS,
    Builder,
    Rng,
    SimulatedStudy,
    Truth,
    Word,
    draw_divergence,
    draw_exponent,
    draw_key,
    draw_shape,
    exponent_truth,
    exponent_word,
    geometric,
    law_world,
    log_middle,
    method_cells,
    method_world,
    seed_numbers,
)
from interplay.analysis.verify.worlds import Cell, PowerLaw, Surface, World

NEAR = 5.0
"""Points below the best within which sufficiency is meant."""

SUFFICIENT, INSUFFICIENT = 0.02, 0.3
"""Share of the variance of the true means that no curve in ηλ explains: what is surely sufficient, surely not."""


def unexplained(surface: Surface, cells: Sequence[Cell]) -> float:
    """Share of the variance of the true means near the best that a smooth curve in ηλ (of degree 4) leaves."""
    known = [cell for cell in cells if not surface.diverged(cell)]
    mean = np.array([surface.accuracy(cell) for cell in known])
    near = mean >= mean.max() - NEAR
    x = np.log([cell.lr * cell.weight_decay for cell in known])[near]
    y = mean[near]
    x = x - x.mean()
    design = np.vander(x, min(5, len(set(np.round(x, 6)))))
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(np.sum(residual**2) / np.sum((y - y.mean()) ** 2))


def planes(kind: str) -> Builder:
    """Surfaces over (η, λ): "product" depends on ηλ only, "power" on η λᵏ, "extra" on ηλ and on η besides."""

    def build(rng: Rng, condition: str) -> SimulatedStudy:
        lrs: tuple[float, ...] = COUPLING_LRS
        decays: tuple[float, ...] = PROGRAMME_DECAYS
        if rng.random() < 0.5:
            lrs, decays = geometric(0.02, 2, 5), geometric(1e-4, 2, 8)
        k = float(rng.choice([0.4, 0.5, 0.6, 1.5, 2.0])) if kind == "power" else 1.0
        name, shape = draw_shape(rng)
        key = draw_key(rng)
        surface = PowerLaw(
            key=key,
            shape=shape,
            intercept=float(log_middle(decays) - (math.log(0.1) - log_middle(lrs)) / k + rng.uniform(-0.4, 0.4)),
            lr_exponent=-1 / k,
            batch_exponent=1.0,
            centre=log_middle(lrs),
            top=float(rng.uniform(70, 80)),
            stretch=k,
            bow=float(rng.uniform(1.2, 2.0)) if kind == "extra" else 0.0,
            wobble=0.0,
            diverges=draw_divergence(rng),
        )
        cells = tuple(Cell(lr, wd) for lr in lrs for wd in decays)
        share = unexplained(surface, cells)
        sufficient: Word = "supported" if kind == "product" else "refuted" if share >= INSUFFICIENT else ""
        truths = [Truth("inverse.sufficiency", sufficient, share, None, "sufficiency")]
        if kind != "extra":  # where η acts besides, contours have no one direction
            truths.append(Truth("inverse.direction", exponent_word(k, 1.0), k, (1 - BAND, 1 + BAND), "direction"))
            truths.append(exponent_truth("inverse.profile", -1 / k, -1.0))
        count = int(rng.integers(2, 5))
        tags = {"shape": name, "seeds": count, "k": k, "unexplained": round(share, 3)}
        return SimulatedStudy(condition, World(surface, key), cells, seed_numbers(count), tuple(truths), (), tags)

    return build


def small_coupling(rng: Rng, condition: str) -> SimulatedStudy:
    """Three rates with four or five decays ×4 apart and one or two seeds: too little, to be extended."""
    lrs = geometric(float(rng.choice([0.02, 0.05])), 2, 3)
    decays = geometric(1e-4, 4, int(rng.integers(4, 6)))
    value = draw_exponent(rng, -1.0)
    world, tags = law_world(rng, "lr", value, [(lr, 128) for lr in lrs], decays, float(rng.choice([0.0, 0.1])), "lr")
    cells = tuple(Cell(lr, wd) for lr in lrs for wd in decays)
    return SimulatedStudy(
        condition,
        world,
        cells,
        seed_numbers(int(rng.integers(1, 3))),
        (exponent_truth("inverse.profile", value, -1.0),),
        (),
        tags,
    )


def small_batches(rng: Rng, condition: str) -> SimulatedStudy:
    """Two or three batch sizes at a fixed rate with four decays ×4 apart: too little, to be extended."""
    batches = (64, 128, 256)[: int(rng.integers(2, 4))]
    decays = geometric(1e-4, 4, 4)
    value = draw_exponent(rng, 1.0)
    points = [(0.1, b) for b in batches]
    world, tags = law_world(rng, "fixed_lr", value, points, decays, float(rng.choice([0.0, 0.1])), "batch_size")
    cells = tuple(Cell(0.1, wd, 0.9, b) for b in batches for wd in decays)
    return SimulatedStudy(
        condition,
        world,
        cells,
        seed_numbers(int(rng.integers(1, 3))),
        (exponent_truth("batch.fixed_lr", value, 1.0),),
        (),
        tags,
    )


def small_ordering(rng: Rng, condition: str) -> SimulatedStudy:
    """Three methods at five rates ×4 apart, two seeds; the optima differ by a factor of two or three, either way."""
    ratio = float(rng.choice([2.0, 3.0, 0.5, 1 / 3]))
    world, _, shapes = method_world(rng, ratio, float(math.exp(rng.uniform(math.log(0.05), math.log(0.25)))))
    word: Word = "supported" if ratio > 1 else "refuted"
    claim = "ordering.sgd>sgd_wd" if rng.random() < 0.5 else "ordering.sgd_wd>sgdm_wd"
    truths = (Truth(claim, word, math.log(ratio), None, "ordering"),)
    cells = method_cells(geometric(0.004, 4, 5))
    return SimulatedStudy(condition, world, cells, seed_numbers(2), truths, (), {"shapes": shapes, "ratio": ratio})
