#!/usr/bin/env bash
# What is missing of the three sets: results/resnet18-cifar100/reproduce.sh [OUTPUT_DIR] [DATA_DIR]. Runs kept in
# records.tar.xz are not run again. The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/resnet18-cifar100}
data=${2:-data}
mkdir -p "$out"
if [ -f "$here/records.tar.xz" ]; then tar -xJf "$here/records.tar.xz" -C "$out" --skip-old-files; fi
interplay study lr-ordering eta-lambda batch-scaling --gpus all --data_dir "$data" --output_dir "$out"
tar -cJf "$here/records.tar.xz" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" \
  --exclude='.*' --exclude='*.lock' --exclude='*.pt' runs
cp "$out/results/results.csv" "$here"
"$here/../read.sh" resnet18-cifar100 "$out"
