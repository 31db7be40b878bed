#!/usr/bin/env python
"""Are runs spread over all GPUs? ``python test_multi_gpu.py [--gpus 0-3]``; logical GPUs where there is none."""

import sys

from interplay.documented import multi_gpu

if __name__ == "__main__":
    sys.exit(multi_gpu())
