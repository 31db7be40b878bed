#!/usr/bin/env bash
# Everything in this folder, from the three tables: results/resnet18-cifar100-public/reproduce.sh [FOLDER]. Seconds.
# FOLDER has the tables under the names below; without one, fetch.sh fetches them into tables/.
set -euo pipefail
here=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
[ $# -gt 0 ] || "$here/fetch.sh"
cd -- "${1:-$here/tables}"
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256 "$@"; }
sha256sum --check --quiet "$here/SHA256SUMS"
tables=(resnet18_cifar100_seed42.csv resnet18_cifar100_seed123.csv resnet18_cifar100_seed42_run2.csv)
folder=$PWD
interplay analyze "${tables[@]}" > "$here/verdicts.txt"
interplay analyze "${tables[@]}" --json > "$here/verdicts.json"
interplay predict --lr 0.1 --input "${tables[@]}" > "$here/predictions.txt"
# How far apart are measurements of the same cells by the same code? The two batches of seed 42 against that of seed 123.
# The list of cells is left out: it would repeat the tables.
interplay compare "${tables[0]}" "${tables[2]}" --with "${tables[1]}" | sed '/^lr /,$d' > "$here/comparison.txt"
cd "$(mktemp -d)"
interplay report "${tables[@]/#/$folder/}" --output report.html
cp outputs/plots/*.png "$here"
