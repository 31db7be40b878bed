#!/usr/bin/env python
"""The documented figures: ``python plot_results.py [--stats] [--experiment N] [--input CSV] [--output_dir DIR]``."""

import sys

from interplay.documented import plot_results

if __name__ == "__main__":
    sys.exit(plot_results())
