#!/usr/bin/env python
"""Are runs spread over all GPUs? ``python test_multi_gpu.py [--gpus 0-3]``; logical GPUs where there is none."""

import sys

try:
    from interplay.cli.documented import multi_gpu
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(multi_gpu())
