#!/usr/bin/env python
"""One run: ``python main.py --batch_size 128 --lr 0.1 --wd 5e-4 --momentum 0.9 --epochs 100 --seed 42``."""

import sys

try:
    from interplay.cli.main import run_main
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(run_main())
