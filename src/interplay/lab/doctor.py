"""Whether this machine can run the lab: versions, devices, data, disk. Each check is one line."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from interplay.data.cifar import ARCHIVES
from interplay.devices import BF16, cpu_multiplies_bf16, mps_runs
from interplay.store.folders import findings

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One finding: ``problem`` stops runs, ``note`` only limits them."""

    name: str
    verdict: Verdict
    text: str

    def __str__(self) -> str:
        return f"{self.verdict:8} {self.name:12} {self.text}"


def examine(data_dir: Path, output_dir: Path) -> list[Check]:
    """All checks, in the order in which they matter."""
    return [
        _python(),
        _torch(),
        *_devices(),
        *(_data(name, data_dir) for name in ARCHIVES),
        _disk(output_dir),
        *_store(output_dir),
        _extras(),
    ]


def _python() -> Check:
    text = sys.version.split()[0]
    return Check("python", "ok" if sys.version_info >= (3, 11) else "problem", text)


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("torch", "problem", str(error))
    cores = os.cpu_count()
    return Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads on {cores} cores")


def _devices() -> list[Check]:
    try:
        import torch
    except ImportError:
        return []  # reported by the check before
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "no driver or device found" if built else "this torch is built without CUDA"
        has = {True: "the processor has bf16: --cpu_bf16 trains in it", False: "the processor has no bf16", None: ""}
        words = [f"none usable ({why}): runs go to the CPU", has[cpu_multiplies_bf16()]]
        return [Check("gpu", "note", "; ".join(filter(None, words)))]
    return [*(Check(f"gpu {i}", "ok", gpu_line(i)) for i in range(torch.cuda.device_count())), _sharing()]


def _sharing() -> Check:
    """How processes share a GPU. MPS is optional, and not everyone may start it."""
    if mps_runs():
        return Check("mps", "ok", "runs: processes that share a GPU compute at once")
    return Check(
        "mps", "note", "processes that share a GPU take turns; nvidia-cuda-mps-control -d lets them compute at once"
    )


def gpu_line(index: int) -> str:
    """Name, memory and compute capability of a GPU."""
    import torch

    facts = torch.cuda.get_device_properties(index)
    words = f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB, compute capability {facts.major}.{facts.minor}"
    # ROCm has a numbering of its own.
    old = torch.version.hip is None and (facts.major, facts.minor) < BF16
    return f"{words}; no bf16: runs are in fp32" if old else words


def _data(name: str, data_dir: Path) -> Check:
    archive = ARCHIVES[name]
    if all((data_dir / archive.folder / file).is_file() for file in archive.files):
        return Check(name, "ok", f"in {data_dir / archive.folder} (checksums are verified when a run loads it)")
    if (data_dir / archive.file).is_file():
        return Check(name, "ok", f"{data_dir / archive.file}, to be unpacked by the first run")
    return Check(name, "note", f"not in {data_dir}; the first run downloads it")


def _disk(output_dir: Path) -> Check:
    folder = output_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if not os.access(folder, os.W_OK):
        return Check("disk", "problem", f"{folder} cannot be written")
    return Check("disk", "ok" if free >= 1 else "problem", f"{free:.0f} GiB free in {folder}")


def _store(output_dir: Path) -> list[Check]:
    """What lies among the runs and is damaged, or none: it is passed over, so it stops nothing."""
    try:
        found = findings(output_dir / "runs")
    except OSError as error:
        return [Check("store", "problem", f"{output_dir / 'runs'} cannot be listed: {error.strerror}")]
    return [Check("store", "note", str(each)) for each in found]


def _extras() -> Check:
    found = []
    for package in ("wandb", "tensorboard", "submitit", "ray"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} absent")
    return Check("extras", "ok", ", ".join(found))


def check_gpu() -> tuple[list[str], bool]:
    """Lines of the documented ``check_gpu.py`` and whether there is a GPU that computes correctly."""
    import torch

    lines = [f"PyTorch {torch.__version__}", f"CUDA {torch.version.cuda}", f"cuDNN {cudnn_version()}"]
    if not torch.cuda.is_available():
        return [*lines, "No usable GPU: CUDA is not available to this PyTorch."], False
    usable = False
    for index in range(torch.cuda.device_count()):
        try:
            right = product_is_right(f"cuda:{index}")
            result = f"matrix product {'right' if right else 'WRONG'}"
        except RuntimeError as error:  # visible, but no kernel image for it, out of memory, or broken
            right, result = False, f"cannot compute: {str(error).splitlines()[0]}"
        usable = usable or right
        lines.append(f"GPU {index}: {gpu_line(index)}; {result}")
    return lines if usable else [*lines, "No usable GPU: none computed the product rightly."], usable


def cudnn_version() -> int | None:
    """Version of cuDNN as one number, ``None`` where torch has none."""
    import torch

    found: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return found


def product_is_right(device: str) -> bool:
    """Whether a 256x256 product of whole numbers on ``device`` equals the exact one, computed in integers."""
    import torch

    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-8, 9, (256, 256), generator=generator) for _ in range(2))
    # Sums stay below 2^14, so float32 must be exact.
    return torch.equal((a.float().to(device) @ b.float().to(device)).cpu().long(), a @ b)
