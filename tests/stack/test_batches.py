from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interplay.data.batches import TrainingBatches
from interplay.data.splits import load
from interplay.spec import RunSpec
from interplay.stack.batches import StackedBatches


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"augment": "crop_flip"},
        {"augment": "flip", "label_noise": 0.3},
        {"train_limit": 330, "val_split": 50, "label_noise": 0.2, "augment": "crop"},
    ],
)
def test_every_run_of_a_stack_sees_the_batches_that_it_sees_alone(knobs: dict[str, Any]) -> None:
    """Bit for bit, each with its seed, at epochs of their own, the short last batch included."""
    base = RunSpec(dataset="digits", batch_size=64, **knobs)
    seeds, epochs = [5, 6, 5], [1, 1, 4]
    specs = [base.replace(seed=seed) for seed in seeds]
    by_seed = {seed: load(base.replace(seed=seed), Path("/nonexistent")) for seed in seeds}
    splits = [by_seed[seed] for seed in seeds]
    stacked = StackedBatches(specs, splits)
    own = [list(TrainingBatches(*each).epoch(epoch)) for *each, epoch in zip(specs, splits, epochs, strict=True)]
    choices = list(stacked.epoch(epochs))
    assert len(choices) == stacked.steps == len(own[0])
    for number, choice in enumerate(choices):
        images, labels = stacked.gather(choice)
        images = images.view(-1, 3, *images.shape[1:])
        for place in range(3):
            assert torch.equal(images[:, place], own[place][number][0])
            assert torch.equal(labels[place], own[place][number][1])


def test_images_that_are_the_same_are_kept_once() -> None:
    spec = RunSpec(dataset="digits")
    splits = load(spec, Path("/nonexistent"))
    stacked = StackedBatches([spec, spec.replace(seed=1)], [splits, splits])
    assert len(stacked.pool.images) == 1000


def test_runs_on_other_data_are_refused() -> None:
    small = RunSpec(dataset="digits", train_limit=500)
    specs = [small, small.replace(train_limit=400)]
    with pytest.raises(ValueError, match="the same data"):
        StackedBatches(specs, [load(spec, Path("/nonexistent")) for spec in specs])
