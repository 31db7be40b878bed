"""The documented names of checkpoints, under ``checkpoints/``, as second names of the files in the runs' folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from interplay.spec import RunSpec

# Chosen by the documents; seed 42 is the one they mean when they name none.
_DOCUMENTED_SEED = 42


def checkpoint_name(spec: RunSpec, kind: str, experiment: int | None = None) -> str:
    """Such as ``exp1_SGDM+WD_bs128_lr0.1_wd0.0005_mom0.9_best.pth``; another seed than 42 is added before the kind."""
    prefix = f"exp{experiment}_" if experiment is not None else ""
    seed = "" if spec.seed == _DOCUMENTED_SEED else f"_seed{spec.seed}"
    return (
        f"{prefix}{spec.method}_bs{spec.batch_size}_lr{spec.lr:g}_wd{spec.weight_decay:g}_mom{spec.momentum:g}"
        f"{seed}_{kind}.pth"
    )


def publish(root: Path, spec: RunSpec, run_folder: Path, experiment: int | None = None) -> list[Path]:
    """Give the best and final checkpoint in ``run_folder`` their documented names under ``root/checkpoints``.

    The documented name leaves out model, dataset and epochs. Where it is taken by another run, this one's is made
    distinct by the run id: a file is never replaced by the weights of another run.
    """
    published = []
    folder = root / "checkpoints"
    for kind in ("best", "final"):
        source = run_folder / f"{kind}.pt"
        if not source.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / checkpoint_name(spec, kind, experiment)
        if target.exists() and _owner(target) != spec.run_id:
            target = target.with_name(f"{target.stem.removesuffix('_' + kind)}_{spec.run_id}_{kind}.pth")
        _second_name(source, target)
        _owner_file(target).write_text(spec.run_id)
        published.append(target)
    return published


def _owner_file(target: Path) -> Path:
    return target.with_name(f".{target.name}.run_id")


def _owner(target: Path) -> str | None:
    try:
        return _owner_file(target).read_text()
    except FileNotFoundError:
        return None


def _second_name(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)  # another file system, or one without hard links
    partial.replace(target)
