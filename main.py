#!/usr/bin/env python
"""One run: ``python main.py --batch_size 128 --lr 0.1 --wd 5e-4 --momentum 0.9 --epochs 100 --seed 42``."""

import sys

from interplay.cli import run_main

if __name__ == "__main__":
    sys.exit(run_main())
