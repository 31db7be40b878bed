"""The documented hypernetwork script: CIFAR-10, Adam, one checkpoint file, Weights & Biases, all GPUs.

``run_hypernetworks_gpu.sh`` calls this, which maps the documented flags to `lab.hypernetworks`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from interplay.cli.flags import Command
from interplay.cli.main import call, explained
from interplay.errors import SpecError
from interplay.notes import notice
from interplay.study.presets import hypernetwork

if TYPE_CHECKING:
    from interplay.spec import RunSpec


@dataclasses.dataclass(kw_only=True)
class HyperFlags(Command):
    """Train a hypernetwork (or its direct twin) on CIFAR-10."""

    EXAMPLE = "./run_hypernetworks_gpu.sh --batch_size 128 --epochs 200 --no_wandb"

    batch_size: Annotated[int, arg(help="images per step, over all GPUs together")] = 128
    epochs: Annotated[int, arg(help="passes over the training images")] = 200
    lr: Annotated[float, arg(help="learning rate; halved at 30, 60 and 80 % of the epochs")] = 0.002
    weight_decay: Annotated[float, arg(help="decay, coupled to the gradient as in torch.optim.Adam")] = 0.0005
    checkpoint_path: Annotated[Path, arg(help="where the state is saved after each epoch")] = Path(
        "./hypernetworks_cifar_gpu.pth"
    )
    resume: Annotated[bool, arg(help="go on from the checkpoint")] = False
    wandb: Annotated[bool, arg(help="log to Weights & Biases; --no_wandb to leave it")] = True
    wandb_project: Annotated[str, arg(help="project of Weights & Biases")] = "hypernetworks-gpu"
    wandb_name: Annotated[
        str | None, arg(help="name there (default: hypernetworks_b{batch_size}_lr{lr}_e{epochs})")
    ] = None
    wandb_entity: Annotated[str | None, arg(help="entity there (default: that of the environment or account)")] = None
    data_dir: Annotated[Path, arg(help="where CIFAR-10 lies or is downloaded to")] = Path("data")
    output_dir: Annotated[Path, arg(help="where the record, results.csv and logs of trackers go")] = Path("outputs")
    allow_modified_data: Annotated[bool, arg(help="accept data files that are not the published ones")] = False
    train_limit: Annotated[int | None, arg(help="train on this many images only")] = None
    model: Annotated[str, arg(help="hyper_resnet, or wide_resnet, its twin with weights of its own")] = "hyper_resnet"
    widening: Annotated[int, arg(help="factor on the channels: 1 or 2 in the paper")] = 1
    blocks_per_stage: Annotated[int, arg(help="residual blocks in each of three stages: 6 in the paper")] = 6
    seed: Annotated[int, arg(help="seed of everything random")] = 42
    processes: Annotated[int, arg(help="processes to train with (0: one for each GPU)")] = 0

    def spec(self) -> RunSpec:
        """What is computed."""
        from interplay.data.identity import resolve

        names = ("batch_size", "epochs", "lr", "weight_decay", "train_limit", "model", "widening", "blocks_per_stage")
        spec = hypernetwork(**{name: getattr(self, name) for name in names}, seed=self.seed)
        return resolve(spec, self.data_dir, allow_modified_data=self.allow_modified_data)

    def call(self) -> int:
        """Train in this process, or start one for each GPU."""
        if self.processes < 0:
            raise SpecError(f"processes must be 0 or greater, not {self.processes}")
        spec = self.spec()  # what is impossible is refused before anything starts
        from interplay.lab.hypernetworks import Script, start  # torch

        same = {field.name: getattr(self, field.name) for field in dataclasses.fields(Script)}
        script = Script(**{**same, "wandb_name": self.name})
        module = "interplay.cli.hypernetworks"
        return start(spec, script, self.processes, module, sys.argv[1:], lambda error: notice(explained(error)[0]))

    @property
    def name(self) -> str:
        """Of the run in Weights & Biases."""
        return self.wandb_name or f"hypernetworks_b{self.batch_size}_lr{self.lr:g}_e{self.epochs}"


def main(argv: Sequence[str] | None = None) -> int:
    """The script; returns its exit code (2 for impossible values, 1 for what went wrong, 130 interrupted)."""
    return call(HyperFlags, "run_hypernetworks_gpu.sh", sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
