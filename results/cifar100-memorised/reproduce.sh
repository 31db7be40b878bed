#!/usr/bin/env bash
# Everything in this folder: results/cifar100-memorised/reproduce.sh [OUTPUT_DIR] [DATA_DIR]. Runs kept in records.tar.xz are not
# run again; delete that file to start from nothing, which takes three hours on two cores.
# The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/cifar100-memorised}
data=${2:-data}
mkdir -p "$out"
if [ -f "$here/records.tar.xz" ]; then tar -xJf "$here/records.tar.xz" -C "$out" --skip-old-files; fi
for set in eta-lambda batch-scaling batch-fixed-lr lr-ordering optima arms schedules equal-steps; do
  interplay study "$here/../../studies/cifar100-memorised-$set.toml" --test_every 10 --data_dir "$data" --output_dir "$out"
done
tar -cJf "$here/records.tar.xz" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" \
  --exclude='.*' --exclude='*.lock' --exclude='*.pt' runs
cp "$out/results/results.csv" "$here"
"$here/../read.sh" cifar100-memorised "$out"
