#!/usr/bin/env bash
# Everything in this folder: results/hyper-memorised/reproduce.sh [OUTPUT_DIR [DATA_DIR [ARGUMENTS OF interplay study ...]]].
# The runs kept in records.tar.xz are of altered CIFAR-10 files (README.md). They are unpacked, and not run again, only when
# --allow_modified_data is among the arguments: give it with those files alone. From the published files everything is made anew,
# in an empty OUTPUT_DIR, which takes an hour on two cores.
# The pages are OUTPUT_DIR/hyper_resnet/report.html and OUTPUT_DIR/wide_resnet/report.html.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${1:-outputs/hyper-memorised}
data=${2:-data}
mkdir -p "$out"
if [[ " ${*:3} " == *" --allow_modified_data "* && -f "$here/records.tar.xz" ]]; then
  tar -xJf "$here/records.tar.xz" -C "$out" --skip-old-files
fi
for model in hyper_resnet wide_resnet; do
  interplay study "$here/../../studies/hyper-memorised.toml" --model "$model" --test_every 50 --data_dir "$data" \
    --output_dir "$out/$model" "${@:3}"
  cp "$out/$model/results/results.csv" "$here/results-$model.csv"
done
tar -cJf "$here/records.tar.xz" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" \
  --exclude='.*' --exclude='*.lock' --exclude='*.pt' --exclude=results --exclude=plots --exclude='*.html' hyper_resnet wide_resnet
"$here/../read.sh" hyper-memorised "$out"
