#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits/reproduce.sh [OUTPUT_DIR]. About ten minutes on two cores.
# The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits}
studies=$here/../../studies
interplay study "$studies"/digits-{lr-ordering,eta-lambda,batch-scaling}.toml --seeds 42 43 44 45 46 --output_dir "$out"
interplay study "$studies/digits-arms.toml" --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits "$out"
