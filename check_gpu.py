#!/usr/bin/env python
"""Print versions and GPUs, check a matrix product on each; exit 1 where there is no usable GPU."""

import sys

from interplay.doctor import check_gpu

if __name__ == "__main__":
    lines, usable = check_gpu()
    print("\n".join(lines))
    sys.exit(0 if usable else 1)
