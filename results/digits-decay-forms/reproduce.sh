#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits-decay-forms/reproduce.sh [OUTPUT_DIR]. About eight minutes on two cores.
# The page of each optimiser is OUTPUT_DIR/OPTIMIZER/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits-decay-forms}
mkdir -p "$out"
interplay study "$here/../../studies/digits-decay-forms.toml" --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits-decay-forms "$out"
