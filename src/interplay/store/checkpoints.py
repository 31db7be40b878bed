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

    The documented name leaves out model, dataset and epochs, so it means the run that was committed last under it; the
    file itself says which one that is (``run_id`` and ``spec``), and every run keeps its own under its folder.
    """
    published = []
    for kind in ("best", "final"):
        source = run_folder / f"{kind}.pt"
        if source.exists():
            target = root / "checkpoints" / checkpoint_name(spec, kind, experiment)
            target.parent.mkdir(parents=True, exist_ok=True)
            _second_name(source, target)
            published.append(target)
    return published


def _second_name(source: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)  # another file system, or one without hard links
    partial.replace(target)
    partial.unlink(missing_ok=True)  # renaming one name of a file onto another of its names leaves both
