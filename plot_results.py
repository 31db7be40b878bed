#!/usr/bin/env python
"""The documented figures: ``python plot_results.py [--stats] [--experiment N] [--input CSV] [--output_dir DIR]``."""

import sys

try:
    from interplay.cli.documented import plot_results
except ModuleNotFoundError as missing:
    print(f"error: {sys.executable}: {missing}; install the lab into it: pip install -e .", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(plot_results())
