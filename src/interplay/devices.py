"""Which devices there are, which of them a study gets, and how many runs share one."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from interplay.errors import SpecError
from interplay.notes import note
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
    """A GPU as CUDA_VISIBLE_DEVICES names it."""

    name: str
    free: int | None = None
    """Bytes of memory; ``None`` where the driver does not say."""
    capability: tuple[int, int] | None = None
    """CUDA's compute capability; ``None`` where the driver does not say."""


@dataclass(frozen=True)
class Slot:
    """A place for one worker process. ``visible`` is its CUDA_VISIBLE_DEVICES; empty on a CPU."""

    name: str
    device: str
    visible: str = ""


def visible_gpus() -> list[Gpu]:
    """GPUs that torch can use, in the order of CUDA_VISIBLE_DEVICES or of the bus, with what the driver tells of each.

    Names may be numbers, UUIDs, of GPUs or of their MIG parts, and beginnings of those. Where NVML does not answer, as
    on ROCm and Jetson, torch says how many there are, and nothing is known of their memory.
    """
    import torch

    if not torch.cuda.is_available():
        return []  # the driver may see GPUs that this torch is not built for
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if allowed is None else [name.strip() for name in allowed.split(",")]
    with _nvml() as nvml:
        if nvml is None:
            count = torch.cuda.device_count()
            return [Gpu(name) for name in (names or list(map(str, range(count))))[:count]]
        if names is None:
            names = list(map(str, range(nvml.nvmlDeviceGetCount())))
        found = []
        for name in names:
            handle = _handle(nvml, name)
            if handle is None:
                break  # CUDA reads the list up to the first name that it does not know
            found.append(Gpu(name, _free(nvml, handle), _capability(nvml, handle)))
        return found


def mps_runs() -> bool:
    """Whether NVIDIA's Multi-Process Service runs, for which no process has to do anything.

    With it the kernels of several processes run on a GPU at once; without, the processes take turns.
    Source: docs.nvidia.com/deploy/mps, "Environment Variables".
    """
    folder = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")
    return (folder / "control").exists()


@contextmanager
def _nvml() -> Iterator[Any]:
    """NVML, begun and ended; ``None`` where there is none, or no module for it."""
    try:
        import pynvml
    except ModuleNotFoundError:
        yield None
        return
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _handle(nvml: Any, name: str) -> Any:
    """What NVML calls the GPU of that name; ``None`` for one that is not there."""
    try:
        if name.isdecimal():
            count = nvml.nvmlDeviceGetCount()
            return nvml.nvmlDeviceGetHandleByIndex(int(name)) if int(name) < count else None
        if name.startswith("GPU-"):
            handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            like = [handle for handle in handles if _text(nvml.nvmlDeviceGetUUID(handle)).startswith(name)]
            return like[0] if len(like) == 1 else None  # a beginning that two share is no name
        return nvml.nvmlDeviceGetHandleByUUID(name) if name.startswith("MIG-") else None
    except nvml.NVMLError:
        return None


def _free(nvml: Any, handle: Any) -> int | None:
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).free)
    except nvml.NVMLError:
        return None  # of memory that it shares with the host a GPU tells nothing


def _capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)


def _text(words: str | bytes) -> str:
    return words.decode() if isinstance(words, bytes) else words


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
    there = visible_gpus()
    (index, *more) = parse_gpus(text, len(there))
    if more:
        raise SpecError(f"--gpus {text}: the inline executor trains in one process, on one GPU")
    # This process counts what it sees; another one, such as a probe, must be told which GPU that is.
    return Slot(f"gpu{index}", f"cuda:{index}", there[index].name)


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
        import psutil  # nothing else here needs it, and a bare machine has torch alone

        return int(psutil.virtual_memory().available) // len(slots)
    free = {gpu.name: gpu.free for gpu in visible_gpus()}
    sharing = Counter(slot.visible for slot in slots)
    return min((free.get(name) or SLOT_BYTES) // count for name, count in sharing.items())


def gpu_model(visible: str) -> str:
    """What the driver calls the GPU of that name, such as ``NVIDIA H200``; ``a GPU`` where it does not say."""
    with _nvml() as nvml:
        handle = None if nvml is None else _handle(nvml, visible)
        if handle is None:
            return "a GPU"
        try:
            return _text(nvml.nvmlDeviceGetName(handle))
        except nvml.NVMLError:
            return "a GPU"


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


BF16 = (8, 0)
"""The compute capability from which a GPU multiplies bf16; before, cuDNN has no convolutions of it."""


def fitted(spec: RunSpec, device: str, *, cpu_bf16: bool = False) -> RunSpec:
    """``spec`` with the precision that ``device`` offers: a CPU computes in float32, and so does a GPU without bf16.

    Precision changes the numbers, so it is settled before the run is named and not behind its back. With GPUs of
    several kinds it is what all of them have: a run may go to any.

    Args:
        spec: a run.
        device: where it will train.
        cpu_bf16: bf16 on a CPU too, if the run asks for bf16; with a word where the processor has no bf16.
    """
    if spec.precision != "bf16":
        return spec
    if device == "cpu" and not cpu_bf16:
        return spec.replace(precision="fp32")
    if device == "cpu":
        _say_without_bf16()
        return spec
    old = _without_bf16(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if old is None:
        return spec
    note(f"a GPU of compute capability {old[0]}.{old[1]} has no bf16: runs are in fp32, which is part of their names")
    return spec.replace(precision="fp32")


def cpu_multiplies_bf16() -> bool | None:
    """Whether this processor has instructions that multiply bf16; ``None`` where the system does not say."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    # x86 has a line of flags for each core, Arm one of features.
    lines = [line.partition(":")[2].split() for line in text.splitlines() if line.startswith(("flags", "Features"))]
    return bool({"avx512_bf16", "amx_bf16", "bf16"}.intersection(*lines[:1])) if lines else None


@cache
def _say_without_bf16() -> None:
    """Once a process: a study asks for each run."""
    if cpu_multiplies_bf16() is False:
        note("this processor has no bf16: runs in it are slower than in fp32")


@cache
def _without_bf16(visible: str | None) -> tuple[int, int] | None:
    """The lowest capability of the GPUs that are ``visible``, if it is below `BF16`."""
    known = [gpu.capability for gpu in visible_gpus() if gpu.capability is not None]
    return min(known) if known and min(known) < BF16 else None
