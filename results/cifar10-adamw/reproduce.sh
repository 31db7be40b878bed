#!/usr/bin/env bash
# Everything in this folder, from nothing: results/cifar10-adamw/reproduce.sh [OUTPUT_DIR [DATA_DIR [ARGUMENTS OF interplay study ...]]].
# Half an hour on two cores that multiply bf16, longer on others. The page is OUTPUT_DIR/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/cifar10-adamw}
data=${2:-data}
interplay study "$here/../../studies/cifar10-adamw.toml" --cpu_bf16 --test_every 10 --data_dir "$data" --output_dir "$out" "${@:3}"
cp "$out/results/results.csv" "$here"
"$here/../read.sh" cifar10-adamw "$out"
