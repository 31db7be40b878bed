#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits/reproduce.sh [OUTPUT_DIR]. About ten minutes on two cores.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits}
studies=$here/../../studies
interplay study "$studies"/digits-{lr-ordering,eta-lambda,batch-scaling}.toml --seeds 42 43 44 45 46 --output_dir "$out"
interplay study "$studies/digits-arms.toml" --output_dir "$out"
interplay report "$out" --output "$here/report.html"
cp "$out"/results/results.csv "$out"/plots/*.png "$here"
interplay analyze "$out" --json > "$here/verdicts.json"
interplay analyze "$out" > "$here/verdicts.txt"
