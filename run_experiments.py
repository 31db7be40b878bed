#!/usr/bin/env python
"""One documented set: ``python run_experiments.py --experiment 1 --epochs 100 --gpus all``."""

import sys

try:
    from interplay.cli.documented import run_experiments
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(run_experiments())
