#!/usr/bin/env python
"""All three documented sets: ``python run_all_experiments.py [--parallel] [--save-checkpoints] [--epochs N]``."""

import sys

from interplay.documented import run_all_experiments

if __name__ == "__main__":
    sys.exit(run_all_experiments())
