"""``python -m interplay``: the same as ``interplay``. Ctrl-C while modules are imported is no traceback either."""

import sys


def main() -> int:
    """The command line; returns its exit code."""
    try:
        from interplay.cli.main import main as command

        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
