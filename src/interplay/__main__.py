"""``python -m interplay``: the same as ``interplay``."""

import sys

from interplay.cli import main

if __name__ == "__main__":
    sys.exit(main())
