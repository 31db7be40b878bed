"""Half an hour on a bare GPU machine: what is owed of GPUs, in parts that each end in under nine minutes.

    python benchmarks/gpu_session.py agree                          do the fast ways compute what the plain loop does
    python benchmarks/gpu_session.py tests                          the tests marked cuda
    python benchmarks/gpu_session.py bench --sizes 128 --only ways  images a second by way of training
    python benchmarks/gpu_session.py packing                        k runs at once
    python benchmarks/gpu_session.py chunk --data_dir data          the next runs of results/resnet18-cifar100
    python benchmarks/gpu_session.py hyper                          the hypernetwork at full depth
    python benchmarks/gpu_session.py faults                         kills, Ctrl-C, no memory, a failed capture
    python benchmarks/gpu_session.py PART... --device cpu --tiny    the same code on a CPU: figures of no meaning

Needs Python, torch, numpy, scipy, pandas and pytest, and no installation of this package.

Every part writes ``PART.json`` under ``--out`` after each table, whole and under another name first. A section that
raises is kept as an error, and the next one goes on; one that would begin after ``--minutes`` is ``left out``, and is
run by a later call with ``--only``. A section that does not end in time ends the program, with what was measured.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

BEGAN = time.monotonic()
"""Importing torch is part of the time of the first part."""

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
# Worker processes find the package as this one does.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))

if TYPE_CHECKING:
    from session_parts.book import Options

WAYS = ("single", "fused", "compiled", "streams", "compiled_streams")
PARTS = ("agree", "tests", "bench", "packing", "chunk", "hyper", "faults")


def main() -> int:
    """Run the parts that are asked for, each with a budget of its own; 1 if a section failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu_session", metavar="DIR")
    parser.add_argument("--minutes", type=float, default=8.5, help="of each part")
    parser.add_argument("--only", nargs="+", default=[], help="sections, by their names or first words")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128], help="batch sizes of bench and packing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--at_once",
        type=int,
        default=8,
        help="runs at once: of packing at most, of chunk on streams",
    )
    parser.add_argument("--way", choices=WAYS, default="fused", help="of chunk")
    parser.add_argument("--data_dir", type=Path, help="chunk: where the CIFAR files lie; without it, random images")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks, few images, nothing compiled")
    args = parser.parse_args()
    if args.tiny:
        # Inductor takes a minute for each network on a CPU: what is compiled runs as it stands, in workers too.
        os.environ["TORCHDYNAMO_DISABLE"] = "1"
    import torch
    from session_parts.book import Options

    if args.device == "cuda" and not torch.cuda.is_available():
        print("There is no usable GPU here; --device cpu --tiny goes through the same code.")
        return 1
    options = Options(
        device=torch.device(args.device),
        tiny=args.tiny,
        out=args.out.resolve(),
        minutes=args.minutes,
        only=tuple(args.only),
        sizes=tuple(args.sizes),
        repeats=args.repeats,
        at_once=args.at_once,
        way=args.way,
        data_dir=args.data_dir,
    )
    # All of them, whatever one says.
    found = [carried_out(part, options, None if number else BEGAN) for number, part in enumerate(args.parts)]
    return 0 if all(found) else 1


def carried_out(part: str, options: Options, began: float | None) -> bool:
    """Run one part, whose time ``began`` then or begins now; returns whether none of its sections failed."""
    import torch
    from session_parts.book import Session

    from interplay.train import backends

    session = Session(part, options, began)
    if not options.on_gpu:
        torch.set_num_threads(1)
    with session.watched(), backends.set_for(options.device):
        session.sections.pop("begin", None)
        try:
            sections = importlib.import_module(f"session_parts.{part}").sections(session, options)
        except Exception as error:
            return session.section("begin", partial(_raise, error))
        return session.run(sections)


def _raise(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    sys.exit(main())
