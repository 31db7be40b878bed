#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits-pytorchcv/reproduce.sh [OUTPUT_DIR]. About twelve minutes on one core.
# Needs pytorchcv beside the lab: pip install --no-deps pytorchcv==0.0.74. The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits-pytorchcv}
interplay study "$here/../../examples/pytorchcv/study.toml" --test_every 40 --until_decided --budget 100 --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits-pytorchcv "$out"
