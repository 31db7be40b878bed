#!/usr/bin/env bash
# Everything in this folder: results/cifar100-memorised/reproduce.sh [OUTPUT_DIR] [DATA_DIR]. Runs kept in records.tar.xz are not
# run again; delete that file to start from nothing, which takes an hour and a half on two cores.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/cifar100-memorised}
data=${2:-data}
mkdir -p "$out"
if [ -f "$here/records.tar.xz" ]; then tar -xJf "$here/records.tar.xz" -C "$out" --skip-old-files; fi
for set in eta-lambda batch-scaling batch-fixed-lr lr-ordering optima; do
  interplay study "$here/../../studies/cifar100-memorised-$set.toml" --test_every 10 --data_dir "$data" --output_dir "$out"
done
tar -cJf "$here/records.tar.xz" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" \
  --exclude='.*' --exclude='*.lock' --exclude='*.pt' runs
interplay report "$out" --metric final_test_loss --output "$here/report.html"
cp "$out"/results/results.csv "$out"/plots/*.png "$here"
interplay analyze "$out" --metric final_test_loss --json > "$here/verdicts.json"
interplay analyze "$out" --metric final_test_loss > "$here/verdicts.txt"
interplay analyze "$out" > "$here/verdicts-accuracy.txt"
interplay predict --metric final_test_loss --lr 0.1 --batch_size 32 --epochs 40 --input "$out" > "$here/predictions.txt"
