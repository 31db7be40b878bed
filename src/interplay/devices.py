"""Which devices there are, which of them a study gets, and how many runs share one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from interplay.errors import SpecError
from interplay.spec import RunSpec
from interplay.text import shown

SLOT_BYTES = 12 * 2**30
_PART = re.compile(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?")
MAX_PER_GPU = 4
"""One run of ResNet-18 at batch 512 takes less than 12 GiB. How many of the slots are filled at once is measured, see
`sharing`; above four a GPU has no time left to share.
"""


@dataclass(frozen=True)
class Gpu:
    """A GPU as CUDA_VISIBLE_DEVICES names it, with its free memory in bytes (``None``: unknown)."""

    name: str
    free: int | None = None


@dataclass(frozen=True)
class Slot:
    """A place for one worker process. ``visible`` is its CUDA_VISIBLE_DEVICES; empty on a CPU."""

    name: str
    device: str
    visible: str = ""


def visible_gpus() -> list[Gpu]:
    """GPUs that torch can use, in the order of CUDA_VISIBLE_DEVICES or of the bus, with their free memory."""
    import pynvml
    import torch

    if not torch.cuda.is_available():
        return []  # the driver may see GPUs that this torch is not built for
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            memory = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index))
            found.append(Gpu(str(index), int(memory.free)))
    finally:
        pynvml.nvmlShutdown()
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return found
    by_name = {gpu.name: gpu for gpu in found}
    # CUDA reads the list up to the first name that it does not know; names may also be UUIDs.
    return [
        by_name.get(name.strip(), Gpu(name.strip())) for name in allowed.split(",") if name.strip() not in ("", "-1")
    ]


def parse_gpus(text: str, count: int) -> list[int]:
    """Indices for ``all``, ``0``, ``0,1,2,3``, ``0-7`` or ``0,2-4,7``, in rising order.

    Raises:
        SpecError: another spelling, an index twice, or one that is not among the ``count`` that are there.
    """
    asked = f"--gpus {shown(text)[1:-1]}"
    if text.strip() == "all":
        if not count:
            raise SpecError("--gpus all: there is no usable GPU; leave --gpus out to run on the CPU")
        return list(range(count))
    chosen: list[int] = []
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not part.strip() and text.strip():
            raise SpecError(f"{asked}: nothing between two commas; name GPUs as in 0,2-4,7, or say all")
        if found is None:
            raise SpecError(f"{asked}: {shown(part)} is neither a number nor a range such as 0-7; or say all")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise SpecError(f"{asked}: the range {part.strip()} counts down; say {last}-{first}")
        if last >= count:
            there = f"there are {count} (0-{count - 1})" if count else "there is no usable GPU"
            missing = range(max(first, count), last + 1)
            more = ", ..." if len(missing) > 8 else ""
            raise SpecError(f"{asked}: no GPU {', '.join(map(str, missing[:8]))}{more}; {there}")
        chosen += range(first, last + 1)
    if twice := sorted({index for index in chosen if chosen.count(index) > 1}):
        raise SpecError(f"{asked}: every GPU may be named once, not {', '.join(map(str, twice))} twice")
    return sorted(chosen)


def gpu_slots(text: str, per_gpu: int, gpus: Sequence[Gpu] | None = None, device: str = "cuda:0") -> list[Slot]:
    """Slots on the GPUs that ``text`` names, the first slot of every GPU before the second of any.

    Args:
        text: see `parse_gpus`.
        per_gpu: slots a GPU; 0 chooses from its free memory.
        gpus: what is there; by default what the driver says. Logical ones let tests go this way on a CPU.
        device: what a worker calls the one GPU that it sees.
    """
    there = visible_gpus() if gpus is None else list(gpus)
    chosen = [(index, there[index]) for index in parse_gpus(text, len(there))]
    slots = [
        Slot(f"gpu{index}" if each == 1 else f"gpu{index}.{slot}", device, gpu.name)
        for index, gpu in chosen
        for each in [per_gpu or slots_for(gpu)]
        for slot in range(each)
    ]
    return sorted(slots, key=lambda slot: (int(slot.name.partition(".")[2] or 0), int(slot.name[3:].partition(".")[0])))


def inline_slot(text: str) -> Slot:
    """The GPU of an executor that has one process; raises `SpecError` for more than one."""
    (index, *more) = parse_gpus(text, len(visible_gpus()))
    if more:
        raise SpecError(f"--gpus {text}: the inline executor trains in one process, on one GPU")
    return Slot(f"gpu{index}", f"cuda:{index}", str(index))


def slots_for(gpu: Gpu) -> int:
    """How many runs may share a GPU, by its free memory."""
    return 1 if gpu.free is None else min(MAX_PER_GPU, max(1, gpu.free // SLOT_BYTES))


def cpu_slots(workers: int) -> list[Slot]:
    """One slot a core by default: two one-thread workers are faster than one with two threads."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [Slot(f"cpu{index}", "cpu") for index in range(workers or cores)]


def free_memory(slots: Sequence[Slot]) -> int:
    """Bytes that a worker on any of ``slots`` may take: its share of what is free now, on the fullest device.

    A GPU that does not tell counts as one with room for a single slot.
    """
    if slots[0].device == "cpu":
        return int(psutil.virtual_memory().available) // len(slots)
    free = {gpu.name: gpu.free for gpu in visible_gpus()}
    sharing = Counter(slot.visible for slot in slots)
    return min((free.get(name) or SLOT_BYTES) // count for name, count in sharing.items())


def gpu_model(visible: str) -> str:
    """What the driver calls the GPU of that name, such as ``NVIDIA H200``; ``a GPU`` where it does not say."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return "a GPU"
    try:
        by_index = visible.isdecimal()
        handle = (
            pynvml.nvmlDeviceGetHandleByIndex(int(visible)) if by_index else pynvml.nvmlDeviceGetHandleByUUID(visible)
        )
        name = pynvml.nvmlDeviceGetName(handle)
        return name.decode() if isinstance(name, bytes) else str(name)
    except pynvml.NVMLError:
        return "a GPU"
    finally:
        pynvml.nvmlShutdown()


def choose_device(wish: str) -> str:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SpecError: no such word, or a GPU that is not there.
    """
    import torch

    if wish == "cpu":
        return "cpu"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wish == "auto":
        return "cuda:0" if count else "cpu"
    kind, _, number = wish.partition(":")
    if kind != "cuda" or (number and not re.fullmatch("[0-9]{1,6}", number)):
        raise SpecError(f"unknown device {shown(wish)}; allowed: auto, cpu, cuda, cuda:N")
    index = int(number or 0)
    if index >= count:
        raise SpecError(f"{wish} is not there: {count} usable GPU{'' if count == 1 else 's'}")
    return f"cuda:{index}"


def fitted(spec: RunSpec, device: str) -> RunSpec:
    """``spec`` with the precision that ``device`` offers: mixed precision is for GPUs, a CPU computes in float32.

    Precision changes the numbers, so it is settled before the run is named and not behind its back.
    """
    return spec.replace(precision="fp32") if device == "cpu" else spec
