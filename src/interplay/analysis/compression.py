"""Hypernetworks beside their direct twins: error against the number of stored parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from interplay.analysis.cells import Cell, cell_of
from interplay.analysis.ridge import WITHIN_POINTS
from interplay.record import RunRecord, Status
from interplay.spec import RunSpec

MODELS = ("hyper_resnet", "wide_resnet")


@dataclass(frozen=True)
class Network:
    """One network at its best setting of learning rate and decay."""

    name: str
    generated: bool
    parameters: int
    """Stored numbers."""
    error: float
    """Test error, per cent."""
    spread: float | None
    """Standard error of that mean, points; ``None`` without repetitions and for what others published.

    The standard deviation of a run is pooled over all settings within `ridge.WITHIN_POINTS` of the best; that of the
    two or three runs of one setting says little.
    """
    runs: int
    where: str
    """The setting, or the source."""
    shape: str
    """Depth and width, which a network shares with its twin."""


@dataclass(frozen=True)
class Compression:
    """``pairs`` are (hypernetwork, twin) of one shape and one recipe; ``published`` those of the paper."""

    pairs: tuple[tuple[Network, Network], ...]
    recipe: str
    """Data and length that all of ``pairs`` have in common."""
    published: tuple[tuple[Network, Network], ...]


def _of_the_paper(shape: str, generated: bool, parameters: int, error: float) -> Network:
    name = f"{'hyper' if generated else 'WRN'} {shape}"
    return Network(name, generated, parameters, error, None, 1, "Ha, Dai, Le, arXiv 1609.09106", f"WRN {shape}")


PUBLISHED = (
    (_of_the_paper("40-1", True, 97_000, 8.02), _of_the_paper("40-1", False, 563_000, 6.73)),
    (_of_the_paper("40-2", True, 148_000, 7.23), _of_the_paper("40-2", False, 2_236_000, 5.66)),
)
"""Of CIFAR-10, all training images."""


def compression_picture(records: Iterable[RunRecord]) -> Compression | None:
    """The pairs that ``records`` hold, of the recipe with most of them; ``None`` without a pair.

    The best setting of each network (η, λ, momentum, and what only a hypernetwork has) is that of the highest mean
    final test accuracy over its seeds: chosen on the test set, for both alike. All the rest but the shape is the
    recipe.
    """
    cells: dict[tuple[RunSpec, str], dict[str, dict[Cell, list[RunRecord]]]] = {}
    for record in records:
        spec = record.spec
        if (
            not isinstance(spec, RunSpec)
            or spec.model not in MODELS
            or record.status is not Status.FINISHED
            or record.final_test_acc is None
        ):
            continue
        place = cells.setdefault((_recipe(spec), _shape(spec)), {}).setdefault(spec.model, {})
        place.setdefault(cell_of(spec), []).append(record)
    pairs: dict[RunSpec, list[tuple[Network, Network]]] = {}
    for (recipe, shape), found in sorted(cells.items(), key=lambda item: item[0][1]):
        if len(found) == len(MODELS):
            hyper, twin = (_best(found[model], model == MODELS[0], shape) for model in MODELS)
            pairs.setdefault(recipe, []).append((hyper, twin))
    if not pairs:
        return None
    recipe = max(pairs, key=lambda each: (len(pairs[each]), _words(each)))
    return Compression(tuple(pairs[recipe]), _words(recipe), PUBLISHED)


def _recipe(spec: RunSpec) -> RunSpec:
    """What two runs to be compared must share: shape, setting, hypernetwork and seed are brought to one value."""
    bare = RunSpec()
    return spec.replace(model="wide_resnet", **{name: getattr(bare, name) for name in _MAY_DIFFER})


_SHAPE = ("widening", "blocks_per_stage")
_HYPERNETWORK = ("hyper_init", "kernel_decay", "normalize_embeddings")
_SETTING = ("lr", "weight_decay", "momentum", "dampening", "nesterov")
_MAY_DIFFER = (*_SHAPE, *_HYPERNETWORK, *_SETTING, "seed")


def _words(spec: RunSpec) -> str:
    images = f"{spec.train_limit:,} images" if spec.train_limit else "all images"
    return f"{spec.dataset}, {images}, {spec.epochs} epochs, B = {spec.batch_size}, {spec.optimizer}"


def _shape(spec: RunSpec) -> str:
    blocks, widening = spec.blocks_per_stage, spec.widening
    return f"{blocks} block{'s' * (blocks > 1)} a stage" + (f", {widening} times as wide" if widening > 1 else "")


def _best(cells: dict[Cell, list[RunRecord]], generated: bool, shape: str) -> Network:
    def mean(runs: list[RunRecord]) -> float:
        return sum(run.final_test_acc or 0.0 for run in runs) / len(runs)

    setting, runs = max(cells.items(), key=lambda item: mean(item[1]))
    best = mean(runs)
    near = [each for each in cells.values() if mean(each) >= best - WITHIN_POINTS]
    freedom = sum(len(each) - 1 for each in near)
    squares = sum(((run.final_test_acc or 0.0) - mean(each)) ** 2 for each in near for run in each)
    spread = math.sqrt(squares / freedom / len(runs)) if freedom else None
    where = f"η {setting.lr:g}, λ {setting.weight_decay:g}"
    name = f"{'hypernetwork' if generated else 'twin'}, {shape}"
    return Network(name, generated, runs[0].parameters or 0, 100 - best, spread, len(runs), where, shape)
