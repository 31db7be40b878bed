#!/usr/bin/env python
"""All three documented sets: ``python run_all_experiments.py [--parallel] [--save-checkpoints] [--epochs N]``."""

import sys

try:
    from interplay.cli.documented import run_all_experiments
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(run_all_experiments())
