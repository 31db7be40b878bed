#!/usr/bin/env bash
# Everything in this folder, from nothing: results/digits-schedules/reproduce.sh [OUTPUT_DIR]. About three minutes on two cores.
# The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/digits-schedules}
interplay study "$here/../../studies/digits-schedules.toml" --output_dir "$out"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" digits-schedules "$out"
