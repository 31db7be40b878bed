#!/usr/bin/env python
"""One documented set: ``python run_experiments.py --experiment 1 --epochs 100 --gpus all``."""

import sys

from interplay.documented import run_experiments

if __name__ == "__main__":
    sys.exit(run_experiments())
