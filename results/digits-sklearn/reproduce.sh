#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits-sklearn/reproduce.sh [OUTPUT_DIR]. About ten minutes on one core.
# The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits-sklearn}
interplay study "$here/../../examples/scikit-learn/study.toml" --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits-sklearn "$out"
