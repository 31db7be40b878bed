from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from interplay.data import digits
from interplay.data.identity import resolve
from interplay.data.splits import load
from interplay.errors import DataError, SpecError
from interplay.spec import RunSpec

NOWHERE = Path("/nonexistent")


def digit_spec(**knobs: object) -> RunSpec:
    return RunSpec(dataset="digits", batch_size=10, **knobs)  # type: ignore[arg-type]


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def test_digits_need_no_network_and_keep_every_class_on_both_sides() -> None:
    data = load(digit_spec(), NOWHERE)
    assert (data.shape, data.classes, len(data.train), len(data.test)) == ((1, 8, 8), 10, 1000, 797)
    assert data.train.images.dtype == torch.uint8
    assert data.train.labels.bincount().min() > 80
    assert data.test.labels.bincount().min() > 60
    pixels = data.train.images.float() / 255
    assert data.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-5)
    assert data.std.item() == pytest.approx(pixels.std(unbiased=False).item(), abs=1e-5)


def test_other_digits_than_the_known_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    real = sklearn.datasets.load_digits()
    real.images[0, 0, 0] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: real)
    digits.read.cache_clear()
    try:
        with pytest.raises(DataError, match="expected digits:"):
            digits.read()
    finally:
        digits.read.cache_clear()


def test_validation_and_training_do_not_overlap_and_limits_are_nested() -> None:
    small, large = (load(digit_spec(val_split=200, train_limit=n), NOWHERE) for n in (100, 400))
    assert small.val is not None
    assert large.val is not None
    assert (len(small.val), len(small.train), len(large.train)) == (200, 100, 400)
    assert torch.equal(small.val.images, large.val.images)
    assert rows(small.train.images) <= rows(large.train.images)
    assert not rows(large.val.images) & rows(large.train.images)


def test_subsets_are_drawn_by_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        return load(digit_spec(train_limit=100, seed=seed), NOWHERE).train.images

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_label_noise_moves_the_stated_fraction_to_other_classes_and_only_in_training() -> None:
    clean, noisy = load(digit_spec(), NOWHERE), load(digit_spec(label_noise=0.4), NOWHERE)
    assert (clean.train.labels != noisy.train.labels).sum() == 400
    assert torch.equal(clean.test.labels, noisy.test.labels)
    assert int(noisy.train.labels.max()) == 9
    shift = (noisy.train.labels - clean.train.labels) % 10
    counts = shift[shift > 0].bincount(minlength=10)[1:]
    assert counts.min() > 25  # 400 moves over nine shifts: 44 each, SD 6
    assert not torch.equal(noisy.train.labels, load(digit_spec(label_noise=0.4, seed=1), NOWHERE).train.labels)


def test_label_noise_stays_out_of_the_validation_split() -> None:
    clean = load(digit_spec(val_split=500), NOWHERE)
    noisy = load(digit_spec(val_split=500, label_noise=1.0), NOWHERE)
    assert clean.val is not None
    assert noisy.val is not None
    assert torch.equal(clean.val.labels, noisy.val.labels)
    assert not (clean.train.labels == noisy.train.labels).any()


def arrays(layout: str = "NCHW", classes: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = {"NCHW": (3, 12, 16), "NHWC": (12, 16, 3), "NHW": (12, 16)}[layout]
    return {
        "x_train": rng.integers(0, 256, (30, *shape), dtype=np.uint8),
        "y_train": np.arange(30) % classes,
        "x_test": rng.integers(0, 256, (9, *shape), dtype=np.uint8),
        "y_test": np.arange(9) % classes,
    }


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (3, 12, 16)), ("NHWC", (3, 12, 16)), ("NHW", (1, 12, 16))])
def test_a_users_own_images(tmp_path: Path, layout: str, shape: tuple[int, ...]) -> None:
    content = arrays(layout)
    np.savez(tmp_path / "own.npz", **content)  # type: ignore[arg-type]
    spec = resolve(RunSpec(dataset=str(tmp_path / "own.npz"), batch_size=8), NOWHERE)
    data = load(spec, NOWHERE)
    assert data.shape == shape
    assert data.classes == 4
    if layout == "NHWC":
        assert torch.equal(data.train.images[3, 1], torch.from_numpy(content["x_train"][3, :, :, 1]))


def test_a_file_that_changed_after_planning_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    np.savez(path, **arrays())  # type: ignore[arg-type]
    spec = resolve(RunSpec(dataset=str(path), batch_size=8), NOWHERE)
    np.savez(path, **arrays(classes=3))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has changed"):
        load(spec, NOWHERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_test": None}, "lacks x_test"),
        ({"x_train": np.zeros((30, 3, 12, 16), np.float32)}, "x_train is float32, not uint8"),
        ({"x_train": np.zeros((30, 7, 12, 16), np.uint8)}, "no axis of 1, 3 or 4 channels"),
        ({"x_train": np.zeros((30, 3, 8, 8), np.uint8)}, "training images are"),
        ({"y_train": np.arange(29)}, "y_train must be 30 whole numbers"),
        ({"y_train": np.linspace(0, 1, 30)}, "y_train must be 30 whole numbers"),
        ({"y_train": np.arange(30) - 1}, "negative labels"),
        ({"y_train": np.array([{}] * 30)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_unusable_files_are_refused_with_the_reason(tmp_path: Path, change: dict[str, object], message: str) -> None:
    content = {k: v for k, v in {**arrays(), **change}.items() if v is not None}
    np.savez(tmp_path / "own.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        resolve(RunSpec(dataset=str(tmp_path / "own.npz"), batch_size=8), NOWHERE)


def test_absent_or_broken_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        resolve(RunSpec(dataset=str(tmp_path / "none.npz")), NOWHERE)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        resolve(RunSpec(dataset=str(tmp_path / "broken.npz")), NOWHERE)


def test_a_batch_larger_than_a_users_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **arrays())  # type: ignore[arg-type]
    spec = resolve(RunSpec(dataset=str(tmp_path / "own.npz"), batch_size=30), NOWHERE)
    with pytest.raises(SpecError, match="batch_size 31 is larger than the 30"):
        load(spec.replace(batch_size=31), NOWHERE)
