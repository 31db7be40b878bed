from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy import stats
from torch import Tensor

from interplay.data.batches import TrainingBatches, crop_flip, normalise, plan_epoch
from interplay.data.splits import Split, Splits
from interplay.spec import RunSpec

PADDING = 4


def images(n: int, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def splits(n: int, size: int = 32) -> Splits:
    labels = torch.arange(n) % 10
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    split = Split(images(n, size), labels)
    return Splits(split, split, None, mean, std, 10)


def one_by_one(image: Tensor, top: int, left: int, flip: bool) -> Tensor:
    """RandomCrop(32, padding=4) on raw zeros, then a mirror, by PIL, which shares nothing with the lab."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture = ImageOps.expand(picture, border=PADDING, fill=0).crop((left, top, left + 32, top + 32))
    if flip:
        picture = ImageOps.mirror(picture)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def test_a_batch_equals_pil_image_by_image() -> None:
    source = images(200)
    plan = plan_epoch(RunSpec(), 1, len(source), PADDING)
    padded = torch.nn.functional.pad(source, [PADDING] * 4)
    found = crop_flip(padded, plan.order, plan.offsets, plan.flips, (32, 32))
    for row in range(len(source)):
        top, left = plan.offsets[row].tolist()
        expected = one_by_one(source[plan.order[row]], top, left, bool(plan.flips[row]))
        assert torch.equal(found[row], expected)
    assert found.dtype == torch.uint8


def test_padding_is_raw_zero_and_normalisation_comes_last() -> None:
    padded = torch.nn.functional.pad(torch.full((1, 3, 32, 32), 255, dtype=torch.uint8), [PADDING] * 4)
    corner = crop_flip(padded, torch.tensor([0]), torch.tensor([[0, 0]]), torch.tensor([False]), (32, 32))
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    found = normalise(corner, mean, std)
    assert torch.allclose(found[0, :, 0, 0], -mean / std)
    assert torch.allclose(found[0, :, 31, 31], (1 - mean) / std)


def test_every_offset_and_both_mirrors_are_equally_frequent() -> None:
    draws = [plan_epoch(RunSpec(), epoch, 5000, PADDING) for epoch in range(1, 5)]
    offsets = torch.cat([d.offsets for d in draws])
    flips = torch.cat([d.flips for d in draws])
    cells = np.bincount((offsets[:, 0] * 9 + offsets[:, 1]).numpy(), minlength=81)
    assert len(cells) == 81
    assert stats.chisquare(cells).pvalue > 1e-3
    assert stats.binomtest(int(flips.sum()), len(flips), 0.5).pvalue > 1e-3
    # Independent of one another: the mirror does not depend on the offset.
    table = np.array([np.bincount(offsets[flips == side, 1].numpy(), minlength=9) for side in (True, False)])
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_draws_differ_between_images_epochs_and_seeds_but_not_between_calls() -> None:
    first = plan_epoch(RunSpec(), 1, 1000, PADDING)
    assert torch.equal(first.order, plan_epoch(RunSpec(), 1, 1000, PADDING).order)
    for other in (plan_epoch(RunSpec(), 2, 1000, PADDING), plan_epoch(RunSpec(seed=1), 1, 1000, PADDING)):
        assert not torch.equal(first.order, other.order)
        assert not torch.equal(first.offsets, other.offsets)
        assert not torch.equal(first.flips, other.flips)


def test_order_and_augmentation_have_generators_of_their_own() -> None:
    plain = plan_epoch(RunSpec(augment="none"), 3, 1000, 0)
    full = plan_epoch(RunSpec(), 3, 1000, PADDING)
    assert torch.equal(plain.order, full.order)
    assert not plain.flips.any()
    assert not plain.offsets.any()


def test_an_epoch_visits_every_image_once_and_keeps_the_short_last_batch() -> None:
    batches = TrainingBatches(RunSpec(batch_size=32, augment="none"), splits(100))
    sizes, labels, pixels = [], [], []
    for x, y in batches.epoch(1):
        sizes.append(len(y))
        labels.append(y)
        pixels.append(x)
    assert sizes == [32, 32, 32, 4] == [32] * (batches.steps - 1) + [4]
    assert torch.cat(labels).bincount().tolist() == [10] * 10
    expected = normalise(batches.train.images, batches.mean, batches.std)
    order = plan_epoch(batches.spec, 1, 100, 0).order
    assert torch.equal(torch.cat(pixels), expected[order])


def test_augmented_batches_follow_the_plan() -> None:
    data = splits(50)
    batches = TrainingBatches(RunSpec(batch_size=20), data)
    plan = plan_epoch(batches.spec, 2, 50, PADDING)
    found = torch.cat([x for x, _ in batches.epoch(2)])
    for row in (0, 19, 20, 49):
        raw = one_by_one(
            data.train.images[plan.order[row]],
            int(plan.offsets[row, 0]),
            int(plan.offsets[row, 1]),
            bool(plan.flips[row]),
        )
        assert torch.equal(found[row], normalise(raw[None], data.mean, data.std)[0])


@pytest.mark.parametrize(("augment", "padding"), [("crop", 1), ("crop_flip", 1), ("flip", 0), ("none", 0)])
def test_small_images_are_padded_by_an_eighth(augment: str, padding: int) -> None:
    batches = TrainingBatches(RunSpec(augment=augment, batch_size=5), splits(10, size=8))  # type: ignore[arg-type]
    assert batches.padding == padding
    assert next(iter(batches.epoch(1)))[0].shape == (5, 3, 8, 8)
