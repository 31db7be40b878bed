#!/usr/bin/env python
"""Print versions and GPUs, check a matrix product on each; exit 1 where there is no usable GPU."""

import sys

try:
    from interplay.lab.doctor import check_gpu
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    lines, usable = check_gpu()
    print("\n".join(lines))
    sys.exit(0 if usable else 1)
