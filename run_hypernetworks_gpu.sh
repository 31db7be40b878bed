#!/usr/bin/env bash
# Train a hypernetwork on CIFAR-10: ./run_hypernetworks_gpu.sh [--epochs N] [--resume] [--no_wandb] [--help]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=python3
# The environment that `make venv` makes is used unless another one is active.
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && [ -x "$here/.venv/bin/python" ]; then
    python="$here/.venv/bin/python"
elif command -v python >/dev/null; then
    python=python
fi
exec "$python" -m interplay.hypernetworks "$@"
