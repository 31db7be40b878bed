"""One run of the lab in a process of its own, to be killed or interrupted; says what happens, a line each.

one_run.py FOLDER DEVICE NPZ MODEL EPOCHS WAY [--pause SECONDS] [--spoil_capture]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from interplay.executors.job import Job
from interplay.executors.signals import StopRequest
from interplay.spec import RunSpec
from interplay.stack.step import Networks
from interplay.train.events import EpochEnded, Event, ModelReady

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as `gpu_session` has it
from session_parts.lab import carried_out, settled

CAPTURE_ERROR = "CUDA error: operation not permitted when stream is capturing"


def spoilt(train: object) -> object:
    """A step that looks at a number of the device, which no capture allows. A CPU has none, and raises its words."""

    def step(networks: Networks, *inputs: Tensor) -> None:
        train(networks, *inputs)  # type: ignore[operator]
        if networks.device.type == "cpu":
            raise RuntimeError(CAPTURE_ERROR)
        networks._last_loss.sum().item()

    return step


def main() -> None:
    """Train, telling of the start, of every epoch and of the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("device")
    parser.add_argument("npz")
    parser.add_argument("model")
    parser.add_argument("epochs", type=int)
    parser.add_argument("way", choices=("single", "fused", "compiled"))
    parser.add_argument("--pause", type=float, default=0.0, help="after each epoch")
    parser.add_argument("--spoil_capture", action="store_true")
    args = parser.parse_args()
    if args.device == "cpu":
        torch.set_num_threads(1)
    spec = RunSpec(dataset=args.npz, model=args.model, epochs=args.epochs, batch_size=64, lr=0.01, augment="crop_flip")
    spec = settled(spec, Path("data"), args.device)
    job = Job("data", args.folder, args.device, checkpoint_seconds=0.0, lapse_seconds=20.0)
    with StopRequest() as stop:

        def emit(event: Event) -> None:
            if isinstance(event, ModelReady):
                stop.armed = True
                print(f"from {event.restored_epoch} {spec.run_id}", flush=True)
            elif isinstance(event, EpochEnded):
                print(f"epoch {event.metrics.epoch}", flush=True)
                time.sleep(args.pause)

        spoil = patch.object(Networks, "_train", spoilt(Networks._train) if args.spoil_capture else Networks._train)
        with spoil:
            [outcome] = carried_out([spec], args.folder, job, args.way, emit, lambda: stop.requested)
    print(f"end {outcome.end}", flush=True)
    print(outcome.reason, flush=True)


if __name__ == "__main__":
    main()
