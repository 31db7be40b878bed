#!/usr/bin/env bash
# Everything in this folder, from the three tables: results/resnet18-cifar100-public/reproduce.sh [FOLDER]. Seconds.
# FOLDER has the tables under the names below; without one, fetch.sh fetches them into tables/.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[ $# -gt 0 ] || "$here/fetch.sh"
cd -- "${1:-$here/tables}"
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; }
sha256sum --check --quiet "$here/SHA256SUMS"
"$here/../read.sh" resnet18-cifar100-public "$PWD"
