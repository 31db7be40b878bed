"""Which devices there are and which one a run gets."""

from __future__ import annotations

import torch

from interplay.errors import SpecError
from interplay.spec import RunSpec


def choose_device(wish: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SpecError: no such word, or a GPU that is not there.
    """
    if wish == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    kind, _, number = wish.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise SpecError(f"unknown device {wish!r}; allowed: auto, cpu, cuda, cuda:N")
    index = int(number or 0)
    if index >= count:
        raise SpecError(f"{wish} is not there: {count} usable GPU{'' if count == 1 else 's'}")
    return torch.device("cuda", index)


def fitted(spec: RunSpec, device: torch.device) -> RunSpec:
    """``spec`` with the precision that ``device`` offers: mixed precision is for GPUs, a CPU computes in float32.

    Precision changes the numbers, so it is settled before the run is named and not behind its back.
    """
    return spec.replace(precision="fp32") if device.type == "cpu" else spec
