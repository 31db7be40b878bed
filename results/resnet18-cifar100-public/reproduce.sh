#!/usr/bin/env bash
# Everything in this folder but the three tables, from the tables: results/resnet18-cifar100-public/reproduce.sh. Seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here"
tables=(resnet18_cifar100_seed42.csv resnet18_cifar100_seed123.csv resnet18_cifar100_seed42_run2.csv)
interplay analyze "${tables[@]}" > verdicts.txt
interplay analyze "${tables[@]}" --json > verdicts.json
interplay predict --lr 0.1 --input "${tables[@]}" > predictions.txt
# How far apart are measurements of the same cells by the same code? The two batches of seed 42 against that of seed 123.
interplay compare "${tables[0]}" "${tables[2]}" --with "${tables[1]}" > comparison.txt
cd "$(mktemp -d)"
interplay report "${tables[@]/#/$here/}" --output report.html
cp outputs/plots/*.png "$here"
