#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits-adam/reproduce.sh [OUTPUT_DIR]. About four minutes on two cores.
# The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits-adam}
interplay study "$here/../../studies/digits-adam.toml" --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits-adam "$out"
