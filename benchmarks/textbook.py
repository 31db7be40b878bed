"""The training loop of tutorials, as the measure that the lab's paths are compared with.

``torch.optim.SGD``, a DataLoader with worker processes, PIL for every single image, autocast with GradScaler where
there is a GPU, and ``loss.item()`` at every step. On a machine without PIL, numpy crops and mirrors each image in
its place; `HAS_PIL` says which.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from interplay.data.splits import Splits
from interplay.models.build import build
from interplay.spec import RunSpec

try:
    from PIL import Image, ImageOps

    HAS_PIL = True
except ModuleNotFoundError:
    HAS_PIL = False


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images that are cropped, mirrored and normalised one at a time, as torchvision's transforms do it."""

    def __init__(self, splits: Splits, padding: int, *, mirror: bool) -> None:
        self.images = splits.train.images.permute(0, 2, 3, 1).numpy()
        self.labels = splits.train.labels.tolist()
        self.mean, self.std = splits.mean[:, None, None], splits.std[:, None, None]
        self.padding, self.mirror = padding, mirror

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = (self._by_pil if HAS_PIL else self._by_numpy)(self.images[index])
        image = torch.from_numpy(array[:, :, None] if array.ndim == 2 else array).permute(2, 0, 1)
        return (image.float().div_(255) - self.mean) / self.std, self.labels[index]

    def _by_pil(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        if self.padding:
            width, height = picture.size
            left, top = random.randint(0, 2 * self.padding), random.randint(0, 2 * self.padding)
            picture = ImageOps.expand(picture, border=self.padding, fill=0)
            picture = picture.crop((left, top, left + width, top + height))
        if self.mirror and random.random() < 0.5:
            picture = ImageOps.mirror(picture)
        return np.array(picture)

    def _by_numpy(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.padding:
            height, width = pixels.shape[:2]
            left, top = random.randint(0, 2 * self.padding), random.randint(0, 2 * self.padding)
            padded = np.pad(pixels, ((self.padding, self.padding), (self.padding, self.padding), (0, 0)))
            pixels = padded[top : top + height, left : left + width]
        if self.mirror and random.random() < 0.5:
            pixels = pixels[:, ::-1]
        return np.ascontiguousarray(pixels)


def loader(splits: Splits, spec: RunSpec, workers: int) -> DataLoader[tuple[Tensor, int]]:
    """The DataLoader of ``spec``, with its workers kept from epoch to epoch."""
    augment = spec.augment or "none"
    padding = splits.shape[1] // 8 if "crop" in augment else 0
    pictures = Pictures(splits, padding, mirror="flip" in augment)
    return DataLoader(
        pictures,
        spec.batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def steps(spec: RunSpec, splits: Splits, device: torch.device, workers: int) -> Iterator[int]:
    """Train without end, epoch after epoch; yields the images of each step."""
    model = build(spec, splits.shape, splits.classes).to(device)
    optimizer = torch.optim.SGD(model.parameters(), spec.lr, spec.momentum, weight_decay=spec.weight_decay)
    on_gpu = device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=on_gpu)
    batches = loader(splits, spec, workers)
    running = 0.0
    while True:
        for images, labels in batches:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, enabled=on_gpu):
                loss = functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            running += loss.item()
            yield len(labels)
