#!/usr/bin/env bash
# Train a hypernetwork on CIFAR-10: ./run_hypernetworks_gpu.sh [--epochs N] [--resume] [--no_wandb] [--help]
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
# The active environment, if it has the lab; else the one that `make venv` makes.
for python in python python3 "$here/.venv/bin/python"; do
    if command -v "$python" >/dev/null && PYTHONSAFEPATH=1 "$python" -c 'import interplay.cli.main' 2>/dev/null; then
        # A file of the folder it is started from, say random.py, must not stand in for a module.
        PYTHONSAFEPATH=1 exec "$python" -m interplay.cli.hypernetworks "$@"
    fi
done
echo "error: no Python here has the lab; install it: make -C '$here' venv (or, into the active environment, pip install -e '$here')" >&2
exit 2
