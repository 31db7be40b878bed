"""Names of knobs in study files, what is none, and how many runs a study may have."""

from __future__ import annotations

from interplay.errors import SpecError
from interplay.text import shown

ALIASES = {"wd": "weight_decay"}
"""Short names that study files may use."""

FLAGS = frozenset(
    "data_dir output_dir save_checkpoints test_every checkpoint_seconds lapse_seconds hang_seconds tracker "
    "wandb_project wandb_entity cpu_bf16 use_amp allow_modified_data gpus per_gpu workers path stack autotune "
    "executor quiet log wait address partition account time mem gpus_per_node workers_per_gpu workers_per_node "
    "cpus_per_worker constraint notice_seconds sbatch setup dry_run json extend until_decided budget metric".split()
)
"""Of `interplay study`, but those that are knobs too: they say how a study is run, and stand in no file of one."""

MAX_RUNS = 100_000
"""Runs of one study at most, seeds included: far above what is useful, far below what fills the memory."""


def refuse_too_many(runs: int, where: str) -> None:
    """Raise `SpecError` if a study asks for more than `MAX_RUNS`; before the first of them is made."""
    if runs > MAX_RUNS:
        raise SpecError(f"{where} asks for {shown(runs)} runs; at most {MAX_RUNS} are allowed")


def refuse_flag(name: object, where: object) -> None:
    """Raise `SpecError` for a flag of the command that stands in ``where``, a part of a study file."""
    if name in FLAGS:
        raise SpecError(f"{where}: {name} is no knob; it is a flag of the command: --{name}")
