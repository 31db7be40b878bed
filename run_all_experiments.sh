#!/usr/bin/env bash
# All three documented sets: ./run_all_experiments.sh [--parallel] [--save-checkpoints] [--epochs N] [--help]
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# The active environment, if it has the lab; else the one that `make venv` makes.
for python in python python3 "$here/.venv/bin/python"; do
    if command -v "$python" >/dev/null && PYTHONSAFEPATH=1 "$python" -c 'import interplay.cli.main' 2>/dev/null; then
        exec "$python" "$here/run_all_experiments.py" "$@"
    fi
done
echo "error: no Python here has the lab; install it: make -C '$here' venv (or, into the active environment, pip install -e '$here')" >&2
exit 2
